"""The bands of two maps: against a plain reference, and where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.spectral.cross_spectrum import RINGS, BandSums


def bands(student, teacher=None, connected=None, edges=RINGS, wider=None):
    sums = BandSums(edges)
    sums.add(student, teacher, connected)
    return sums.bands(wider)


def pair(*size, seed=0, channels=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 4, channels, *size)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def reference(student, teacher):
    """By the full complex transform and a loop over its frequencies, one band after the other."""
    ours, theirs = (np.fft.fft2(m.numpy(), norm="ortho") for m in (student, teacher))
    height, width = student.shape[2:]
    found = {}
    for ky, fy in enumerate(np.fft.fftfreq(height)):
        for kx, fx in enumerate(np.fft.fftfreq(width)):
            radius = 2 * math.hypot(fy, fx)
            band = -1 if radius == 0 else min(int(radius * 8 + 1e-9), 7)
            found.setdefault(band, []).append((ours[..., ky, kx], theirs[..., ky, kx]))
    rows = {}
    for band, values in found.items():
        s, t = (np.stack(v) for v in zip(*values, strict=True))
        cross = s * t.conj()
        rows[band] = {
            "frequencies": len(values) * len(student),
            "student_power": (np.abs(s) ** 2).mean(),
            "teacher_power": (np.abs(t) ** 2).mean(),
            "cross_power": cross.mean().real,
            "phase_coherence": (cross / np.abs(cross)).mean().real,
        }
        assert abs(cross.mean().imag) < 1e-12  # as the docstring says
    return rows


@pytest.mark.parametrize("size", [(16, 16), (9, 14), (7, 5), (1, 6)])
def test_every_number_is_that_of_the_full_transform(size):
    student, teacher = pair(*size) + 0.5
    known = reference(student, teacher)
    found = bands(student, teacher, connected=student)
    energy = sum(r["student_power"] * r["frequencies"] for b, r in known.items() if b >= 0)
    for band, record in enumerate(found, start=-1):
        if band not in known:  # so small a map has no such frequency
            assert record.frequencies == 0
            assert record[3:] == (None,) * 10 or record.student_share in (0, None)
            continue
        for name, value in known[band].items():
            assert getattr(record, name) == pytest.approx(value, rel=1e-9), name
        p, q = known[band]["student_power"], known[band]["teacher_power"]
        assert record.amplitude_error == pytest.approx(math.sqrt(p / q) - 1)
        assert record.coherence == pytest.approx(known[band]["cross_power"] / math.sqrt(p * q))
        if band >= 0:
            share = p * known[band]["frequencies"] / energy
            assert record.student_share == pytest.approx(share)
    assert sum(r.student_share or 0 for r in found) == pytest.approx(1)
    assert sum(r.frequencies for r in found) == 4 * size[0] * size[1]


@pytest.mark.parametrize("size", [(16, 16), (9, 13)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_student_that_is_its_teacher_has_no_error_and_coherence_1(size, dtype):
    teacher = pair(*size)[0].to(dtype)
    for record in bands(teacher, teacher, connected=teacher):
        if record.frequencies:
            for value, known in (
                (record.amplitude_error, 0),
                (record.coherence, 1),
                (record.phase_coherence, 1),
            ):
                assert value == pytest.approx(known, abs=1e-6)
            assert record.low == record.high == 0 or record.share_error == pytest.approx(0)


def test_a_scaled_student_has_another_amplitude_and_nothing_else():
    teacher = pair(16, 16)[0]
    for record in bands(teacher, teacher, connected=-0.25 * teacher):
        if record.frequencies:
            assert record.amplitude_error == pytest.approx(-0.75)
            assert record.coherence == pytest.approx(-1) == record.phase_coherence
    for record in bands(3 * teacher, teacher)[1:]:
        if record.frequencies:
            assert record.share_error == pytest.approx(0)  # no scale


def test_an_error_of_one_band_shows_in_that_band_alone():
    teacher = pair(16, 16)[0]
    spectrum = torch.fft.fft2(teacher)
    radius = 2 * torch.hypot(torch.fft.fftfreq(16)[:, None], torch.fft.fftfreq(16))
    inside = (radius >= 0.5) & (radius < 0.625)
    student = torch.fft.ifft2(torch.where(inside, 0.5 * spectrum, spectrum)).real
    for record in bands(student, teacher, connected=student):
        wrong = -0.5 if record.low == 0.5 else 0.0
        if record.frequencies:
            assert record.amplitude_error == pytest.approx(wrong, abs=1e-9)
            assert record.coherence == pytest.approx(1)


@pytest.mark.parametrize("shift", [1, 3])
def test_a_shift_turns_phases_and_leaves_amplitudes(shift):
    """A wave of f of Nyquist that is moved by d pixels keeps cos(pi f d) of its coherence."""
    x = torch.arange(16, dtype=torch.float64)
    for cycles in (1, 3, 6):
        wave = torch.cos(2 * torch.pi * cycles * x / 16 + 0.3).expand(1, 1, 16, 16)
        found = bands(wave, wave, connected=wave.roll(shift, -1))
        (record,) = (r for r in found if r.student_power)
        known = math.cos(math.pi * cycles / 8 * shift)
        assert record.low <= cycles / 8 < record.high
        assert record.amplitude_error == pytest.approx(0, abs=1e-12)
        assert record.coherence == pytest.approx(known)
        assert record.phase_coherence == pytest.approx(known)


def test_independent_maps_have_coherence_0_with_the_spread_that_is_said():
    """1 / sqrt(2 M) of M independent complex values: half of the band's, times channels."""
    values, spread = [], []
    for seed in range(200):
        student, teacher = pair(16, 16, seed=seed)
        for record in bands(student, teacher, connected=student)[2:7]:
            count = record.frequencies * 3 / 2
            values.append((record.coherence, record.phase_coherence))
            spread.append(1 / math.sqrt(2 * count))
    relative = np.array(values) / np.array(spread)[:, None]
    assert np.abs(relative.mean(0)).max() < 4 / math.sqrt(len(values))
    np.testing.assert_allclose(relative.std(0), 1, atol=0.1)


