"""The spectra hook: when it speaks, what its files hold, and that its spectra are the full ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fourierkd.analysis.figures import profile_figure, spectrum_figure, styles
from fourierkd.engine.hooks.spectra import centred, log_amplitude, spectra
from fourierkd.engine.run import run
from fourierkd.losses.fourier import FourierLoss
from fourierkd.spectral.frequency import BANDS
from fourierkd.spectral.half import half_spectrum
from tests.engine.conftest import TEACHER

FOURIER = {
    **TEACHER,
    "model.losses.l2.loss": {
        "type": "FourierLoss",
        "loss_weight": 1.0,
        "mask": {"type": "LowPass", "cutoff": 0.5},
    },
}


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (1, 6), (4, 1)])
def test_centred_is_the_full_spectrum(shape):
    feature = torch.randn(2, 3, *shape, dtype=torch.float64)
    power = half_spectrum(feature).abs().square().mean((0, 1))
    full = np.fft.fftshift((np.abs(np.fft.fft2(feature.numpy(), norm="ortho")) ** 2).mean((0, 1)))
    np.testing.assert_allclose(centred(power, shape[1]).numpy(), full, rtol=1e-10)
    np.testing.assert_allclose(
        log_amplitude(feature).numpy(), np.log10(np.sqrt(full)), rtol=1e-9, atol=1e-12
    )


def test_spectra_of_a_student_that_lacks_the_high_band():
    torch.manual_seed(0)
    teacher = torch.randn(4, 3, 16, 16)
    student = (
        torch.nn.functional.avg_pool2d(teacher, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    )
    loss = FourierLoss(3, mask={"type": "HighPass", "cutoff": 0.5})
    arrays = spectra(student, teacher, loss, [0.0, 0.25, 0.5, 1.0])
    assert arrays["gap"][0] < 0.3 < 0.6 < arrays["gap"][2]
    assert arrays["radius"].shape == arrays["student_profile"].shape == (8,)
    assert arrays["mask"].shape == arrays["student_log_amplitude"].shape == (16, 16)
    assert arrays["mask"][8, 8] == 0  # DC in the middle, stopped by a high-pass
    small = spectra(student[..., ::2, ::2], teacher, loss, [0.0, 1.0])
    assert small["student_log_amplitude"].shape == (16, 16)


@pytest.mark.parametrize("cycles", [1, 3, 6, 7])
def test_what_is_drawn_stands_at_its_frequency(cycles):
    """A wave that only the teacher has: profile, band lines, gap and heat map agree on where."""
    x = torch.arange(16, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * cycles * x / 16).expand(1, 1, 16, 16)
    student = torch.randn(1, 1, 16, 16, generator=torch.manual_seed(0), dtype=torch.float64)
    arrays = spectra(student, student + 5 * wave, FourierLoss(1), list(BANDS))
    true = cycles / 8  # of Nyquist, which is 8 cycles in 16 pixels
    profile = profile_figure({"a": arrays}, palette=styles(["a"]))
    teacher, ours = profile.data
    peak = teacher.x[np.nanargmax(np.log(teacher.y) - np.log(ours.y))]
    assert abs(peak - true) <= 1 / 16 + 1e-6  # half a ring of 8
    lines = [0.0, *(line.x0 for line in profile.layout.shapes), 1.0]
    assert lines == list(BANDS)
    band = int(np.argmax(arrays["gap"]))
    assert lines[band] <= true < lines[band + 1]
    assert lines[band] <= peak < lines[band + 1]
    heat = spectrum_figure(arrays).data[2]  # student minus teacher
    row, column = np.unravel_index(np.argmin(heat.z), heat.z.shape)
    assert (abs(heat.x[column]), heat.y[row]) == (true, 0)


def test_rows_pictures_and_arrays_of_a_run(make_run):
    run_dir = make_run(
        options={**FOURIER, "default_hooks": {"spectra": {"type": "SpectraHook", "every": 3}}}
    )
    run(run_dir, resume=False)
    rows = [r for r in run_dir.rows() if "spectra/l2/gap_0-0.125" in r]
    assert [r["iter"] for r in rows] == [5, 10, 15, 20]
    assert all(-1 <= r["spectra/l2/gap_0.5-1"] <= 1 for r in rows)
    assert sorted(p.name for p in run_dir.pictures.iterdir()) == [
        "spectra_000015_l2_0.npz",
        "spectra_000015_l2_0.png",
        "spectra_000020_l2_0.npz",
        "spectra_000020_l2_0.png",
    ]
    arrays = np.load(run_dir.picture(20, "l2_0", ".npz"))
    assert arrays["teacher_log_amplitude"].shape == (12, 12)
    layers = "student features after 1x1 convolution, teacher features"
    assert (
        str(arrays["caption"]) == f"{layers}; mean over 3 training images and 6 channels of 12x12"
    )
    assert arrays["gap"][-1] == pytest.approx(rows[-1]["spectra/l2/gap_0.5-1"])
    picture = cv2.imread(str(run_dir.picture(20, "l2_0")))
    assert picture is not None
    assert picture.std() > 10


def test_a_resumed_run_draws_where_the_whole_one_does(make_run):
    hooks = {"spectra": {"type": "SpectraHook", "every": 3}}
    stop = [{"type": "StopAt", "at": 10}]
    run_dir = make_run(options={**FOURIER, "default_hooks": hooks, "custom_hooks": stop})
    run(run_dir, resume=False)
    assert not run_dir.pictures.exists()
    run(run_dir, resume=True)
    assert list(run_dir.saved_pictures()) == [15, 20]


def test_student_alone_has_no_spectra(make_run):
    run_dir = make_run()
    run(run_dir, resume=False)
    assert not run_dir.pictures.exists()
    assert not any(k.startswith("spectra/") for r in run_dir.rows() for k in r)


def test_the_end_is_drawn_where_no_validation_ends_the_run(make_run):
    no_val = {"val_dataloader": None, "val_evaluator": None, "val_cfg": None}
    run_dir = make_run(options={**FOURIER, **no_val})
    result = run(run_dir, resume=False)
    assert result.best is None
    assert run_dir.picture(20, "l2_0").exists()
