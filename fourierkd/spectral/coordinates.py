"""Two spectra coordinate by coordinate: in flow X_S and X_T, out flow errors and gradients at X_S.

The coordinates are those on the Riemann sphere, or real and imaginary part; each is normalised over
the batch, or left as it is. Everything is in closed form and works in place: ``spectral.distance``
calls it for one block of channels after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, distributed

from fourierkd.spectral.sphere import riemann_sphere

BN_EPS = 1e-5
# Of a real map's spectrum imaginary parts cancel over k and -k: the mean of this coordinate is 0.
IMAGINARY = 1


class Rules(NamedTuple):
    """How two spectra (N, c, H, K) are compared, on the half or on the full spectrum.

    columns: (K,), how often the full spectrum has each column.
    mask: weights (H, K) on the squared error, or None for ones.
    radius: of the sphere, > 0, in units of spectral amplitude; None for no sphere.
    normalize: batch normalisation of every coordinate.
    values: how many a channel's statistics are of.
    hermitian: both spectra are those of real maps, so that the imaginary coordinate has mean 0.
    shared: the statistics, and so ``values``, are over all ranks.
    """

    columns: Tensor
    mask: Tensor | None
    radius: float | None
    normalize: bool
    values: int
    hermitian: bool
    shared: bool

    def centred(self, axis: int) -> bool:
        """Whether a mean is taken off this coordinate."""
        return axis != IMAGINARY or not self.hermitian


def coordinate_distance(
    real: Tensor,
    imag: Tensor,
    target_real: Tensor,
    target_imag: Tensor,
    scale: Tensor,
    rules: Rules,
) -> Tensor:
    """Squared error summed over coordinates and the full spectrum, per image and channel, (N, c).

    Overwrites ``real`` and ``imag`` by the gradient of ``scale * distance`` there, with the weights
    of ``rules.columns``; the targets are overwritten too.

    Args:
        real: real part of X_S, (N, c, H, K).
        imag: its imaginary part.
        target_real: real part of X_T.
        target_imag: its imaginary part.
        scale: (N, c).
        rules: see ``Rules``.
    """
    radius = rules.radius
    if radius is None:
        distance, gradients = _distance((real, imag), (target_real, target_imag), scale, rules)
        real.copy_(gradients[0])
        imag.copy_(gradients[1])
        return distance

    # R = (k Re X, k Im X, k |X|^2 / r - 1), k = 2 r / (|X|^2 + r^2)
    power = real.square().addcmul_(imag, imag)
    k = (power + radius**2).reciprocal_().mul_(2 * radius)
    height = power.mul_(k).div_(radius)
    if not rules.normalize:
        height.sub_(1)  # else the normalisation removes the constant
    theirs = riemann_sphere(target_real, target_imag, radius=radius)
    distance, (x, y, z) = _distance((k * real, k * imag, height), theirs, scale, rules)
    # dk = -k^2 / r (Re X dRe X + Im X dIm X), and k^2 of the same is the height's
    along = (x * real).addcmul_(y, imag)
    outward = z.sub_(along.div_(radius)).mul_(k)
    torch.addcmul(x, real, outward, out=real).mul_(k)
    torch.addcmul(y, imag, outward, out=imag).mul_(k)
    return distance


def _distance(
    student: tuple[Tensor, ...], target: tuple[Tensor, ...], scale: Tensor, rules: Rules
) -> tuple[Tensor, list[Tensor]]:
    """Summed squared error (N, c), and the gradients at the student's coordinates; in place."""
    statistics: list[tuple[Tensor, Tensor]] | list[None] = [None] * (2 * len(student))
    if rules.normalize and rules.shared:
        statistics = _shared_statistics((*student, *target), rules)
    distance = torch.zeros_like(scale)
    gradients, deviations = [], []
    for axis, (ours, theirs) in enumerate(zip(student, target, strict=True)):
        if rules.normalize:
            deviations.append(_standardise(ours, axis, statistics[axis], rules))
            _standardise(theirs, axis, statistics[len(student) + axis], rules)
        error = torch.sub(ours, theirs, out=theirs)
        weighted = error * rules.columns
        if rules.mask is not None:
            weighted.mul_(rules.mask)
        distance += _dot(weighted, error)
        gradients.append(weighted.mul_(2 * scale[..., None, None]))
    if not rules.normalize:
        return distance, gradients
    sums = torch.stack(  # (axes, 2, c)
        [
            _gradient_sums(g, y, rules.centred(axis))
            for axis, (g, y) in enumerate(zip(gradients, student, strict=True))
        ]
    )
    if rules.shared:
        distributed.all_reduce(sums)
    for axis, (g, y) in enumerate(zip(gradients, student, strict=True)):
        _standardise_backward(g, y, deviations[axis], axis, sums[axis], rules)
    return distance, gradients