def test_sums_over_batches_and_wider_bands():
    student, teacher = pair(16, 12)
    sums = BandSums()
    for i in range(4):
        sums.add(student[i : i + 1], teacher[i : i + 1], connected=student[i : i + 1])
    for one, whole in zip(sums.bands(), bands(student, teacher, connected=student), strict=True):
        assert one == pytest.approx(whole)
    wide = bands(student, teacher, connected=student, wider=(0, 0.25, 0.5, 1))
    direct = bands(student, teacher, connected=student, edges=(0, 0.25, 0.5, 1))
    for one, other in zip(wide, direct, strict=True):
        assert one == pytest.approx(other)


def test_zeros_have_no_phase_and_no_share():
    teacher = pair(8, 8)[0].float()
    for record in bands(torch.zeros_like(teacher), teacher, connected=torch.zeros_like(teacher)):
        if not record.frequencies:
            continue
        assert record.student_power == 0
        assert record.amplitude_error == -1
        assert record.coherence is record.phase_coherence is record.student_share is None
    constant = torch.full((1, 2, 8, 8), 3.0)  # what a transform leaves of its zeros is none
    mean, *rest = bands(constant, constant, connected=constant)
    assert (mean.student_power, mean.coherence) == (pytest.approx(9 * 64), pytest.approx(1))
    assert {(r.coherence, r.share_error, r.phase_coherence) for r in rest} == {(None,) * 3}
    nan = torch.full((1, 2, 8, 8), math.nan)
    assert {r.student_power for r in bands(nan, nan, connected=nan)} == {None}


def test_maps_of_other_channels_are_compared_by_their_shares_alone():
    student, teacher = pair(8, 8)[0], pair(8, 8, seed=1, channels=5)[1]
    for record in bands(student, teacher)[1:]:
        assert (record.teacher_power is None) == (not record.frequencies)
        assert record.amplitude_error is record.coherence is record.cross_power is None
    assert any(record.share_error is not None for record in bands(student, teacher))


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ((torch.ones(1, 2, 4),), "non-empty float maps"),
        ((torch.ones(1, 2, 4, 4).int(),), "non-empty float maps"),
        ((torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 5)), "have one size"),
        ((torch.ones(1, 2, 4, 4),) * 2 + (torch.ones(1, 3, 4, 4),), "the teacher's channels"),
    ],
)
def test_what_does_not_go_together_is_refused(maps, words):
    with pytest.raises(ConfigError, match=words):
        BandSums().add(*maps)
