"""Distances within bands: in flow two maps, bands and a rule, out flows one distance a band.

Everything is computed on the half spectrum: by Parseval it gives the energy of a band-passed map
without that map. A rule compares the spectra of one block of channels while they lie in the cache,
in closed form; one inverse transform in the backward pass takes its direction to the map. Plain
autograd would invert the full complex spectrum.

"Parts" are the half spectrum's real and imaginary parts in turns, (N, C, H, 2K) with K = W//2 + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourierkd.spectral import blocks
from fourierkd.spectral.coordinates import BN_EPS
from fourierkd.spectral.half import half_spectrum, hermitian_weights, map_of_half_spectrum

Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def band_distances(student: Tensor, teacher: Tensor, bands: Tensor, rule: Rule) -> Tensor:
    """Energy per pixel, in each band, of what a rule makes of two maps.

    Args:
        student: (N, C, H, W), real.
        teacher: same shape and dtype; gets no gradient.
        bands: (B, H, W//2 + 1), weights per frequency; no frequency lies in two of several bands.
        rule: maps (N, c, H, W) of some channels and weights (B, H, 2K) of the parts, with which a
            sum is one over the full spectrum -> the direction, (N, c, H, 2K), and the energies in
            the bands, (N, c, B). The direction is half of what is left of the energies' derivative
            at the parts of the student's spectrum when the weights are taken out.

    Returns:
        (B,), means over images, channels and the full spectrum. Differentiable once.
    """
    distances: Tensor = _BandDistances.apply(  # type: ignore[no-untyped-call]  # torch's
        student, teacher.detach(), bands, rule
    )
    return distances


class _BandDistances(torch.autograd.Function):
    """Forward leaves the direction; backward weighs it and inverts it."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, bands: Tensor, rule: Rule) -> Tensor:
        n, c, _, width = student.shape
        columns = hermitian_weights(width, device=bands.device, dtype=bands.dtype)
        weights = _for_parts(bands * columns)
        direction = student.new_empty(n, c, *weights.shape[1:])
        energies = student.new_empty(n, c, len(bands))

        def compare(block: slice) -> None:
            maps = student[:, block], teacher[:, block]
            direction[:, block], energies[:, block] = rule(*maps, weights)

        blocks.each(compare, blocks.of_channels(n, c, bands[0].numel(), student.is_cpu))
        ctx.save_for_backward(direction, bands)
        ctx.width = width
        return energies.sum((0, 1)) / student.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        direction, bands = ctx.saved_tensors
        n, c, height, _ = direction.shape
        gradient = direction.new_empty(n, c, height, ctx.width)
        with torch.autocast(direction.device.type, enabled=False):
            factors = grad * (2 / gradient.numel())
            scale = _for_parts((bands * factors[:, None, None]).sum(0))

            def invert(block: slice) -> None:
                spectrum = (direction[:, block] * scale).unflatten(-1, (-1, 2))
                gradient[:, block] = map_of_half_spectrum(
                    torch.view_as_complex(spectrum), ctx.width
                )

            blocks.each(invert, blocks.of_channels(n, c, bands[0].numel(), direction.is_cpu))
        return gradient, None, None, None


def difference(student: Tensor, teacher: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of plain distances: spectrum of the difference, and its energy in each band."""
    error = parts(student - teacher)
    return error, energies(error, error, weights)


def parts(x: Tensor) -> Tensor:
    """Parts of a map's half spectrum: (N, C, H, W) -> (N, C, H, 2K)."""
    return torch.view_as_real(half_spectrum(x)).flatten(-2)


def centred(x: Tensor) -> Tensor:
    """A map without the mean of each channel over (N, H, W).

    The mean goes before the transform, so that the rounding of a large one does not reach other
    frequencies.
    """
    return x - x.mean((0, 2, 3), keepdim=True)


def inverse_deviation(energy: Tensor, x: Tensor) -> Tensor:
    """1 / sqrt(variance + eps) in a band, from the energies (N, C) of a map x: (C, 1, 1)."""
    variance = energy.sum(0) / (x.numel() // x.shape[1])
    return (variance + BN_EPS).rsqrt()[:, None, None]


def energy(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights * a * b over frequencies, (N, C, H, K') twice -> (N, C)."""
    result: Tensor = torch.linalg.vecdot((a * weights).flatten(2), b.flatten(2))
    return result


def energies(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """``energy`` in each of B bands, (B, H, K'): (N, C, B)."""
    return torch.stack([energy(a, b, band) for band in weights], -1)


def _for_parts(weights: Tensor) -> Tensor:
    """(..., K) -> (..., 2K): each weight for the real and the imaginary part."""
    return weights.repeat_interleave(2, -1)
