"""Spectra of feature maps: pure tensor maths on the half spectrum; no MMEngine, no state."""

from fourierkd.spectral.frequency import band_energy, band_gap, power_spectrum, radial_profile
from fourierkd.spectral.masks import (
    AllPass,
    BandPass,
    Gaussian,
    HighPass,
    LowPass,
    Mask,
    OrientationSectors,
    Product,
    RadialKnots,
    build_mask,
    mask_weights,
)
from fourierkd.spectral.sphere import riemann_sphere
from fourierkd.spectral.wavelet import haar, inverse_haar

__all__ = [
    "AllPass",
    "BandPass",
    "Gaussian",
    "HighPass",
    "LowPass",
    "Mask",
    "OrientationSectors",
    "Product",
    "RadialKnots",
    "band_energy",
    "band_gap",
    "build_mask",
    "haar",
    "inverse_haar",
    "mask_weights",
    "power_spectrum",
    "radial_profile",
    "riemann_sphere",
]
