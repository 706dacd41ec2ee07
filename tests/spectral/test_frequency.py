import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.spectral.frequency import (
    BANDS,
    band_energy,
    band_gap,
    power_spectrum,
    radial_frequency,
    radial_profile,
)


def wave(height, width, ky, kx, amplitude=1.0):
    y, x = torch.arange(height).double()[:, None], torch.arange(width).double()
    phase = 2 * math.pi * (ky * y / height + kx * x / width)
    return amplitude * torch.cos(phase).expand(1, 1, height, width)


def test_radial_frequency_equals_the_full_grid():
    for height, width in ((6, 8), (5, 7), (1, 4)):
        fy = torch.fft.fftfreq(height)[:, None]
        fx = torch.fft.fftfreq(width)
        full = torch.sqrt(fy**2 + fx**2)[:, : width // 2 + 1]
        torch.testing.assert_close(radial_frequency(height, width), full)
    assert radial_frequency(8, 8).max().item() == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 6)])
def test_band_energies_add_up_to_the_mean_square(size):
    torch.manual_seed(0)
    feature = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(band_energy(feature).sum(), feature.square().mean())
    without_dc = band_energy(feature, (1e-9, 1.0)).sum()
    torch.testing.assert_close(
        without_dc, feature.square().mean() - feature.mean((2, 3)).square().mean()
    )


def test_a_wave_lies_in_its_band_and_corners_in_the_last():
    edges = (0.0, 0.25, 0.5, 1.0)
    for size in (32, 64):  # 6 / 32 cycles per pixel is 0.375 of Nyquist
        energy = band_energy(wave(size, size, 0, 6 * size // 32), edges)
        torch.testing.assert_close(energy, torch.tensor([0, 0.5, 0]).double())
    on_edge = band_energy(wave(32, 32, 0, 8), edges)  # [low, high): 0.5 belongs to the upper band
    torch.testing.assert_close(on_edge, torch.tensor([0, 0, 0.5]).double())
    corner = band_energy(wave(32, 32, 16, 16), edges)
    torch.testing.assert_close(corner, torch.tensor([0, 0, 1.0]).double())


def test_gap_shows_only_in_the_band_that_lacks_energy():
    low, high = wave(16, 16, 0, 1), wave(16, 16, 6, 0)
    gap = band_gap(low + 0.5 * high, low + high, (0, 0.25, 0.5, 1))
    torch.testing.assert_close(gap, torch.tensor([0.0, 0.0, (1 - 0.25) / (1 + 0.25)]).double())
    assert band_gap(low, low + high)[-1] == 1
    assert torch.equal(band_gap(low, low), torch.zeros(len(BANDS) - 1).double())
    sizes_differ = band_gap(wave(8, 8, 0, 1), wave(16, 16, 0, 2))
    torch.testing.assert_close(sizes_differ, torch.zeros(4).double())


def test_radial_profile_of_white_noise_is_flat_and_of_a_wave_a_peak():
    torch.manual_seed(0)
    profile = radial_profile(torch.randn(8, 16, 32, 32), bins=8)
    torch.testing.assert_close(profile.radius, (torch.arange(8) + 0.5) / 8)
    torch.testing.assert_close(profile.power, torch.ones(8), rtol=0.1, atol=0)
    peak = radial_profile(wave(32, 32, 0, 6), bins=8).power
    assert peak.argmax().item() == 3
    assert peak.sum() == pytest.approx(peak[3].item())


def test_radial_profile_says_nan_where_there_is_no_frequency():
    power = radial_profile(torch.ones(1, 1, 2, 2), bins=4).power
    assert power.isnan().tolist() == [False, True, True, False]


def test_half_precision_is_lifted():
    feature = torch.randn(1, 2, 6, 6).half()
    torch.testing.assert_close(power_spectrum(feature), power_spectrum(feature.float()))


@pytest.mark.parametrize("edges", [(0.5,), (0.5, 0.5), (0.5, 0.2), (-0.1, 1), (0, 2)])
def test_bad_edges(edges):
    with pytest.raises(ConfigError, match="band edges must be"):
        band_energy(torch.ones(1, 1, 4, 4), edges)


def test_bad_maps_and_bins():
    with pytest.raises(ConfigError, match="float map"):
        band_energy(torch.ones(4, 4))
    with pytest.raises(ConfigError, match="bins must be"):
        radial_profile(torch.ones(1, 1, 4, 4), bins=0)
