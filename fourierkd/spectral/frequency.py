"""Frequencies and where the power lies: in flow feature maps, out flow profiles over radius and
energies per band.

Radii of rings and edges of bands are fractions of Nyquist (0.5 cycles per pixel), as those of the
masks are, so maps of different size can be compared. Bands are [low, high), but the last one has an
open top: the corners of the spectrum, up to sqrt(2) times Nyquist, belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.spectral.half import half_spectrum, hermitian_weights

NYQUIST = 0.5
BANDS = (0.0, 0.125, 0.25, 0.5, 1.0)


class RadialProfile(NamedTuple):
    """Power over radius, both (bins,): ring centres as fractions of Nyquist, the power there."""

    radius: Tensor
    power: Tensor


def radial_frequency(
    height: int,
    width: int,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Radius of every frequency of the half spectrum, (H, W//2 + 1), in cycles per pixel, 0 to
    sqrt(0.5).

    >>> radial_frequency(2, 4).tolist()[0]
    [0.0, 0.25, 0.5]
    """
    fy = torch.fft.fftfreq(height, device=device, dtype=dtype)[:, None]
    fx = torch.fft.rfftfreq(width, device=device, dtype=dtype)
    return torch.hypot(fy, fx)


def power_spectrum(feature: Tensor) -> Tensor:
    """Mean of |F|^2 over images and channels: (N, C, H, W) -> (H, W//2 + 1)."""
    if feature.dim() != 4 or feature.numel() == 0 or not feature.is_floating_point():
        raise ConfigError(
            "a spectrum needs a non-empty float map (N, C, H, W)",
            value=(tuple(feature.shape), str(feature.dtype)),
        )
    if feature.dtype in (torch.float16, torch.bfloat16):
        feature = feature.float()
    return half_spectrum(feature).abs().square().mean((0, 1))


def radial_profile(feature: Tensor, *, bins: int = 16) -> RadialProfile:
    """Mean power in rings of equal width from 0 to Nyquist, the last with an open top.

    Args:
        feature: (N, C, H, W), real; half and bfloat16 are computed in float32.
        bins: number of rings.

    Returns:
        Ring centres as fractions of Nyquist, and the mean of |F|^2 over images, channels and the
        ring's frequencies (orthonormal transform); nan for a ring that holds no frequency of so
        small a map.

    Raises:
        ConfigError: not a map, or bins < 1.
    """
    if not isinstance(bins, int) or bins < 1:
        raise ConfigError("bins must be an integer >= 1", value=bins)
    power = power_spectrum(feature)
    edges = [i / bins for i in range(bins + 1)]
    total, count = _sum_bands(power, feature.shape[-1], edges)
    centres = torch.arange(bins, device=power.device, dtype=power.dtype).add(0.5).div(bins)
    return RadialProfile(centres, total / count)


def band_energy(feature: Tensor, edges: Sequence[float] = BANDS) -> Tensor:
    """Energy per pixel in each band; from edge 0 on they add up to the mean square of the feature
    (Parseval).

    Args:
        feature: (N, C, H, W), real.
        edges: k + 1 increasing fractions of Nyquist, in [0, 1.5]. The last band takes everything
            from its lower edge on.

    Returns:
        (k,), squared units of the feature.

    Raises:
        ConfigError: not a map, or edges that are fewer than two, not increasing or out of range.

    >>> band_energy(torch.ones(1, 1, 8, 8), (0, 0.5, 1)).tolist()
    [1.0, 0.0]
    """
    power = power_spectrum(feature)
    total, _ = _sum_bands(power, feature.shape[-1], check_edges(edges))
    return total / (feature.shape[-2] * feature.shape[-1])


def band_gap(student: Tensor, teacher: Tensor, edges: Sequence[float] = BANDS) -> Tensor:
    """What the student lacks in each band: (E_T - E_S) / (E_T + E_S), from ``band_energy`` of both.

    Args:
        student: (N, C, H, W), real.
        teacher: (N', C', H', W'), real; sizes may differ, as bands are fractions of Nyquist.
        edges: see ``band_energy``.

    Returns:
        (k,), in [-1, 1]: 0 equal energy, above 0 the teacher has more, 1 the student has none.
        0 where both have nothing but rounding.
    """
    ours, theirs = band_energy(student, edges), band_energy(teacher, edges)
    total = ours + theirs
    present = total > torch.finfo(total.dtype).eps * total.sum()
    return torch.where(present, (theirs - ours) / total, torch.zeros_like(total))


def check_edges(edges: Sequence[float]) -> list[float]:
    """Band edges as floats; ConfigError unless two or more, increasing, in [0, 1.5] of Nyquist."""
    values = [float(edge) for edge in edges]
    increasing = all(a < b for a, b in pairwise(values))
    if len(values) < 2 or not increasing or values[0] < 0 or values[-1] > 1.5:
        raise ConfigError(
            "band edges must be two or more increasing fractions of Nyquist in [0, 1.5]",
            value=values,
        )
    return values


def band_of_frequency(height: int, width: int, edges: Sequence[float]) -> Tensor:
    """The band that every frequency of the half spectrum lies in: each in exactly one.

    Args:
        height: H of the map.
        width: W of the map.
        edges: k + 1 increasing fractions of Nyquist. The last band has an open top.

    Returns:
        (H, W//2 + 1), 0 to k - 1; k below the first edge.

    >>> band_of_frequency(1, 8, (0, 0.5, 1)).tolist()
    [[0, 0, 1, 1, 1]]
    """
    # float64, so that a frequency on an edge falls on the same side at every size
    radius = radial_frequency(height, width, dtype=torch.float64) / NYQUIST
    inner = torch.tensor(list(edges[1:-1]), dtype=torch.float64)
    return torch.bucketize(radius, inner, right=True).where(radius >= edges[0], len(edges) - 1)


def _sum_bands(power: Tensor, width: int, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Sum of the power, and number of frequencies, per band of the full spectrum: (k,), (k,)."""
    height, columns = power.shape
    band = band_of_frequency(height, width, edges).flatten().to(power.device)
    weights = hermitian_weights(width, device=power.device, dtype=power.dtype).expand(
        height, columns
    )
    total = power.new_zeros(len(edges)).index_add_(0, band, (power * weights).flatten())
    count = power.new_zeros(len(edges)).index_add_(0, band, weights.flatten())
    return total[:-1], count[:-1]
