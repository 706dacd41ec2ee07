"""Amplitudes and phases alone: against the full spectrum with its angles, and against L2."""

import doctest
import sys
from pathlib import Path

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses import amplitude_phase
from fourierkd.losses.amplitude_phase import AmplitudeL2, PhaseL2, amplitude_l2, phase_l2
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.spectral import blocks
from fourierkd.spectral.masks import BandPass, Gaussian, HighPass, LowPass, mask_weights

sys.path.insert(0, str(Path(__file__).parent))
from reference import (
    SIZES,
    amplitude_distance,
    assert_half_precision_is_lifted,
    assert_same,
    band_passed,
    full_plane,
    maps,
    phase_distance,
    value_and_gradient,
)

FORMS = [
    (AmplitudeL2, {"normalize": False}),
    (AmplitudeL2, {"normalize": True}),
    (PhaseL2, {"weighted": True, "normalize": False}),
    (PhaseL2, {"weighted": True, "normalize": True}),
    (PhaseL2, {"weighted": False, "normalize": False}),
    (PhaseL2, {"weighted": False, "normalize": True}),
]
EACH = pytest.mark.parametrize(
    ("kind", "options"), FORMS, ids=[f"{kind.__name__}-{options}" for kind, options in FORMS]
)
SWITCH = pytest.mark.parametrize("normalize", [False, True])


def with_halves_of(amplitudes, phases):
    """The map that has the amplitudes of one and the phases of another."""
    spectra = torch.fft.fft2(amplitudes), torch.fft.fft2(phases)
    return torch.fft.ifft2(torch.polar(spectra[0].abs(), spectra[1].angle())).real


@EACH
@pytest.mark.parametrize("mask", [None, Gaussian(0.3, 0.5)])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_full_spectrum(size, mask, kind, options):
    student, teacher = maps(3, 5, *size)
    full = torch.ones(size, dtype=torch.float64)
    if mask is not None:
        full = full_plane(mask_weights(mask, *size, dtype=torch.float64), size[1])
    reference = amplitude_distance if kind is AmplitudeL2 else phase_distance
    assert_same(
        value_and_gradient(kind(3.0, mask=mask, **options), student, teacher),
        value_and_gradient(lambda s, t: 3 * reference(s, t, full, **options), student, teacher),
        1e-8,
    )


@EACH
@pytest.mark.parametrize("size", [(4, 5), (3, 4), (1, 6), (5, 1)])
def test_gradcheck_and_no_gradient_to_the_teacher(size, kind, options):
    student, teacher = maps(2, 3, *size)
    teacher.requires_grad_()
    loss = kind(mask=BandPass(0.0, 0.8), **options)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_values_by_hand():
    # 1 x 4 maps a + b cos(pi x / 2): amplitudes 2a at DC and b at both of +-1/2 of Nyquist
    x = torch.arange(4, dtype=torch.float64)
    student = (3 + 2 * torch.cos(torch.pi * x / 2)).view(1, 1, 1, 4)
    teacher = (1 + 5 * torch.sin(torch.pi * x / 2)).view(1, 1, 1, 4)  # a quarter turn apart
    assert amplitude_l2(student, teacher).item() == pytest.approx(((6 - 2) ** 2 + 2 * 3**2) / 4)
    # |1 - i|^2 = 2 with the weight 5^2, twice; DC agrees in sign
    assert phase_l2(student, teacher).item() == pytest.approx(2 * 25 * 2 / 4, rel=1e-3)
    assert phase_l2(student, teacher, weighted=False).item() == pytest.approx(2 * 2 / 4, rel=1e-3)
    # in the band of the wave alone, of weight 2, both have a variance of 1 when normalised
    band = {"mask": BandPass(0.4, 0.9, 0), "normalize": True}
    assert amplitude_l2(student, teacher, **band).item() == pytest.approx(0, abs=1e-9)
    assert phase_l2(student, teacher, **band).item() == pytest.approx(2, rel=1e-3)


