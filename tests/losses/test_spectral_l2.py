"""The distance within a band: against maps filtered on the full spectrum, and against FeatureL2."""

import doctest
import importlib
import sys
from pathlib import Path

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2, spectral_l2
from fourierkd.spectral import blocks
from fourierkd.spectral.masks import (
    AllPass,
    BandPass,
    Gaussian,
    HighPass,
    LowPass,
    OrientationSectors,
    RadialKnots,
    mask_weights,
)

sys.path.insert(0, str(Path(__file__).parent))
from reference import (
    SIZES,
    assert_half_precision_is_lifted,
    assert_same,
    band_distance,
    band_passed,
    full_plane,
    maps,
    value_and_gradient,
)

FLAT = RadialKnots((1.0,))  # all-pass weights by the way of every other mask
SWITCH = pytest.mark.parametrize("normalize", [False, True])


@SWITCH
@pytest.mark.parametrize("mask", [Gaussian(0.3, 0.5), OrientationSectors((0.2, 1.0, 3.0))])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_distance_of_filtered_maps(size, mask, normalize):
    student, teacher = maps(3, 5, *size)
    full = full_plane(mask_weights(mask, *size, dtype=torch.float64), size[1])
    loss = SpectralL2(3.0, mask=mask, normalize=normalize)
    ours = value_and_gradient(loss, student, teacher)
    reference = value_and_gradient(
        lambda s, t: 3 * band_distance(s, t, full, normalize=normalize), student, teacher
    )
    assert_same(ours, reference, 1e-9)


@SWITCH
@pytest.mark.parametrize("mask", [AllPass(), FLAT, LowPass(1.0)])
@pytest.mark.parametrize("size", SIZES)
def test_without_a_band_it_is_feature_l2(size, mask, normalize):
    student, teacher = maps(2, 3, *size)
    ours = value_and_gradient(SpectralL2(7.0, mask=mask, normalize=normalize), student, teacher)
    plain = value_and_gradient(FeatureL2(7.0, normalize=normalize), student, teacher)
    assert_same(ours, plain, 1e-9)


@SWITCH
@pytest.mark.parametrize("resize_stu", [True, False])
def test_sizes_are_matched_as_feature_l2_does(resize_stu, normalize):
    student, teacher = maps(2, 3, 4, 6)[0], maps(2, 3, 8, 6)[1]
    options = {"resize_stu": resize_stu, "normalize": normalize}
    ours, plain = SpectralL2(2.0, mask=FLAT, **options), FeatureL2(2.0, **options)
    torch.testing.assert_close(ours(student, teacher), plain(student, teacher))


@SWITCH
@pytest.mark.parametrize("size", [(4, 5), (3, 4), (1, 6)])
def test_gradcheck_and_no_gradient_to_the_teacher(size, normalize):
    student, teacher = maps(2, 3, *size)
    teacher.requires_grad_()
    loss = SpectralL2(mask=BandPass(0.1, 0.8), normalize=normalize)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_value_by_hand():
    # 1 x 4 maps: f = 3 + 2 cos(pi x / 2) + (-1)^x has a mean of 3, amplitude 2 at half of Nyquist
    # and 1 at Nyquist; energies per pixel 9, 2 and 1
    x = torch.arange(4, dtype=torch.float64)
    student = (3 + 2 * torch.cos(torch.pi * x / 2) + (-1) ** x).view(1, 1, 1, 4)
    zero = torch.zeros_like(student)
    # 2 of 4 frequencies lie in [0.4, 0.9), each of them with weight 2
    assert spectral_l2(student, zero, mask=BandPass(0.4, 0.9, 0)).item() == pytest.approx(4)
    assert spectral_l2(student, zero, mask=HighPass(0.9)).item() == pytest.approx(4)
    # standardised in the band: any amplitude and any mean become one cosine of power 1
    other = 7 + 5 * torch.sin(torch.pi * x / 2).view(1, 1, 1, 4)
    band = LowPass(0.9)
    value = spectral_l2(student, other, mask=band, normalize=True)
    assert value.item() == pytest.approx(2, rel=1e-4)  # a quarter turn apart: 1 + 1 - 0


def test_complementary_bands_add_up_to_the_whole():
    student, teacher = maps(2, 3, 8, 7)
    parts = 0.0
    for mask in (LowPass(0.6), HighPass(0.6)):
        largest = mask_weights(mask, 8, 7, dtype=torch.float64).max()
        parts = parts + SpectralL2(mask=mask)(student, teacher) / largest
    torch.testing.assert_close(parts, FeatureL2()(student, teacher))


@SWITCH
def test_what_the_mask_stops_has_no_influence(normalize):
    """Neither on the value nor, by the statistics, on the scale of what passes."""
    student, teacher = maps(2, 3, 8, 8)
    loss = SpectralL2(mask=LowPass(0.5), normalize=normalize)
    stopped = full_plane(mask_weights(HighPass(0.5), 8, 8, dtype=torch.float64), 8)
    other = 30 * band_passed(torch.randn(2, 3, 8, 8, dtype=torch.float64), stopped)
    ours = value_and_gradient(loss, student, teacher)
    assert_same(value_and_gradient(loss, student, teacher + other), ours, 1e-9)
    noisy = (student + other).detach().requires_grad_()
    assert_same(value_and_gradient(loss, noisy, teacher), ours, 1e-9)
    everything = FeatureL2(normalize=normalize)  # a mask after the statistics would not be enough
    assert everything(student, teacher + other) > 1.1 * everything(student, teacher)
    gradient = ours[1]  # no learning signal outside of the band
    assert band_passed(gradient, stopped).abs().max() <= 1e-9 * gradient.abs().max()


