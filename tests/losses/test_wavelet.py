"""The distance of Haar bands: against loops over bands, and against FeatureL2."""

import doctest
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses import wavelet
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.wavelet import WaveletL2, wavelet_l2
from fourierkd.spectral import blocks
from fourierkd.spectral.wavelet import haar, inverse_haar

sys.path.insert(0, str(Path(__file__).parent))
from reference import SIZES, assert_half_precision_is_lifted, assert_same, maps, value_and_gradient

SWITCH = pytest.mark.parametrize("normalize", [False, True])
WEIGHTS = pytest.mark.parametrize(
    "weights",
    [
        {"levels": 1, "low": 0.0},
        {"levels": 2, "low": 3.0, "details": [0.5, 2.0]},
        {"levels": 3, "low": 0.2, "details": [[1, 0, 2], 0.0, [0.3, 0.4, 0.5]]},
    ],
    ids=str,
)
# Haar's filters along y and x, by F.conv2d in place of sums of rows and columns
FILTERS = {"L": torch.tensor([0.5, 0.5]).double().sqrt()}
FILTERS["H"] = FILTERS["L"] * torch.tensor([1.0, -1.0])


def band(x, letters):
    """One band of a map with even sides, a convolution a channel."""
    c = x.shape[1]
    kernel = FILTERS[letters[0]][:, None] * FILTERS[letters[1]]
    return F.conv2d(x, kernel.expand(c, 1, 2, 2), stride=2, groups=c)


def plain(student, teacher, *, levels, low, details=1.0, normalize):
    """The loss by its formula, a band at a time."""
    each = details if isinstance(details, list) else [details] * levels
    weights, pairs = [], []
    for x in (student, teacher):
        bands = []
        if normalize:
            x = x - x.mean((0, 2, 3), keepdim=True)
        for _ in range(levels):
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
            bands += [band(x, letters) for letters in ("LH", "HL", "HH")]
            x = band(x, "LL")
        pairs.append([*bands, x])
    for level, entry in enumerate(each, 1):
        three = entry if isinstance(entry, list) else [entry] * 3
        weights += [weight / 4**level for weight in three]
    weights = torch.tensor([*weights, low / 4**levels], dtype=student.dtype)
    weights = weights / weights.sum()
    if normalize:
        for bands in pairs:
            means = [b.square().mean((0, 2, 3), keepdim=True) for b in bands]
            variance = sum(w * mean for w, mean in zip(weights, means, strict=True))
            bands[:] = [b / (variance + 1e-5).sqrt() for b in bands]
    errors = [F.mse_loss(a, b) for a, b in zip(*pairs, strict=True)]
    return sum(w * error for w, error in zip(weights, errors, strict=True))


@SWITCH
@WEIGHTS
@pytest.mark.parametrize("size", SIZES)
def test_equals_its_formula(size, weights, normalize):
    student, teacher = maps(3, 5, *size)
    ours = value_and_gradient(WaveletL2(3.0, normalize=normalize, **weights), student, teacher)
    reference = value_and_gradient(
        lambda s, t: 3 * plain(s, t, normalize=normalize, **weights), student, teacher
    )
    assert_same(ours, reference, 1e-9)


@SWITCH
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("details", [1.0, [0.7] * 3])
def test_with_equal_weights_it_is_feature_l2(levels, details, normalize):
    student, teacher = maps(2, 3, 16, 8)
    loss = WaveletL2(
        7.0,
        levels=levels,
        low=1.0 if details == 1.0 else 0.7,
        details=details if details == 1.0 else details[:levels],
        normalize=normalize,
    )
    plain_l2 = FeatureL2(7.0, normalize=normalize)
    assert_same(
        value_and_gradient(loss, student, teacher),
        value_and_gradient(plain_l2, student, teacher),
        1e-9,
    )