def _standardise(
    x: Tensor, axis: int, statistics: tuple[Tensor, Tensor] | None, rules: Rules
) -> Tensor:
    """Batch-normalise x (N, c, H, K) in place; returns 1 / sqrt(variance + eps), (c, 1, 1).

    ``statistics``: mean and that inverse deviation, where they are known already.
    """
    if statistics is not None:
        mean, deviation = statistics
        x.sub_(mean)
    else:
        if rules.centred(axis):
            x.sub_(_full_sum(x, rules).div_(rules.values))
        deviation = _full_sum(x.square(), rules).div_(rules.values).add_(BN_EPS).rsqrt_()
    x.mul_(deviation)
    return deviation


def _shared_statistics(maps: tuple[Tensor, ...], rules: Rules) -> list[tuple[Tensor, Tensor]]:
    """Mean and 1 / sqrt(variance + eps) of each map over all ranks, (c, 1, 1) each.

    ``maps``: the student's coordinates, then the target's. Two passes, as one process takes them:
    two all_reduces for all maps together.
    """
    means = torch.stack([_full_sum(x, rules) for x in maps])  # (2 axes, c, 1, 1)
    distributed.all_reduce(means)
    means.div_(rules.values)
    if not rules.centred(IMAGINARY):
        means[IMAGINARY :: len(maps) // 2] = 0.0
    squares = torch.stack(
        [_full_sum((x - mean).square(), rules) for x, mean in zip(maps, means, strict=True)]
    )
    distributed.all_reduce(squares)
    return list(zip(means, squares.div_(rules.values).add_(BN_EPS).rsqrt_(), strict=True))


def _gradient_sums(gradient: Tensor, y: Tensor, centred: bool) -> Tensor:
    """Sums over the batch of g * y and of g, (2, c): what BN's backward needs of all the batch.

    The second is 0 where no mean was taken off.

    ``gradient`` carries the weights of the columns, so plain sums over it are sums over the full
    spectrum.
    """
    along = _dot(gradient, y).sum(0)
    return torch.stack((along, gradient.sum((0, 2, 3)) if centred else torch.zeros_like(along)))


def _standardise_backward(
    gradient: Tensor, y: Tensor, deviation: Tensor, axis: int, sums: Tensor, rules: Rules
) -> None:
    """From the gradient at the output y of ``_standardise`` that at its input, in place.

    ``sums``: ``_gradient_sums``, of all ranks where the statistics are.
    """
    along, mean = sums[:, :, None, None] * rules.columns / rules.values  # (c, 1, K) each
    if rules.centred(axis):
        gradient.sub_(mean)
    gradient.addcmul_(y, along, value=-1).mul_(deviation)


def _full_sum(x: Tensor, rules: Rules) -> Tensor:
    """Sum over images and the full spectrum of x (N, c, H, K): (c, 1, 1)."""
    return (x.sum((0, 2)) @ rules.columns)[:, None, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum over frequencies of a * b: (N, c, H, K), (N, c, H, K) -> (N, c)."""
    result: Tensor = torch.linalg.vecdot(a.flatten(2), b.flatten(2))
    return result
