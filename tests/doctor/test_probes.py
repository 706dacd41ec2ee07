"""The shortcut and the bands, on maps whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fourierkd.doctor.probes import (
    balancing_value,
    band_shares,
    check_bands,
    check_shortcut,
    shortcut,
)
from fourierkd.losses.base import MapLoss
from fourierkd.losses.fourier import FourierLoss
from fourierkd.losses.spatial import FeatureL2
from fourierkd.spectral.frequency import BANDS, band_energy
from fourierkd.spectral.masks import LowPass


def natural_maps(scale: float = 1.0, channels: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """A pair whose amplitude falls as 1/f, as that of features does; rms ``scale``."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 2, channels, 32, 32, generator=generator)
    fy, fx = torch.fft.fftfreq(32)[:, None], torch.fft.rfftfreq(32)
    spectrum = torch.fft.rfft2(noise) / torch.hypot(fy, fx).clamp(min=1 / 32)
    maps = torch.fft.irfft2(spectrum, s=(32, 32))
    student, teacher = maps / maps.std() * scale
    return student, teacher


class Gain(MapLoss):
    """(g s - t)^2: its one parameter removes all of the loss where t is a multiple of s."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.gain = nn.Parameter(torch.ones(()))

    def distance(self, student, teacher):
        return (self.gain * student - teacher).square().mean()


def test_a_loss_that_can_explain_the_teacher_away_is_found():
    pair = (torch.randn(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    module = Gain()
    found = shortcut([module], [(pair[0], 1.5 * pair[0])], steps=300, seed=0)
    assert found["removed"] > 0.99
    assert module.gain == 1  # a copy was trained
    none = shortcut([module], [(pair[0], 1.5 * pair[0])], steps=0, seed=0)
    assert (none["removed"], none["steps"]) == (0.0, 0)


def test_the_shortcut_of_the_fourier_loss_and_none_of_plain_l2():
    pair = natural_maps()
    torch.manual_seed(0)
    losses = {"fourier": [FourierLoss(8)], "l2": [FeatureL2()]}
    maps = {"fourier": [pair], "l2": [pair]}
    state = torch.get_rng_state()
    check = check_shortcut(losses, maps, steps=60, seed=0)
    assert torch.equal(state, torch.get_rng_state())
    assert check.facts["l2"]["removed"] == 0
    fourier = check.facts["fourier"]
    assert fourier["removed"] > 0.1
    before, after = fourier["scalars"]["mix"]
    assert before == 0.5
    assert after < 0.5
    assert f"mix 0.500 -> {after:.3f}" in check.value
    assert "sphere_radius" not in check.value  # it stays as it is
    assert "l2: 0 %" in check.value
    assert check.status == ("warn" if fourier["removed"] > 0.2 else "ok")
    assert check.advice == "" or check.advice.endswith("watch distill/fourier/mix in training")


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("mask", [None, LowPass(0.6, 0.2)])
def test_band_shares_add_up_to_the_whole_loss(noise, mask):
    loss = FourierLoss(8, noise=noise, mask=mask, loss_weight=3.0)
    shares = band_shares(loss, natural_maps(), BANDS, seed=1)
    assert math.isclose(sum(shares), 1.0, rel_tol=1e-4)
    assert all(share >= 0 for share in shares)
    if mask is not None:
        whole = band_shares(loss, natural_maps(), (0.0, 0.75, 1.0), seed=1)
        assert whole[1] < 1e-6  # what the mask stops


def test_a_shift_within_the_mask_moves_no_share_out_of_it():
    """Student and teacher differ only at high frequencies: the low half contributes nothing."""
    _, teacher = natural_maps()
    fine = torch.zeros_like(teacher)
    fine[..., ::2] = 1.0
    fine -= fine.mean()
    loss = FourierLoss(8, noise=False)
    for conv in (loss.predictor, loss.atfm.student_conv, loss.atfm.teacher_conv):
        conv.weight.data.copy_(torch.eye(8)[..., None, None])
        conv.bias.data.zero_()
    loss.atfm.mix_logit.data.fill_(50.0)  # a = 1: only the student's amplitude
    low, high = band_shares(loss, (teacher + fine, teacher), (0.0, 0.5, 1.0), seed=0)
    assert band_energy(fine, (0, 0.5, 1))[0] < 1e-9
    assert high > 0.99
    assert low < 0.01


def test_larger_features_move_the_loss_to_high_frequencies_and_the_radius_undoes_it():
    loss = FourierLoss(8, noise=False)
    low = {s: sum(band_shares(loss, natural_maps(s), BANDS, seed=0)[:3]) for s in (0.1, 1, 10)}
    assert low[0.1] > low[1] > low[10]
    for scale in (0.3, 3.0):
        radius = balancing_value(loss, natural_maps(scale), seed=0)
        assert radius is not None
        balanced = FourierLoss(8, noise=False, sphere_radius=radius)
        balanced.load_state_dict(loss.state_dict())
        assert band_shares(balanced, natural_maps(scale), (0.0, 0.5, 1.0), seed=0)[0] == (
            pytest.approx(0.5, abs=0.02)
        )


def test_no_radius_balances_what_lies_on_one_side():
    loss = FourierLoss(8, noise=False, mask=LowPass(0.4))
    assert balancing_value(loss, natural_maps(), seed=0) is None
    check = check_bands({"f": [loss]}, {"f": [natural_maps()]}, seed=0)
    assert check.status == "warn"
    assert "none balances" in check.value
    assert check.facts["f.0"]["low_share"] == pytest.approx(1.0)


def test_lopsided_loss_is_told_the_radius():
    loss = FourierLoss(8, noise=False)
    check = check_bands({"f": [loss]}, {"f": [natural_maps(30.0)]}, seed=0)
    assert check.status == "warn"
    radius = check.facts["f.0"]["balancing_value"]
    assert f"sphere_radius={radius:.4g}" in check.advice
    assert check_bands({"l2": [FeatureL2()]}, {"l2": [natural_maps()]}, seed=0).status == "skip"


def test_a_loss_without_sphere_has_bands_and_no_radius():
    parts = {"sphere_radius": None, "fusion": False, "predictor": False}
    loss = FourierLoss(8, noise=False, mask=LowPass(0.4), **parts)
    check = check_bands({"f": [loss]}, {"f": [natural_maps()]}, seed=0)
    assert check.status == "warn"
    assert "balances" not in check.value
    assert check.advice.endswith("choose a mask")
    assert check.facts["f.0"]["balancing_value"] is None
    assert sum(check.facts["f.0"]["shares"]) == pytest.approx(1.0, rel=1e-4)
    shortcut = check_shortcut({"f": [loss]}, {"f": [natural_maps()]}, steps=2, seed=0)
    assert "no parameters of its own" in shortcut.value


def test_maps_that_differ_in_size_are_compared_as_the_loss_does():
    student, teacher = natural_maps()
    small = nn.functional.avg_pool2d(student, 2)
    check = check_bands({"f": [FourierLoss(8)]}, {"f": [(small, teacher)]}, seed=0)
    assert sum(check.facts["f.0"]["shares"]) == pytest.approx(1.0, rel=1e-4)
