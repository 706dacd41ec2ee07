"""The squared difference within a band: of the maps that a mask lets pass, by Parseval."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.spatial import FeatureL2, feature_l2
from fourierkd.losses.spectral_l2 import SpectralL2, spectral_l2
from fourierkd.spectral.masks import AllPass, BandPass, Gaussian, HighPass, LowPass

MASKS = [AllPass(), LowPass(0.5), HighPass(0.25), BandPass(0.2, 0.6), Gaussian(0.3, 0.2)]
SIZES = [(8, 8), (7, 9), (6, 5), (1, 4)]


def maps(size=(8, 8), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(3, 4, *size, generator=generator, dtype=dtype) * 2 + 1 for _ in range(2))


def reference(student, teacher, mask, normalize):
    """On the full plane, with NumPy: filter both maps, standardise, compare."""
    height, width = student.shape[2:]
    fy = 2 * np.fft.fftfreq(height)[:, None]
    fx = 2 * np.fft.fftfreq(width)[None]
    raw = np.zeros((height, width))
    for y in (fy, np.where(fy == -1, 1, fy)):  # Nyquist has two signs
        for x in (fx, np.where(fx == -1, 1, fx)):
            grid = np.broadcast_arrays(y, x)
            raw += mask.raw(*(torch.tensor(np.array(g)) for g in grid)).numpy() / 4
    weights = raw / raw.mean()
    passed = []
    for feature in (student, teacher):
        spectrum = np.fft.fft2(feature.detach().numpy())
        feature = np.fft.ifft2(spectrum * np.sqrt(weights)).real
        if normalize:
            mean = feature.mean((0, 2, 3), keepdims=True)
            variance = feature.var((0, 2, 3), keepdims=True)
            feature = (feature - mean) / np.sqrt(variance + 1e-5)
        passed.append(feature)
    return ((passed[0] - passed[1]) ** 2).mean()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: type(mask).__name__)
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference(size, mask, normalize):
    if size == (1, 4) and isinstance(mask, BandPass):
        mask = BandPass(0.2, 0.8)
    student, teacher = maps(size)
    expected = reference(student, teacher, mask, normalize)
    value = spectral_l2(student, teacher, mask=mask, normalize=normalize)
    assert value.item() == pytest.approx(expected, rel=1e-12)  # a few thousand additions of eps
    single = spectral_l2(student.float(), teacher.float(), mask=mask, normalize=normalize)
    assert single.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_without_a_mask_it_is_feature_l2(size, normalize):
    student, teacher = maps(size)
    expected = feature_l2(student, teacher, normalize=normalize)
    for mask in (None, AllPass()):
        value = spectral_l2(student, teacher, mask=mask, normalize=normalize)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: type(mask).__name__)
def test_gradcheck_and_no_gradient_to_the_teacher(mask, normalize):
    student, teacher = maps((4, 5))
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: spectral_l2(s, teacher, mask=mask, normalize=normalize), student
    )
    SpectralL2(mask=mask, normalize=normalize)(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("normalize", [False, True])
def test_what_the_mask_leaves_out_changes_nothing(normalize):
    """Nor its scale: normalising before masking would let it."""
    teacher, other = maps((16, 16))
    student = teacher + 0.1 * other
    plane = torch.fft.fft2(torch.randn(3, 4, 16, 16, dtype=torch.float64))
    fy = 2 * torch.fft.fftfreq(16)
    outside = torch.hypot(fy[:, None], fy[None]) >= 0.5
    high = torch.fft.ifft2(plane * outside).real * 50
    loss = SpectralL2(mask={"type": "LowPass", "cutoff": 0.5}, normalize=normalize)
    torch.testing.assert_close(loss(student, teacher + high), loss(student, teacher))
    torch.testing.assert_close(loss(student + high, teacher), loss(student, teacher))
    everything = SpectralL2(normalize=normalize)
    assert everything(student, teacher + high) > 1.1 * everything(student, teacher)


def test_normalised_it_ignores_scale_and_offset_per_channel():
    student, teacher = maps()
    scale = torch.tensor([2.0, 5.0, 0.5, 9.0], dtype=torch.float64).view(4, 1, 1)
    loss = SpectralL2(mask=LowPass(0.6), normalize=True)
    torch.testing.assert_close(
        loss(student * scale - scale, teacher), loss(student, teacher), rtol=1e-4, atol=0
    )  # eps 1e-5 of a variance


@pytest.mark.parametrize("normalize", [False, True])
def test_constant_and_zero_maps(normalize):
    loss = SpectralL2(mask=HighPass(0.25), normalize=normalize)
    zero = torch.zeros(2, 3, 6, 6, requires_grad=True)
    assert loss(zero, torch.ones(2, 3, 6, 6)).item() == 0  # a constant has no high frequencies
    value = loss(zero, torch.randn(2, 3, 6, 6))
    value.backward()
    assert value.isfinite()
    assert zero.grad.isfinite().all()


def test_levels_add_up_and_sizes_are_matched():
    students = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 2)]
    teachers = [torch.randn(2, 3, 8, 6), torch.randn(2, 3, 2, 2)]
    loss = SpectralL2(2.0, mask=LowPass(0.7), in_channels=3)
    parts = sum(loss(s, t) for s, t in zip(students, teachers, strict=True))
    torch.testing.assert_close(loss(students, teachers), parts)
    plain, spectral = FeatureL2(2.0), SpectralL2(2.0)
    torch.testing.assert_close(spectral(students, teachers), plain(students, teachers))
    for module in (plain, spectral):
        module.resize_stu = False
    torch.testing.assert_close(spectral(students, teachers), plain(students, teachers))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted(dtype):
    student, teacher = maps(dtype=torch.float32)
    student, teacher = student.to(dtype), teacher.to(dtype)
    expected = 3 * spectral_l2(student.float(), teacher.float(), mask=LowPass(0.5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SpectralL2(3.0, mask=LowPass(0.5))(student, teacher)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
        ({"mask": {"type": "LowPas"}}, "unknown mask type.*LowPass"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        SpectralL2(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="agree in"):
        SpectralL2()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))
    with pytest.raises(ConfigError, match="lets no frequency"):
        SpectralL2(mask=HighPass(0.9))(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))