@SWITCH
def test_each_is_l2_after_the_student_got_the_others_half(normalize):
    student, teacher = maps(2, 3, 8, 7)
    student = student.detach()
    options = {"mask": LowPass(0.6), "normalize": normalize}
    value = SpectralL2(**options)(with_halves_of(student, teacher), teacher)
    if not normalize:  # the mean goes before the halves are told apart
        torch.testing.assert_close(AmplitudeL2(**options)(student, teacher), value)
        value = SpectralL2(**options)(with_halves_of(teacher, student), teacher)
        torch.testing.assert_close(PhaseL2(**options)(student, teacher), value, rtol=1e-2, atol=0)
    assert AmplitudeL2(**options)(student, teacher) < SpectralL2(**options)(student, teacher)


def test_both_halves_together_are_l2():
    student, teacher = maps(2, 3, 6, 5)
    ours, theirs = (torch.fft.fft2(x, norm="ortho") for x in (student, teacher))
    turned = 2 - 2 * (ours.angle() - theirs.angle()).cos()
    rest = (ours.abs() * theirs.abs() * turned).mean()
    torch.testing.assert_close(
        AmplitudeL2()(student, teacher) + rest, FeatureL2()(student, teacher)
    )


@SWITCH
def test_neither_sees_the_others_half(normalize):
    student, teacher = maps(2, 3, 8, 8)
    student = student.detach()
    amplitude = AmplitudeL2(normalize=normalize)
    shifted = student.roll((3, 2), (2, 3))
    torch.testing.assert_close(amplitude(shifted, teacher), amplitude(student, teacher))
    scale = torch.tensor([2.0, 50.0, 0.5], dtype=torch.float64).view(3, 1, 1)
    for weighted in (True, False):
        phase = PhaseL2(weighted=weighted, normalize=normalize)
        expected = phase(student, teacher)
        torch.testing.assert_close(phase(student * scale, teacher), expected, rtol=1e-3, atol=0)
        if normalize or not weighted:
            other = phase(student, teacher * scale)
            torch.testing.assert_close(other, expected, rtol=1e-3, atol=0)
        assert phase(teacher * scale, teacher) < 1e-2 * expected


@EACH
def test_what_the_mask_stops_has_no_influence(kind, options):
    student, teacher = maps(2, 3, 8, 8)
    loss = kind(mask=LowPass(0.5), **options)
    stopped = full_plane(mask_weights(HighPass(0.5), 8, 8, dtype=torch.float64), 8)
    other = 30 * band_passed(torch.randn(2, 3, 8, 8, dtype=torch.float64), stopped)
    ours = value_and_gradient(loss, student, teacher)
    assert_same(value_and_gradient(loss, student, teacher + other), ours, 1e-8)
    noisy = (student + other).detach().requires_grad_()
    assert_same(value_and_gradient(loss, noisy, teacher), ours, 1e-8)
    assert band_passed(ours[1], stopped).abs().max() <= 1e-9 * ours[1].abs().max()


