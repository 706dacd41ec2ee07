"""The nuisance lies in its band, has its size, and is the same for an image wherever it comes."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.nuisance import Nuisance
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.errors import ConfigError

HIGH = {"type": "HighPass", "cutoff": 0.5}


def added(config, image, feature):
    """What is added, and the power of each of its frequencies, (N, C, H, W) both."""
    pattern = Nuisance(config)(image, feature) - feature
    return pattern, torch.fft.fft2(pattern.double(), norm="ortho").abs().square()


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (9, 12)])
@pytest.mark.parametrize(
    "mask",
    [
        HIGH,
        {"type": "LowPass", "cutoff": 0.3},
        {"type": "BandPass", "low": 0.2, "high": 0.6, "soft": 0.0},
    ],
)
def test_it_lies_in_its_band_with_its_size(size, mask):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 64, 64, generator=generator)
    feature = 5 * torch.randn(2, 7, *size, generator=generator) + 1
    pattern, power = added({"mask": mask, "scale": 3.0}, image, feature)
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) / 0.5 for n in size)
    radius = torch.hypot(fy[:, None], fx[None])  # fractions of Nyquist
    low, high = mask.get("low", 0.0), mask.get("high", torch.inf)
    if mask["type"] == "LowPass":
        high = mask["cutoff"]
    if mask["type"] == "HighPass":
        low = mask["cutoff"]
    outside = (radius < low) | (radius >= high)
    # float32: what is added is the difference of two sums of size 20
    assert power[..., outside].sum() < 1e-10 * power.sum()
    rms = pattern.double().square().mean((2, 3)).sqrt()
    expected = 3 * feature.double().var((2, 3), correction=0).sqrt()
    torch.testing.assert_close(rms, expected, rtol=1e-5, atol=0)


def test_an_image_has_its_nuisance_alone_in_any_batch_and_object():
    image, feature = torch.randn(3, 3, 32, 32), torch.randn(3, 4, 8, 8)
    config = {"mask": HIGH, "scale": 2.0, "seed": 5}
    whole = Nuisance(config)(image, feature)
    for i in range(3):
        alone = Nuisance(config)(image[i : i + 1], feature[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole, Nuisance({**config, "seed": 6})(image, feature), atol=0.1)
    mirrored = Nuisance(config)(image.roll(1, 0), feature)
    assert not torch.allclose(whole, mirrored, atol=0.1)


def test_a_constant_image_or_map_stays_finite():
    nuisance = Nuisance({"mask": HIGH, "scale": 3.0})
    feature = torch.randn(1, 4, 8, 8)
    assert nuisance(torch.zeros(1, 3, 32, 32), feature).isfinite().all()
    constant = torch.ones(1, 4, 8, 8)
    assert torch.equal(nuisance(torch.randn(1, 3, 32, 32), constant), constant)


def test_half_precision_comes_back_as_it_went_in():
    image, feature = torch.randn(1, 3, 32, 32), torch.randn(1, 4, 8, 8).bfloat16()
    out = Nuisance({"mask": HIGH})(image, feature)
    assert out.dtype == torch.bfloat16
    expected = Nuisance({"mask": HIGH})(image, feature.float())
    torch.testing.assert_close(out.float(), expected, rtol=2**-8, atol=0)  # one rounding


def test_a_teacher_adds_it_to_its_taps_and_to_nothing_else(psp):
    torch.manual_seed(0)
    clean = FrozenTeacher(psp(8), "random", ["backbone.layer4"])
    config = {"mask": HIGH, "scale": 3.0}
    teacher = FrozenTeacher(psp(8), "random", ["backbone.layer4"], nuisance=config)
    teacher.model.load_state_dict(clean.model.state_dict())
    image = torch.randn(2, 3, 32, 32)
    (before,), (after,) = clean(image)["backbone.layer4"], teacher(image)["backbone.layer4"]
    assert torch.equal(after, Nuisance(config)(image, before))
    assert not torch.allclose(after, before)
    assert teacher.identity != clean.identity


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"scale": 3.0}, "needs the band"),
        ({"mask": HIGH, "scal": 3.0}, r"unknown key of model.teacher.nuisance.*scal.*scale"),
        ({"mask": HIGH, "scale": -1.0}, "nuisance.scale"),
        ({"mask": HIGH, "seed": 0.5}, "nuisance.seed"),
        ({"mask": {"type": "HighPass", "cutoff": 9}}, "cutoff"),
    ],
)
def test_a_wrong_config_is_refused_by_name(config, words):
    with pytest.raises(ConfigError, match=words):
        Nuisance(config)
