"""Fits in bands: each frequency belongs to one band, and what is put there is the fit's alone."""

from __future__ import annotations

import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.spectral.band_fit import BandFit, BandMoments, exchange_bands, fit_bands
from fourierkd.spectral.frequency import band_of_frequency
from fourierkd.spectral.half import half_spectrum, map_of_half_spectrum

EDGES = (0.0, 0.25, 0.6, 1.0)
SIZES = [(8, 8), (7, 9), (6, 5), (1, 4)]


def maps(channels: int, size=(8, 8), n: int = 40, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, channels, *size, dtype=torch.float64, generator=generator)
    return noise + torch.arange(channels)[:, None, None]


def fit(own: torch.Tensor, known: torch.Tensor, edges=EDGES) -> BandFit:
    halves = [BandMoments(edges, (own.shape[1], known.shape[1])) for _ in range(2)]
    for i, half in enumerate(halves):
        half.add(own[i::2], known[i::2])
    return fit_bands(*halves)


def by_band(known: torch.Tensor, weights: torch.Tensor, edges=EDGES) -> torch.Tensor:
    """A map whose band b is ``weights[b]`` times that of ``known``."""
    height, width = known.shape[2:]
    band, spectrum = band_of_frequency(height, width, edges), half_spectrum(known)
    parts = [
        torch.einsum("ck,nkhw->nchw", w.to(spectrum), spectrum) * (band == b)
        for b, w in enumerate(weights)
    ]
    return map_of_half_spectrum(sum(parts), width)


@pytest.mark.parametrize("size", SIZES)
def test_bands_one_after_another_are_the_whole_map(size):
    own, known = maps(3, size), maps(5, size, seed=1)
    fitted = fit(own, known)
    step = own
    for band in range(3):
        step = exchange_bands(step, fitted, [band], known)
    whole = exchange_bands(own, fitted, range(3), known)
    torch.testing.assert_close(step, whole)
    # nothing of the student's map is left
    torch.testing.assert_close(
        exchange_bands(maps(3, size, seed=2), fitted, range(3), known), whole
    )
    # each band's change alone, added up
    changes = [exchange_bands(own, fitted, [band], known) - own for band in range(3)]
    torch.testing.assert_close(own + sum(changes), whole)


@pytest.mark.parametrize("size", SIZES)
def test_the_spectrum_is_the_fits_inside_and_the_maps_own_outside(size):
    own, known = maps(3, size), maps(5, size, seed=1)
    fitted = fit(own, known)
    inside = band_of_frequency(*size, EDGES) == 1
    before, after = half_spectrum(own), half_spectrum(exchange_bands(own, fitted, [1], known))
    torch.testing.assert_close(after[..., ~inside], before[..., ~inside])
    expected = torch.einsum(
        "ck,nkf->ncf", fitted.weights[1] + 0j, half_spectrum(known)[..., inside]
    )
    torch.testing.assert_close(after[..., inside], expected)
    emptied = half_spectrum(exchange_bands(own, fitted, [1]))
    torch.testing.assert_close(emptied[..., inside], torch.zeros_like(expected))


def test_a_known_linear_map_is_recovered_in_every_band():
    known = maps(4)
    weights = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    own = by_band(known, weights) + 7.0
    fitted = fit(own, known)
    torch.testing.assert_close(fitted.weights, weights, rtol=1e-4, atol=1e-4)
    assert (fitted.missed < 1e-8 * fitted.energy).all()
    fresh = maps(4, seed=9)  # images that the fit has not seen
    exchanged = exchange_bands(torch.zeros(40, 2, 8, 8).double(), fitted, range(3), fresh)
    torch.testing.assert_close(exchanged, by_band(fresh, weights) + 7.0, rtol=1e-3, atol=1e-3)


def test_fits_of_several_sizes_are_those_of_all_pixels():
    weights = torch.tensor([[[2.0, -1.0]]]).double().expand(2, 1, 2)
    halves = [BandMoments((0, 0.5, 1), (1, 2)) for _ in range(2)]
    for i, size in enumerate([(8, 8), (5, 12), (6, 6), (9, 4)]):
        known = maps(2, size, n=6, seed=i)
        halves[i % 2].add(by_band(known, weights, (0, 0.5, 1)) + 1, known)
    fitted = fit_bands(*halves)
    torch.testing.assert_close(fitted.weights, weights, rtol=1e-4, atol=1e-4)


def test_a_map_that_tells_nothing_predicts_next_to_nothing():
    own, known = maps(3), maps(60, seed=1)  # more channels than the lowest band has numbers
    fitted = fit(own, known)
    assert (fitted.missed > 0.9 * fitted.energy).all()
    assert (fitted.missed <= fitted.energy * (1 + 1e-9)).all()
    left = exchange_bands(own, fitted, range(3), known) - fitted.mean[:, None, None]
    assert left.square().mean() < 0.2 * own.var()


def test_all_bands_removed_leave_the_mean_of_all_images():
    own = maps(3)
    emptied = exchange_bands(own, fit(own, maps(2, seed=1)), range(3))
    torch.testing.assert_close(emptied, own.mean((0, 2, 3))[:, None, None].expand_as(own))


def test_a_band_without_a_frequency_changes_nothing():
    own, known = maps(2, (2, 2)), maps(2, (2, 2), seed=1)  # frequencies 0 and 1 of Nyquist
    fitted = fit(own, known)
    torch.testing.assert_close(exchange_bands(own, fitted, [1], known), own)
    assert fitted.energy[1] == 0
    constant = fit(own, torch.ones_like(known))
    assert not constant.weights.any()


def test_bands_begin_at_0_and_both_halves_hold_images():
    with pytest.raises(ConfigError, match=r"begin at 0, got \(0\.1, 1\.0\)"):
        BandMoments((0.1, 1.0), (1, 1))
    halves = [BandMoments((0, 1), (1, 1)) for _ in range(2)]
    halves[0].add(maps(1, n=1), maps(1, n=1))
    with pytest.raises(ConfigError, match="two or more images, got 1"):
        fit_bands(*halves)


@pytest.mark.parametrize("size", SIZES)
def test_every_frequency_lies_in_one_band(size):
    edges = [i / 10 for i in range(11)]
    band = band_of_frequency(*size, edges)
    assert band.shape == (size[0], size[1] // 2 + 1)
    assert 0 <= band.min() <= band.max() <= 9
    assert band[0, 0] == 0
    assert math.prod(band.shape) == sum(int((band == b).sum()) for b in range(10))
