"""Feature imitation by wavelet bands: in flow two maps, out flows a scalar.

The maps are taken apart, compared and put together again block by block while they lie in the
cache; the forward pass leaves the gradient itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourierkd.errors import ConfigError
from fourierkd.losses.base import MapLoss, check_switch
from fourierkd.spectral import blocks
from fourierkd.spectral.band_distance import centred
from fourierkd.spectral.coordinates import BN_EPS
from fourierkd.spectral.wavelet import haar_sums, haar_sums_adjoint, levels_of

Details = float | Sequence[float | Sequence[float]]


def wavelet_l2(
    student: Tensor,
    teacher: Tensor,
    *,
    levels: int = 3,
    low: float = 1.0,
    details: Details = 1.0,
    normalize: bool = False,
) -> Tensor:
    r"""Mean squared difference of two maps' Haar bands, each band with a weight.

    .. math::

        L = \sum_b w_b \, 4^{-j_b} \operatorname{mean}_{n,c,y,x} (z_{S,b} - z_{T,b})^2

    over the bands b of level j_b: LH, HL and HH of every level and LL of the last (see
    ``spectral.wavelet``). 4^-j is a band's share of the pixels; the weights are scaled so that
    their mean over the pixels, sum of w_b 4^-j, is 1, as those of masks are: an error that is white
    keeps the scale of its loss. With equal weights it is ``feature_l2`` (Parseval) where both sides
    can be halved ``levels`` times.

    With ``normalize``, the bands are those of maps without the mean of each channel, over the
    channel's deviation within them:

    .. math::

        v_c = \sum_b w_b \, 4^{-j_b} \operatorname{mean}_{n,y,x} z_{b,c}^2, \qquad
        z_{b,c} \leftarrow z_{b,c} / \sqrt{v_c + \epsilon}

    with eps 1e-5, so that what has no weight does not set the scale either.

    Args:
        student: (N, C, H, W), real float32 or float64.
        teacher: same shape and dtype; gets no gradient.
        levels: how often the low band is taken apart again, >= 1.
        low: weight of the last LL, >= 0.
        details: weight of the other bands, >= 0: one for all; or a list, the finest level first,
            with one for a level's bands or three, for LH, HL and HH.
        normalize: see above.

    Returns:
        Scalar, in squared units of the features (dimensionless when normalised). Differentiable
        once.

    Raises:
        ConfigError: levels or weights break a rule.

    References:
        Imitation of Haar bands: Zhang et al., "FreeKD: Knowledge Distillation via Semantic
        Frequency Prompt", CVPR 2024 (arXiv 2311.12079). Left out of it: the frequency prompts that
        the teacher is fine-tuned with, the masks of pixels that they give, the position-aware
        relations, and that it compares by absolute differences. Weights and normalisation are ours.

    >>> ramp = torch.arange(16.0).reshape(1, 1, 4, 4)  # bands 5 + ..., -1, -4 and 0
    >>> zero = torch.zeros(1, 1, 4, 4)
    >>> wavelet_l2(ramp, zero, levels=1, low=0.0, details=0.3)  # of one size: (1 + 16 + 0) / 3
    tensor(5.6667)
    >>> wavelet_l2(ramp, zero, levels=2) == ramp.square().mean()
    tensor(True)
    """
    weights = _band_weights(levels, low, details)
    distance: Tensor = _BandDistance.apply(  # type: ignore[no-untyped-call]  # torch's
        student, teacher.detach(), weights, normalize
    )
    return distance


class WaveletL2(MapLoss):
    """``wavelet_l2`` of two maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0. A white error has the same loss whatever the
            bands' weights, that of ``FeatureL2`` with this weight.
        levels: how often the low band is taken apart again, >= 1.
        low: weight of the last LL, >= 0.
        details: weight of the other bands, or weights (see ``wavelet_l2``).
        normalize: standardise every channel within the weighted bands first; off by default.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        levels: int = 3,
        low: float = 1.0,
        details: Details = 1.0,
        normalize: bool = False,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        _band_weights(levels, low, details)
        self.levels, self.low, self.details = levels, low, details
        self.normalize = check_switch(normalize, "normalize")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``wavelet_l2``."""
        return wavelet_l2(
            student,
            teacher,
            levels=self.levels,
            low=self.low,
            details=self.details,
            normalize=self.normalize,
        )

    def extra_repr(self) -> str:
        return (
            f"loss_weight={self.loss_weight:g}, levels={self.levels}, low={self.low}, "
            f"details={self.details}, normalize={self.normalize}"
        )


def _band_weights(levels: int, low: float, details: Details) -> tuple[float, ...]:
    """w_b 4^-j of every band, in the order of ``haar``; they add up to 1."""
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 1:
        raise ConfigError("levels must be a whole number from 1 on", value=levels)
    each = details if isinstance(details, (list, tuple)) else [details] * levels
    if len(each) != levels:
        raise ConfigError(
            f"details must be a number or a list of {levels}, one a level", value=details
        )
    weights = []
    for level, entry in enumerate(each, 1):
        three = entry if isinstance(entry, (list, tuple)) else [entry] * 3
        if len(three) != 3:
            raise ConfigError(
                "a level's entry of details is a number or three, for LH, HL and HH", value=entry
            )
        weights += [_check_band(weight, "details") / 4**level for weight in three]
    weights.append(_check_band(low, "low") / 4**levels)
    total = sum(weights)
    if total == 0:
        raise ConfigError("low and details must not all be 0", value=(low, details))
    return tuple(weight / total for weight in weights)


def _check_band(weight: Any, name: str) -> float:
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not (number and math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"the weights in {name} must be finite numbers >= 0", value=weight)
    return float(weight)


class _BandDistance(torch.autograd.Function):
    """Forward leaves the gradient, a piece for each block; backward puts them together."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, weights: tuple[float, ...], normalize: bool
    ) -> Tensor:
        n, c, height, width = student.shape
        distances = student.new_empty(n, c)
        pieces: dict[int, Tensor] = {}
        compare = _normalised_error if normalize else _error

        def compare_block(block: slice) -> None:
            maps = student[:, block], teacher[:, block]
            error, distances[:, block] = compare(*maps, weights)
            if ctx.needs_input_grad[0]:
                for e, factor in zip(error, _factors(error, weights), strict=True):
                    e.mul_(factor)
                at_maps = haar_sums_adjoint(error, height, width)
                pieces[block.start] = centred(at_maps) if normalize else at_maps

        elements = height * (width // 2 + 1)  # as many bytes a block as the spectral losses have
        blocks.each(compare_block, blocks.of_channels(n, c, elements, student.is_cpu))
        ctx.starts = sorted(pieces)
        ctx.save_for_backward(*(pieces[start] for start in ctx.starts))
        ctx.shape = student.shape
        return distances.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        n, c = ctx.shape[:2]
        gradient, scale = grad.new_empty(ctx.shape), grad * (2 / (n * c))
        for start, piece in zip(ctx.starts, ctx.saved_tensors, strict=True):
            torch.mul(piece, scale, out=gradient[:, start : start + piece.shape[1]])
        return gradient, None, None, None


def _error(
    student: Tensor, teacher: Tensor, weights: tuple[float, ...]
) -> tuple[list[Tensor], Tensor]:
    """Bands of the difference, and its weighted mean square, (N, C)."""
    error = haar_sums(student - teacher, len(weights) // 3)
    return error, _mean_product(error, error, weights)


def _normalised_error(
    student: Tensor, teacher: Tensor, weights: tuple[float, ...]
) -> tuple[list[Tensor], Tensor]:
    """The same of normalised bands, but what is left of the error along the student's.

    That is what the derivative of the student's scale takes off.
    """
    (ours, deviation), (theirs, _) = (_normalised(x, weights) for x in (student, teacher))
    error = [b.neg_().add_(a) for a, b in zip(ours, theirs, strict=True)]
    distance = _mean_product(error, error, weights)
    along = _mean_product(error, ours, weights).mean(0)[:, None, None]
    for e, a in zip(error, ours, strict=True):
        e.addcmul_(a, along, value=-1).mul_(deviation)
    return error, distance


def _normalised(x: Tensor, weights: tuple[float, ...]) -> tuple[list[Tensor], Tensor]:
    """Bands of a map over each channel's deviation within them, and 1 / deviation, (C, 1, 1)."""
    bands = haar_sums(centred(x), len(weights) // 3)
    variance = _mean_product(bands, bands, weights).mean(0)
    deviation = (variance + BN_EPS).rsqrt()[:, None, None]
    return [band.mul_(deviation) for band in bands], deviation


def _mean_product(a: list[Tensor], b: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Sum over bands of w_b 4^-j mean(a_b b_b): (N, C)."""
    products = [
        torch.linalg.vecdot(x.flatten(2), y.flatten(2)) * factor
        for x, y, factor in zip(a, b, _factors(a, weights), strict=True)
    ]
    return torch.stack(products).sum(0)


def _factors(bands: list[Tensor], weights: tuple[float, ...]) -> list[float]:
    """w_b 4^-j over the pixels of each band, of ``haar_sums``: a sum with it is a weighted mean."""
    return [
        weight / (4**level * band.shape[-2] * band.shape[-1])
        for weight, level, band in zip(weights, levels_of(weights), bands, strict=True)
    ]
