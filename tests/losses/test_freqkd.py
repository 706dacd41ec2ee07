"""Low and high frequencies apart: against maps filtered on the full spectrum, and against L2."""

import doctest
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses import freqkd
from fourierkd.losses.freqkd import FrequencyDecoupledLoss, frequency_decoupled_loss
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.spectral import blocks
from fourierkd.spectral.masks import HighPass, LowPass

sys.path.insert(0, str(Path(__file__).parent))
from reference import (
    SIZES,
    assert_half_precision_is_lifted,
    assert_same,
    band_passed,
    maps,
    value_and_gradient,
)

SWITCH = pytest.mark.parametrize("normalize", [False, True])


def below(size, cutoff):
    """1 at the frequencies below the cutoff, on the full plane."""
    fy, fx = (2 * torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    return (torch.hypot(fy[:, None], fx) < cutoff - 1e-9).double()


def plain(student, teacher, cutoff, high_weight, normalize):
    """The loss by its formula, of the two maps that a filter makes of each."""
    low = below(student.shape[2:], cutoff)
    errors = []
    for mask in (low, 1 - low):
        ours, theirs = band_passed(student, mask), band_passed(teacher, mask)
        if normalize:
            ours, theirs = (F.batch_norm(x, None, None, training=True) for x in (ours, theirs))
        errors.append(F.mse_loss(ours, theirs))
    return errors[0] + high_weight * torch.log(1 + errors[1])


@SWITCH
@pytest.mark.parametrize("cutoff", [0.3, 0.7])
@pytest.mark.parametrize("size", SIZES)
def test_equals_that_of_filtered_maps(size, cutoff, normalize):
    student, teacher = maps(3, 5, *size)
    loss = FrequencyDecoupledLoss(3.0, cutoff=cutoff, high_weight=0.4, normalize=normalize)
    ours = value_and_gradient(loss, student, teacher)
    reference = value_and_gradient(
        lambda s, t: 3 * plain(s, t, cutoff, 0.4, normalize), student, teacher
    )
    assert_same(ours, reference, 1e-8)


@SWITCH
@pytest.mark.parametrize("size", [(4, 5), (3, 4), (1, 6), (5, 1)])
def test_gradcheck_and_no_gradient_to_the_teacher(size, normalize):
    student, teacher = maps(2, 3, *size)
    teacher.requires_grad_()
    loss = FrequencyDecoupledLoss(cutoff=0.6, high_weight=0.5, normalize=normalize)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_value_by_hand():
    # 1 x 4 maps: a mean of 3, amplitude 2 at half of Nyquist, 1 at Nyquist: energies 9, 2 and 1
    x = torch.arange(4, dtype=torch.float64)
    student = (3 + 2 * torch.cos(torch.pi * x / 2) + (-1) ** x).view(1, 1, 1, 4)
    zero = torch.zeros_like(student)
    value = frequency_decoupled_loss(student, zero, cutoff=0.6, high_weight=0.1)
    assert value.item() == pytest.approx(9 + 2 + 0.1 * math.log(1 + 1))
    value = frequency_decoupled_loss(student, zero, cutoff=0.5, high_weight=2.0)  # [low, high)
    assert value.item() == pytest.approx(9 + 2 * math.log(1 + 3))


@SWITCH
def test_bands_are_those_of_spectral_l2(normalize):
    student, teacher = maps(2, 3, 8, 7)
    low, high = (SpectralL2(mask=m, normalize=normalize) for m in (LowPass(0.6), HighPass(0.6)))
    share = below((8, 7), 0.6).mean()
    strict, relaxed = low(student, teacher), high(student, teacher)
    if not normalize:  # masks have a mean of 1
        strict, relaxed = strict * share, relaxed * (1 - share)
    loss = FrequencyDecoupledLoss(cutoff=0.6, normalize=normalize)
    expected = strict + 0.1 * torch.log1p(relaxed)
    torch.testing.assert_close(loss(student, teacher), expected, rtol=1e-4, atol=0)


def test_where_all_is_low_or_errors_are_small_it_is_feature_l2():
    student, teacher = maps(2, 3, 8, 7)
    ours = value_and_gradient(FrequencyDecoupledLoss(7.0, cutoff=1.0), student, teacher)
    assert_same(ours, value_and_gradient(FeatureL2(7.0), student, teacher), 1e-9)
    near = (teacher + 1e-4 * student).detach().requires_grad_()
    ours = value_and_gradient(FrequencyDecoupledLoss(high_weight=1.0), near, teacher)
    assert_same(ours, value_and_gradient(FeatureL2(), near, teacher), 1e-4)


def test_a_large_error_of_high_frequencies_hardly_pulls():
    student, teacher = maps(2, 3, 8, 8)
    low = below((8, 8), 0.5)
    far = (student + 1e3 * band_passed(torch.randn_like(student), 1 - low)).detach()
    gradient = value_and_gradient(FrequencyDecoupledLoss(), far.requires_grad_(), teacher)[1]
    strict, relaxed = band_passed(gradient, low), band_passed(gradient, 1 - low)
    assert 0 < relaxed.norm() < 0.01 * strict.norm()
    gradient = value_and_gradient(FrequencyDecoupledLoss(high_weight=0.0), student, teacher)[1]
    assert band_passed(gradient, 1 - low).abs().max() <= 1e-9 * gradient.abs().max()


def test_normalised_neither_band_sets_the_others_scale():
    student, teacher = maps(2, 3, 8, 8)
    student, high = student.detach(), 1 - below((8, 8), 0.5)
    loss = FrequencyDecoupledLoss(normalize=True)
    expected = loss(student, teacher)
    louder = teacher + 99 * band_passed(teacher, high)
    torch.testing.assert_close(loss(student, louder), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(loss(5 * student + 3, teacher), expected, rtol=1e-3, atol=0)


@SWITCH
@pytest.mark.parametrize("fill", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(6, 7), (1, 1)])
def test_zero_maps_and_constant_channels_are_finite(size, dtype, fill, normalize):
    student, teacher = maps(2, 3, *size, dtype=dtype)
    flat = student.detach().clone()
    flat[:, 1] = fill
    loss = FrequencyDecoupledLoss(normalize=normalize)
    for s, t in ((flat, teacher), (teacher, flat), (flat * 0, teacher), (flat * 0, flat * 0)):
        s = s.clone().requires_grad_()
        value, gradient = value_and_gradient(loss, s, t)
        assert value.isfinite()
        assert gradient.isfinite().all()
        if not (s.any() or t.any()):
            assert value == 0
            assert gradient.abs().max() == 0


@SWITCH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision_are_computed_in_float32(dtype, normalize):
    assert_half_precision_is_lifted(FrequencyDecoupledLoss(normalize=normalize), dtype)


@SWITCH
def test_float32_is_that_of_float64(normalize):
    student, teacher = maps(2, 4, 12, 10, dtype=torch.float32)
    loss = FrequencyDecoupledLoss(normalize=normalize)
    exact = student.detach().double().requires_grad_(), teacher.double()
    tolerance = 300 * torch.finfo(torch.float32).eps
    reference = value_and_gradient(loss, *exact)
    assert_same(value_and_gradient(loss, student, teacher), reference, tolerance)


@SWITCH
@pytest.mark.parametrize("resize_stu", [True, False])
def test_sizes_are_matched(resize_stu, normalize):
    student, teacher = maps(2, 3, 4, 6)[0], maps(2, 3, 8, 6)[1]
    size = (8, 6) if resize_stu else (4, 6)
    resized = [F.interpolate(x, size=size, mode="bilinear") for x in (student, teacher)]
    loss = FrequencyDecoupledLoss(2.0, resize_stu=resize_stu, normalize=normalize)
    expected = 2 * frequency_decoupled_loss(*resized, normalize=normalize)
    torch.testing.assert_close(loss(student, teacher), expected)


@SWITCH
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_memory_formats_change_nothing_but_the_order_of_additions(
    monkeypatch, threads, normalize
):
    student, teacher = maps(2, 5, 6, 7)
    copies = student.detach().clone(), teacher.clone()
    loss = FrequencyDecoupledLoss(normalize=normalize)
    whole = value_and_gradient(loss, student, teacher)
    assert torch.equal(student, copies[0])
    assert torch.equal(teacher, copies[1])
    strided = student.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert_same(value_and_gradient(loss, strided, teacher), whole, 1e-12)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 6 * 4 * 2)  # two channels a block
    torch.set_num_threads(threads)
    assert_same(value_and_gradient(loss, student, teacher), whole, 1e-12)
    with torch.inference_mode():
        torch.testing.assert_close(loss(student, teacher), whole[0])
    assert not loss.state_dict()
    assert not loss.linear_in_mask


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
        ({"cutoff": 0.0}, "cutoff must be a number .*fractions of Nyquist"),
        ({"cutoff": 1.5}, "cutoff must be"),
        ({"high_weight": -0.1}, "high_weight must be a finite number >= 0"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        FrequencyDecoupledLoss(**options)


def test_docstring_examples():
    assert doctest.testmod(freqkd).failed == 0
