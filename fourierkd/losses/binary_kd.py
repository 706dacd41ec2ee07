"""Class scores of a dense head, each as a binary distribution: in flow logits, out flows a scalar.

Samples are compared block by block while they lie in the cache; the forward pass leaves the
gradient itself, so that one map is kept in place of eight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.base import check_weight
from fourierkd.losses.samples import HeadLoss, ScoreSamples
from fourierkd.spectral import blocks


def binary_distillation(
    logits: Tensor, teacher_logits: Tensor, weights: Tensor, *, beta: float = 1.0
) -> Tensor:
    r"""Sum of cross entropies of the teacher's and the student's score, class by class.

    .. math::

        L = \sum_{i,c} w_i \, |p^T_{ic} - p^S_{ic}|^\beta
            \operatorname{BCE}(p^S_{ic}, p^T_{ic}), \qquad p = \sigma(z)

    Each class of each anchor or point is a question of its own, as in the student's own loss: a
    softmax over classes would be blind to how high the scores are. The factor leaves out the many
    samples on which both agree; its derivative is part of the gradient. With beta = 0 the gradient
    is that of the binary KL divergence.

    Args:
        logits: z_S, (M, C), real.
        teacher_logits: z_T, same shape and dtype; gets no gradient.
        weights: w, (M,); get no gradient.
        beta: 0 or from 1 on (between, the slope is infinite where scores agree).

    Returns:
        Scalar (nats). Differentiable once.

    References:
        Yang, Zhou, Li, Qiao, Li, Yang, Wang, Li, "Bridging Cross-task Protocol Inconsistency for
        Distillation in Dense Object Detection", ICCV 2023 (arXiv 2308.14286), binary classification
        distillation. The same loss is the classification part of prediction mimicking in Wang,
        Chen, Zheng, Li, Cheng, Hou, "CrossKD", CVPR 2024 (arXiv 2306.11369), there with scores that
        the teacher's head gives of the student's features.

    >>> import torch
    >>> teacher = torch.tensor([[3.0]]).log()  # scores 3/4 and 1/2: a quarter of log 2
    >>> loss = binary_distillation(torch.zeros(1, 1), teacher, torch.ones(1))
    >>> f"{loss.item():.6f}"
    '0.173287'
    """
    total: Tensor = _FocusedEntropy.apply(  # type: ignore[no-untyped-call]  # torch's
        logits, teacher_logits.detach(), weights, beta
    )
    return total


class BinaryKDLoss(HeadLoss[ScoreSamples]):
    """``binary_distillation`` of all samples of two dense heads, without parameters.

    The samples have the student's own label weights, and the sum over levels is divided by its own
    ``avg_factor``.

    Args:
        loss_weight: factor of the sum, finite, >= 0.
        beta: see ``binary_distillation``.

    Raises:
        ConfigError: an argument breaks a rule.
    """

    samples = ScoreSamples

    def __init__(self, loss_weight: float = 1.0, *, beta: float = 1.0) -> None:
        super().__init__(loss_weight)
        if 0 < check_weight(beta, "beta") < 1:
            raise ConfigError("beta must be 0, for no factor, or at least 1", value=beta)
        self.beta = float(beta)

    def level(self, level: ScoreSamples) -> Tensor:
        """See ``binary_distillation``."""
        return binary_distillation(*level, beta=self.beta)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, beta={self.beta:g}"


class _FocusedEntropy(torch.autograd.Function):
    """sum of w |p_T - p_S|^beta (softplus(z) - p_T z); forward leaves the gradient."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, teacher_logits: Tensor, weights: Tensor, beta: float
    ) -> Tensor:
        slopes = torch.empty_like(logits)
        sums = logits.new_zeros(len(logits))

        def compare(rows: slice) -> None:
            given = logits[rows], teacher_logits[rows], beta
            torch.mul(_entropies(*given, slopes[rows]), weights[rows], out=sums[rows])
            slopes[rows].mul_(weights[rows, None])

        samples, classes = logits.shape
        blocks.each(compare, blocks.of_channels(1, samples, classes, logits.is_cpu))
        ctx.save_for_backward(slopes)
        return sums.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradient, None, None, None


def _entropies(logits: Tensor, teacher_logits: Tensor, beta: float, slopes: Tensor) -> Tensor:
    """Sum over classes, (M,), and into ``slopes`` (M, C) its derivative."""
    target, score = teacher_logits.sigmoid(), logits.sigmoid()
    entropy = F.softplus(logits).addcmul_(target, logits, value=-1)
    gap = score - target
    size = gap.abs()
    factor = size if beta == 1 else size.pow(beta)
    total: Tensor = torch.linalg.vecdot(factor, entropy)
    torch.mul(factor, gap, out=slopes)
    if beta > 0:  # the factor's own derivative
        steep = gap.sign_() if beta == 1 else gap.sign_().mul_(size.pow_(beta - 1))
        slopes.addcmul_(steep.mul_(entropy), score.addcmul_(score, score, value=-1), value=beta)
    return total