def test_normalised_it_ignores_scale_and_offset_per_channel():
    student, teacher = maps(2, 3, 8, 8)
    scale = torch.tensor([2.0, 5.0, 0.5], dtype=torch.float64).view(3, 1, 1)
    loss = SpectralL2(mask=LowPass(0.5), normalize=True)
    torch.testing.assert_close(
        loss(student * scale + 3, teacher), loss(student, teacher), rtol=1e-3, atol=1e-4
    )


def test_float32_is_that_of_float64_also_beside_a_large_mean():
    student, teacher = maps(2, 4, 12, 10, dtype=torch.float32)
    student = ((student.detach() * 64).round() / 64).requires_grad_()  # so that sums are exact
    loss = SpectralL2(mask=LowPass(0.5), normalize=True)
    exact = [x.detach().double() for x in (student, teacher)]
    reference = value_and_gradient(loss, exact[0].requires_grad_(), exact[1])
    tolerance = 300 * torch.finfo(torch.float32).eps
    assert_same(value_and_gradient(loss, student, teacher), reference, tolerance)
    shifted = (student.detach() + 4096).requires_grad_()
    # one rounding of a map near 4096 is 2^-12 of its deviation of about 1
    assert_same(value_and_gradient(loss, shifted, teacher), reference, 1e-3)


@SWITCH
@pytest.mark.parametrize("fill", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_maps_and_constant_channels_are_finite(dtype, fill, normalize):
    student, teacher = maps(2, 3, 6, 7, dtype=dtype)
    flat = student.detach().clone()
    flat[:, 1] = fill
    for mask in (LowPass(0.5), HighPass(0.3)):
        loss = SpectralL2(mask=mask, normalize=normalize)
        for s, t in ((flat, teacher), (teacher, flat), (flat * 0, flat * 0)):
            s = s.clone().requires_grad_()
            value, gradient = value_and_gradient(loss, s, t)
            assert value.isfinite()
            assert gradient.isfinite().all()
            if not (s.any() or t.any()):
                assert value == 0
                assert gradient.abs().max() == 0
            elif normalize:  # a channel adds at most (1 + 1)^2, a flat one at most 1
                assert value <= 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision_are_computed_in_float32(dtype):
    assert_half_precision_is_lifted(SpectralL2(mask=LowPass(0.5), normalize=True), dtype)


@SWITCH
def test_inputs_stay_as_they_are_in_any_memory_format(normalize):
    student, teacher = maps(2, 3, 4, 6)
    loss = SpectralL2(mask=LowPass(0.5), normalize=normalize)
    copies = [x.detach().clone() for x in (student, teacher)]
    first = value_and_gradient(loss, student, teacher)
    assert torch.equal(student, copies[0])
    assert torch.equal(teacher, copies[1])
    strided = student.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert_same(value_and_gradient(loss, strided, teacher), first, 1e-12)
    with torch.inference_mode():
        torch.testing.assert_close(loss(student, teacher), first[0])
    assert not loss.state_dict()


@SWITCH
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_threads_change_nothing_but_the_order_of_additions(
    monkeypatch, threads, normalize
):
    student, teacher = maps(2, 5, 6, 7)
    loss = SpectralL2(mask=LowPass(0.5), normalize=normalize)
    whole = value_and_gradient(loss, student, teacher)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 6 * 4 * 2)  # two channels a block
    torch.set_num_threads(threads)
    assert_same(value_and_gradient(loss, student, teacher), whole, 1e-12)
    with torch.inference_mode():  # a thread starts without it
        torch.testing.assert_close(loss(student, teacher), whole[0])


@SWITCH
def test_function_equals_module_and_backward_scales_with_the_weight(normalize):
    student, teacher = maps(2, 3, 4, 6)
    mask = Gaussian()
    value = spectral_l2(student, teacher, mask=mask, normalize=normalize)
    (gradient,) = torch.autograd.grad(value, student)
    config = {"type": "Gaussian"}
    module = value_and_gradient(SpectralL2(5.0, mask=config, normalize=normalize), student, teacher)
    assert_same(module, [5 * value.detach(), 5 * gradient], 1e-12)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
        ({"mask": {"type": "LowPas"}}, "did you mean 'LowPass'"),
        ({"mask": {"type": "LowPass", "cutoff": 2}}, "cutoff must be"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        SpectralL2(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="agree in"):
        SpectralL2()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))
    with pytest.raises(ConfigError, match="no frequency of a 1 x 1 map"):
        SpectralL2(mask=HighPass(0.5))(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))


def test_docstring_examples():
    module = importlib.import_module("fourierkd.losses.spectral_l2")
    assert doctest.testmod(module).failed == 0