@EACH
@pytest.mark.parametrize("fill", [0.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_maps_and_constant_channels_are_finite(dtype, fill, kind, options):
    student, teacher = maps(2, 3, 6, 7, dtype=dtype)
    flat = student.detach().clone()
    flat[:, 1] = fill
    for mask in (None, LowPass(0.5), HighPass(0.3)):
        loss = kind(mask=mask, **options)
        for s, t in ((flat, teacher), (teacher, flat), (flat * 0, teacher), (flat * 0, flat * 0)):
            s = s.clone().requires_grad_()
            value, gradient = value_and_gradient(loss, s, t)
            assert value.isfinite()
            assert gradient.isfinite().all()
            if not (s.any() or t.any()):
                assert value == 0
                assert gradient.abs().max() == 0


def test_a_student_of_zeros_gets_the_teachers_phase_and_no_amplitude():
    teacher = maps(2, 3, 6, 7)[1]
    zero = torch.zeros_like(teacher, requires_grad=True)
    value, gradient = value_and_gradient(AmplitudeL2(), zero, teacher)
    torch.testing.assert_close(value, teacher.square().mean())
    assert gradient.abs().max() == 0  # every phase is as good: it has no direction
    value, gradient = value_and_gradient(PhaseL2(), zero, teacher)
    torch.testing.assert_close(value, teacher.square().mean())
    assert PhaseL2()(zero - gradient, teacher) < 0.1 * value


def test_rounding_of_a_zero_gives_no_direction():
    teacher = maps(2, 3, 12, 10, dtype=torch.float32)[1]
    flat = torch.full_like(teacher, 0.1).requires_grad_()
    gradient = value_and_gradient(AmplitudeL2(mask=HighPass(0.1)), flat, teacher)[1]
    assert gradient.abs().max() == 0


@EACH
def test_float32_is_that_of_float64(kind, options):
    student, teacher = maps(2, 4, 12, 10, dtype=torch.float32)
    loss = kind(mask=LowPass(0.8), **options)
    exact = student.detach().double().requires_grad_(), teacher.double()
    # the phase of a small amplitude is as much less exact as that is below the rms: 100 times here
    tolerance = 3e4 * torch.finfo(torch.float32).eps
    reference = value_and_gradient(loss, *exact)
    assert_same(value_and_gradient(loss, student, teacher), reference, tolerance)


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision_are_computed_in_float32(dtype, kind, options):
    assert_half_precision_is_lifted(kind(mask=LowPass(0.5), **options), dtype)


@EACH
@pytest.mark.parametrize("resize_stu", [True, False])
def test_sizes_are_matched(resize_stu, kind, options):
    student, teacher = maps(2, 3, 4, 6)[0], maps(2, 3, 8, 6)[1]
    size = (8, 6) if resize_stu else (4, 6)
    resized = [
        torch.nn.functional.interpolate(x, size=size, mode="bilinear") for x in (student, teacher)
    ]
    value = kind(2.0, resize_stu=resize_stu, **options)(student, teacher)
    torch.testing.assert_close(value, 2 * kind(**options)(*resized))


@EACH
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_memory_formats_change_nothing_but_the_order_of_additions(
    monkeypatch, threads, kind, options
):
    student, teacher = maps(2, 5, 6, 7)
    copies = student.detach().clone(), teacher.clone()
    loss = kind(mask=LowPass(0.5), **options)
    whole = value_and_gradient(loss, student, teacher)
    assert torch.equal(student, copies[0])
    assert torch.equal(teacher, copies[1])
    strided = student.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert_same(value_and_gradient(loss, strided, teacher), whole, 1e-9)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 6 * 4 * 2)  # two channels a block
    torch.set_num_threads(threads)
    assert_same(value_and_gradient(loss, student, teacher), whole, 1e-9)
    with torch.inference_mode():
        torch.testing.assert_close(loss(student, teacher), whole[0])
    assert not loss.state_dict()


@EACH
def test_function_equals_module(kind, options):
    student, teacher = maps(2, 3, 4, 6)
    function = amplitude_l2 if kind is AmplitudeL2 else phase_l2
    value = 5 * function(student, teacher, mask=Gaussian(), **options)
    module = kind(5.0, mask={"type": "Gaussian"}, **options)
    torch.testing.assert_close(module(student, teacher), value)
    assert module.mask == Gaussian()


def test_only_the_amplitudes_can_be_cut_into_bands():
    student, teacher = maps(2, 3, 8, 7)
    parts = 0.0
    for mask in (LowPass(0.6), HighPass(0.6)):
        loss = AmplitudeL2(mask=mask)
        assert loss.linear_in_mask
        largest = mask_weights(mask, 8, 7, dtype=torch.float64).max()
        parts = parts + loss(student, teacher) / largest
    torch.testing.assert_close(parts, AmplitudeL2()(student, teacher))
    assert not AmplitudeL2(normalize=True).linear_in_mask
    assert not PhaseL2().linear_in_mask  # the band's rms says where a phase gets soft


@pytest.mark.parametrize("kind", [AmplitudeL2, PhaseL2])
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
        ({"mask": {"type": "LowPas"}}, "did you mean 'LowPass'"),
    ],
)
def test_bad_arguments(options, rule, kind):
    with pytest.raises(ConfigError, match=rule):
        kind(**options)
    with pytest.raises(ConfigError, match="weighted must be"):
        PhaseL2(weighted=1)
    with pytest.raises(ConfigError, match="no frequency of a 1 x 1 map"):
        kind(mask=HighPass(0.5))(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))


def test_docstring_examples():
    assert doctest.testmod(amplitude_phase).failed == 0