@SWITCH
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 6), (5, 1)])
def test_gradcheck_and_no_gradient_to_the_teacher(size, normalize):
    student, teacher = maps(2, 3, *size)
    teacher.requires_grad_()
    loss = WaveletL2(levels=2, low=0.3, details=[1.0, [0.2, 2.0, 0.5]], normalize=normalize)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_values_by_hand():
    # 2 x 2: LL = (1 + 2 + 3 + 6) / 2, LH = (1 - 2 + 3 - 6) / 2, HL = (1 + 2 - 3 - 6) / 2, HH = 1
    student = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    zero = torch.zeros_like(student)
    assert wavelet_l2(student, zero, levels=1).item() == (36 + 4 + 9 + 1) / 4
    assert wavelet_l2(student, zero, levels=1, low=1.0, details=0.0).item() == 36
    assert wavelet_l2(student, zero, levels=1, low=0.0, details=[[2.0, 1.0, 1.0]]).item() == (
        (2 * 4 + 9 + 1) / 4
    )


def test_white_errors_keep_their_scale_with_any_weights():
    torch.manual_seed(0)
    student, zero = torch.randn(8, 16, 32, 32), torch.zeros(8, 16, 32, 32)
    for weights in ({"low": 0.0}, {"low": 50.0}, {"details": [1.0, 0.0, 4.0]}):
        assert WaveletL2(**weights)(student, zero).item() == pytest.approx(1, rel=0.1)


@SWITCH
def test_a_band_without_weight_has_no_influence(normalize):
    student, teacher = maps(2, 3, 8, 8)
    loss = WaveletL2(levels=2, low=1.0, details=[0.0, 1.0], normalize=normalize)
    bands = [torch.zeros_like(b) for b in haar(teacher, 2)]
    for finest in bands[:3]:
        finest.normal_(std=30)
    other = inverse_haar(bands, 8, 8)
    ours = value_and_gradient(loss, student, teacher)
    assert_same(value_and_gradient(loss, student, teacher + other), ours, 1e-9)
    noisy = (student + other).detach().requires_grad_()
    assert_same(value_and_gradient(loss, noisy, teacher), ours, 1e-9)
    for finest in haar(ours[1], 2)[:3]:
        assert finest.abs().max() <= 1e-9 * ours[1].abs().max()


def test_normalised_it_ignores_scale_and_offset_per_channel():
    student, teacher = maps(2, 3, 8, 8)
    scale = torch.tensor([2.0, 5.0, 0.5], dtype=torch.float64).view(3, 1, 1)
    loss = WaveletL2(low=0.2, normalize=True)
    torch.testing.assert_close(
        loss(student * scale + 3, teacher), loss(student, teacher), rtol=1e-3, atol=1e-4
    )


@SWITCH
@pytest.mark.parametrize("fill", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_maps_and_constant_channels_are_finite(dtype, fill, normalize):
    student, teacher = maps(2, 3, 6, 7, dtype=dtype)
    flat = student.detach().clone()
    flat[:, 1] = fill
    for low in (0.0, 1.0):
        loss = WaveletL2(low=low, normalize=normalize)
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
    assert_half_precision_is_lifted(WaveletL2(low=0.5, normalize=normalize), dtype)


@SWITCH
def test_float32_is_that_of_float64(normalize):
    student, teacher = maps(2, 4, 12, 10, dtype=torch.float32)
    loss = WaveletL2(low=0.5, normalize=normalize)
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
    value = WaveletL2(2.0, resize_stu=resize_stu, normalize=normalize)(student, teacher)
    torch.testing.assert_close(value, 2 * wavelet_l2(*resized, normalize=normalize))


@SWITCH
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_memory_formats_change_nothing_but_the_order_of_additions(
    monkeypatch, threads, normalize
):
    student, teacher = maps(2, 5, 6, 7)
    copies = student.detach().clone(), teacher.clone()
    loss = WaveletL2(low=0.5, normalize=normalize)
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


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
        ({"levels": 0}, "levels must be a whole number from 1 on, got 0"),
        ({"levels": True}, "levels must be"),
        ({"low": -1.0}, "weights in low must be finite numbers >= 0, got -1"),
        ({"details": "all"}, "weights in details must be finite"),
        ({"details": [1.0, 1.0]}, "a number or a list of 3, one a level"),
        ({"details": [1.0, 1.0, [1.0, 2.0]]}, "a number or three, for LH, HL and HH"),
        ({"low": 0, "details": 0}, "must not all be 0"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        WaveletL2(**options)


def test_docstring_examples():
    assert doctest.testmod(wavelet).failed == 0
