"""What one map tells of another, band by band: in flow pairs of maps, out flows a linear fit.

In every band of radial frequency the second map's spectrum is predicted from the first one's by a
matrix over channels, the same for all frequencies of the band and all images: a 1x1 convolution of
its own for each band. ``exchange_bands`` puts what is predicted in the place of what is there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.spectral.frequency import band_of_frequency, check_edges
from fourierkd.spectral.half import half_spectrum, hermitian_weights, map_of_half_spectrum

# Of the mean variance of a channel of the known map; with the last one nothing is predicted.
RIDGES = (*(10.0**k for k in range(-6, 3)), math.inf)


class BandFit(NamedTuple):
    """How a map (C,) is predicted from another (C',) in each of k bands.

    Attributes:
        edges: k + 1 fractions of Nyquist from 0 on, the last band with an open top.
        weights: (k, C, C'), of centred maps.
        mean: (C,), over images and pixels.
        known_mean: (C',), of the map it is predicted from.
        energy: (k,), sum of squares of the centred map in each band.
        missed: (k,), what of it is not predicted of images that the fit has not seen.
    """

    edges: tuple[float, ...]
    weights: Tensor
    mean: Tensor
    known_mean: Tensor
    energy: Tensor
    missed: Tensor


class BandMoments:
    """Sums over images from which a ``BandFit`` follows, in float64.

    Args:
        edges: k + 1 increasing fractions of Nyquist, the first 0.
        channels: of the map, and of the one it is predicted from.
        device: of the maps.

    Raises:
        ConfigError: the edges are none, or begin elsewhere.
    """

    def __init__(
        self,
        edges: Sequence[float],
        channels: tuple[int, int],
        device: torch.device | None = None,
    ) -> None:
        self.edges = tuple(check_edges(edges))
        if self.edges[0] != 0:
            raise ConfigError("bands that a map is divided into begin at 0", value=self.edges)
        bands, (own, known) = len(self.edges) - 1, channels

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.images = self.pixels = 0
        self.own_sum, self.known_sum = zeros(own), zeros(known)  # over pixels
        self.own, self.cross = zeros(bands), zeros(bands, own, known)
        self.known = zeros(bands, known, known)

    def add(self, own: Tensor, known: Tensor) -> None:
        """Count maps (N, C, H, W) and (N, C', H, W) of the same images, N from 0 on."""
        if len(own) == 0:
            return
        height, width = own.shape[2:]
        self.images += len(own)
        self.pixels += len(own) * height * width
        band = band_of_frequency(height, width, self.edges).to(own.device)
        columns = hermitian_weights(width, device=own.device, dtype=torch.float64)
        root = columns.sqrt().expand(height, -1)
        own, known = own.double(), known.double()
        self.own_sum += own.sum((0, 2, 3))
        self.known_sum += known.sum((0, 2, 3))
        ours, theirs = half_spectrum(own) * root, half_spectrum(known) * root
        for index in range(len(self.own)):
            y, x = (_rows(part[..., band == index]) for part in (ours, theirs))
            self.own[index] += y.square().sum()
            self.cross[index] += y @ x.T
            self.known[index] += x @ x.T

    def __add__(self, other: BandMoments) -> BandMoments:
        both = BandMoments(self.edges, (len(self.own_sum), len(self.known_sum)))
        for name, value in vars(self).items():
            if name != "edges":
                setattr(both, name, value + getattr(other, name))
        return both

    def centred(self, mean: Tensor, known_mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``own``, ``cross`` and ``known`` of maps from which these means are taken.

        A constant lies at frequency 0 alone, in the first band.
        """
        own, cross, known = self.own.clone(), self.cross.clone(), self.known.clone()
        n = self.pixels
        own[0] += n * mean.square().sum() - 2 * (mean * self.own_sum).sum()
        cross[0] += n * torch.outer(mean, known_mean)
        cross[0] -= torch.outer(mean, self.known_sum) + torch.outer(self.own_sum, known_mean)
        known[0] += n * torch.outer(known_mean, known_mean)
        known[0] -= torch.outer(known_mean, self.known_sum)
        known[0] -= torch.outer(self.known_sum, known_mean)
        return own.clamp_min(0), cross, known


def fit_bands(first: BandMoments, second: BandMoments) -> BandFit:
    r"""The ridge regression of one map on another in each band, from two halves of the images.

    .. math::

        A_b = \arg\min_A \sum_{n, k \in b} |Y_{nk} - A X_{nk}|^2 + r_b v_b |A|^2

    over images n and frequencies k of the centred maps' orthonormal spectra, with v the sum of
    |X|^2 over the band, per channel. Of ``RIDGES`` each band takes the r with the smallest error
    where either half is predicted by the fit of the other.

    Args:
        first: of half of the images.
        second: of the other half.

    Raises:
        ConfigError: a half holds no image.

    References:
        Csiszarik et al., "Similarity and Matching of Neural Network Representations", NeurIPS 2021
        (the least-squares matching of two networks' layers, there without bands and ridge).
    """
    if not (first.images and second.images):
        raise ConfigError(
            "a fit in bands needs two or more images", value=first.images + second.images
        )
    both = first + second
    mean, known_mean = both.own_sum / both.pixels, both.known_sum / both.pixels
    halves = [half.centred(mean, known_mean) for half in (first, second)]
    own, cross, known = both.centred(mean, known_mean)
    weights, missed = torch.zeros_like(cross), torch.zeros_like(own)
    for band in range(len(own)):
        parts = [[moment[band] for moment in half] for half in halves]
        errors = [
            _errors(*parts[1 - i][1:], *parts[i])  # the fit of one half on the other
            for i in range(2)
        ]
        total = errors[0] + errors[1]
        best = int(total.argmin())
        missed[band] = total[best]
        weights[band] = _solutions(cross[band], known[band])[best]
    return BandFit(both.edges, weights, mean, known_mean, own, missed)


def exchange_bands(
    feature: Tensor, fit: BandFit, bands: Collection[int], known: Tensor | None = None
) -> Tensor:
    """The map with some of its bands exchanged; what lies in the others stays.

    Args:
        feature: (N, C, H, W), real.
        fit: how it is predicted.
        bands: which, from 0 on.
        known: (N, C', H, W), what the bands are predicted from. None: they are emptied, so that
            the mean of all images is what is left of frequency 0.

    Returns:
        (N, C, H, W). With all bands and ``known`` nothing of the map is left.
    """
    height, width = feature.shape[2:]
    band = band_of_frequency(height, width, fit.edges).to(feature.device)
    spectrum = half_spectrum(feature - _per_channel(fit.mean, feature))
    other = None if known is None else half_spectrum(known - _per_channel(fit.known_mean, known))
    change = torch.zeros_like(spectrum)
    for index in bands:
        inside = band == index
        change[..., inside] = -spectrum[..., inside]
        if other is not None:
            weights = fit.weights[index].to(other)  # real numbers as complex ones
            change[..., inside] += torch.einsum("ck,nkf->ncf", weights, other[..., inside])
    return feature + map_of_half_spectrum(change, width)


def _rows(spectra: Tensor) -> Tensor:
    """(N, C, F), complex -> (C, 2 N F), real and imaginary parts as observations of their own."""
    return torch.view_as_real(spectra.transpose(0, 1).flatten(1)).flatten(1)


def _solutions(cross: Tensor, known: Tensor) -> Tensor:
    """The weights for each of ``RIDGES``: (R, C, C')."""
    ridges = torch.tensor(RIDGES, dtype=known.dtype, device=known.device)
    scale = known.diagonal().mean()
    if not scale > 0:  # a band that holds no frequency of so small a map, or a constant map
        return cross.new_zeros(len(RIDGES), *cross.shape)
    values, vectors = torch.linalg.eigh(known)
    inverse = 1 / (values.clamp_min(0) + (ridges * scale)[:, None])  # (R, C')
    solutions: Tensor = ((cross @ vectors) * inverse[:, None]) @ vectors.T
    return solutions


def _errors(
    cross: Tensor, known: Tensor, own: Tensor, other_cross: Tensor, other_known: Tensor
) -> Tensor:
    """Squared error on one half (the last three) of each solution of another (the first two)."""
    weights = _solutions(cross, known)
    fitted = (weights @ other_known * weights).sum((1, 2))
    return own - 2 * (weights * other_cross).sum((1, 2)) + fitted


def _per_channel(mean: Tensor, like: Tensor) -> Tensor:
    return mean.to(like)[:, None, None]
