"""Student and teacher band by band: in flow maps of images, out flow their power, the relative
error of the amplitude, cross-spectrum and coherence.

Bands are rings of the spectrum, [low, high) in fractions of Nyquist, the last with an open top;
frequency 0, the mean of a map, stands apart from them. Transforms are orthonormal and without a
window, as those of the losses are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.spectral.frequency import band_of_frequency, check_edges
from fourierkd.spectral.half import (
    ZERO_ROUNDINGS,
    half_spectrum,
    hermitian_weights,
    inverse_amplitude,
)

RINGS = tuple(i / 8 for i in range(9))


class BandRecord(NamedTuple):
    """What is known of a band; None where there is nothing to know it by.

    Attributes:
        low, high: fractions of Nyquist; both 0 for frequency 0.
        frequencies: how many lie in the band, of the full spectra of all images together.
        student_power: mean of |S|^2 over images, channels and the band's frequencies, in squared
            units of the student's map; None where so small a map has no such frequency.
        student_share: the band's part of the map's energy without frequency 0, in [0, 1].
        teacher_power, teacher_share: the same of the teacher's map.
        share_error: sqrt(student_share / teacher_share) - 1, from -1 on: the relative error of the
            radial amplitude of maps that were both brought to variance 1. It needs no channels in
            common.
        connected_power: that of S', the student's map in the teacher's channels.
        amplitude_error: sqrt(connected_power / teacher_power) - 1, from -1 (nothing there) over 0
            (as strong) on.
        cross_power: mean of Re(S' conj T). The imaginary part of a ring's cross-spectrum is 0,
            since that at -k is the conjugate of that at k.
        coherence: cross_power / sqrt(connected_power teacher_power), in [-1, 1] (Fourier ring
            correlation).
        phase_coherence: mean of cos(phase of S' - phase of T) over images, channels and those
            frequencies where neither is zero, in [-1, 1].
    """

    low: float
    high: float
    frequencies: int
    student_power: float | None
    student_share: float | None
    teacher_power: float | None
    teacher_share: float | None
    share_error: float | None
    connected_power: float | None
    amplitude_error: float | None
    cross_power: float | None
    coherence: float | None
    phase_coherence: float | None


class BandSums:
    r"""Add up the spectra of images, then tell what there is in each band.

    .. math::

        P_S(b) = \frac{1}{C |b|} \sum_{n, c, k \in b} |S_{nck}|^2, \qquad
        X(b) = \frac{1}{C |b|} \sum_{n, c, k \in b} \mathrm{Re}(S'_{nck} \bar T_{nck}), \qquad
        \gamma(b) = \frac{X(b)}{\sqrt{P_{S'}(b) P_T(b)}}

    Independent maps of mean 0 have an expected coherence and phase coherence of 0; of M independent
    complex values a band (images x channels x half of its frequencies) their standard deviation is
    1 / sqrt(2 M), so few images make it noisy and not biased. Channels and frequencies that go
    together count less than M says. At frequency 0 channels have means that all images share, so
    there coherence is near 1 between any two networks that end in a ReLU.

    Args:
        edges: of the bands, increasing fractions of Nyquist.

    References:
        Saxton and Baumeister, The correlation averaging of a regularly arranged bacterial cell
        envelope protein, J. Microscopy 1982 (Fourier ring correlation).

    >>> sums = BandSums((0, 0.5, 1))
    >>> x = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
    >>> sums.add(x, 2 * x, connected=x)
    >>> [(round(b.amplitude_error, 6), round(b.coherence, 6)) for b in sums.bands()]
    [(-0.5, 1.0), (-0.5, 1.0), (-0.5, 1.0)]
    """

    def __init__(self, edges: Sequence[float] = RINGS) -> None:
        self.edges = check_edges(edges)
        self._sums: dict[str, Tensor] = {}
        self._rounding = 0.0

    @torch.no_grad()
    def add(
        self, student: Tensor, teacher: Tensor | None = None, connected: Tensor | None = None
    ) -> None:
        """Add images; every call has the same of the three maps.

        Args:
            student: (N, C_S, H, W), real; half precision is computed in float32.
            teacher: (N, C_T, H, W).
            connected: (N, C_T, H, W), the student's map in the teacher's channels.

        Raises:
            ConfigError: not maps, or of sizes that do not go together.
        """
        _check(student, teacher, connected)
        width = student.shape[-1]
        given = {"student": student, "teacher": teacher, "connected": connected}
        maps = {name: _lifted(own) for name, own in given.items() if own is not None}
        spectra = {name: half_spectrum(own) for name, own in maps.items()}
        for name, spectrum in spectra.items():
            self._rounding = max(self._rounding, torch.finfo(maps[name].dtype).eps)
            self._add(name, spectrum.abs().square().mean(1).sum(0), width)
        images, ones = len(student), torch.ones_like(spectra["student"][0, 0].real)
        self._add("frequencies", images * ones, width)
        if teacher is None or connected is None:
            return
        ours, theirs = spectra["connected"], spectra["teacher"]
        cross = (ours * theirs.conj()).real
        self._add("cross", cross.mean(1).sum(0), width)
        factor, defined = torch.ones_like(cross), torch.ones_like(cross, dtype=torch.bool)
        for name in ("connected", "teacher"):
            inverse, zero = inverse_amplitude(spectra[name].abs(), maps[name])
            factor, defined = factor * inverse, defined & ~zero
        self._add("cosine", (cross * factor * defined).sum((0, 1)), width)
        self._add("defined", defined.sum((0, 1)), width)

    def _add(self, name: str, values: Tensor, width: int) -> None:
        """Add ``values`` of the half spectrum, (H, W//2 + 1), to the sums of the full one: those of
        frequency 0 first, then of each band."""
        height = len(values)
        band = band_of_frequency(height, width, self.edges) + 1
        band[0, 0] = 0
        weights = hermitian_weights(width, dtype=torch.float64)
        found = torch.zeros(len(self.edges) + 1, dtype=torch.float64)
        found.index_add_(0, band.flatten(), (values.double().cpu() * weights).flatten())
        self._sums[name] = self._sums.get(name, 0) + found[: len(self.edges)]

    def bands(self, edges: Sequence[float] | None = None) -> list[BandRecord]:
        """Frequency 0, then each band.

        Args:
            edges: some of those that the sums have, for wider bands.
        """
        edges = self.edges if edges is None else check_edges(edges)
        places = [self.edges.index(edge) for edge in edges]
        groups = [[0]] + [list(range(a + 1, b + 1)) for a, b in pairwise(places)]
        limits = [(0.0, 0.0), *pairwise(edges)]
        return [self._record(*limit, group) for limit, group in zip(limits, groups, strict=True)]

    def _record(self, low: float, high: float, group: list[int]) -> BandRecord:
        def total(name: str) -> float | None:
            return float(self._sums[name][group].sum()) if name in self._sums else None

        frequencies = round(total("frequencies") or 0)
        powers = {name: self._power(name, group) for name in ("student", "teacher", "connected")}
        ours, theirs, connected = powers.values()
        shares = [self._share(name, group) for name in ("student", "teacher")]
        cross = _ratio(total("cross"), frequencies)
        norm = None if connected is None or theirs is None else math.sqrt(connected * theirs)
        return BandRecord(
            low=low,
            high=high,
            frequencies=frequencies,
            student_power=ours,
            student_share=shares[0],
            teacher_power=theirs,
            teacher_share=shares[1],
            share_error=_relative(*shares),
            connected_power=connected,
            amplitude_error=_relative(connected, theirs),
            cross_power=cross,
            coherence=_ratio(cross, norm),
            phase_coherence=_ratio(total("cosine"), total("defined")),
        )

    def _power(self, name: str, group: list[int]) -> float | None:
        """Mean power; 0 where it is what the transform left of an exact zero."""
        if name not in self._sums:
            return None
        sums, frequencies = self._sums[name], self._sums["frequencies"]
        power = _ratio(float(sums[group].sum()), float(frequencies[group].sum()))
        whole = float(sums.sum() / frequencies.sum())
        zero = power is not None and power <= whole * (ZERO_ROUNDINGS * self._rounding) ** 2
        return 0.0 if zero else power

    def _share(self, name: str, group: list[int]) -> float | None:
        power = self._power(name, group)
        if power is None or group == [0]:
            return None
        parts = [self._power(name, [i]) or 0.0 for i in range(1, len(self.edges))]
        counts = self._sums["frequencies"]
        energies = [p * float(n) for p, n in zip(parts, counts[1:], strict=True)]
        return _ratio(sum(energies[i - 1] for i in group), sum(energies))


def _relative(ours: float | None, theirs: float | None) -> float | None:
    """Relative error of an amplitude, from two powers; None where the second is 0."""
    ratio = _ratio(ours, theirs)
    return None if ratio is None else math.sqrt(ratio) - 1


def _ratio(part: float | None, whole: float | None) -> float | None:
    if part is None or not whole:
        return None
    ratio = part / whole
    return ratio if math.isfinite(ratio) else None


def _lifted(own: Tensor) -> Tensor:
    return own.float() if own.dtype in (torch.float16, torch.bfloat16) else own


def _check(student: Tensor, teacher: Tensor | None, connected: Tensor | None) -> None:
    maps = [own for own in (student, teacher, connected) if own is not None]
    if any(own.dim() != 4 or own.numel() == 0 or not own.is_floating_point() for own in maps):
        raise ConfigError(
            "a spectrum needs non-empty float maps (N, C, H, W)",
            value=[(tuple(own.shape), str(own.dtype)) for own in maps],
        )
    sizes = {(own.shape[0], *own.shape[2:]) for own in maps}
    channels = connected is None or (teacher is not None and teacher.shape[1] == connected.shape[1])
    if len(sizes) > 1 or not channels:
        raise ConfigError(
            "maps that are compared have one size, and the connected one the teacher's channels",
            value=[tuple(own.shape) for own in maps],
        )
