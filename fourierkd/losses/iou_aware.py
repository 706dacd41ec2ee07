"""IoU-aware distillation: in flow logits and boxes at a student's samples, out flows a scalar."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fourierkd.losses.base import check_switch, check_weight
from fourierkd.losses.samples import BoxSamples, HeadLoss

EPS = 1e-6  # square pixels: the least union of two boxes, as MMDetection's bbox_overlaps has it


def aligned_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes pair by pair: (P, 4) and (P, 4) in pixels -> (P,) in [0, 1].

    >>> import torch
    >>> iou = aligned_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    >>> f"{iou.item():.6f}"
    '0.333333'
    """
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    overlap = sides.clamp_min(0).prod(1)
    union = sum((box[:, 2:] - box[:, :2]).prod(1) for box in (first, second)) - overlap
    return overlap / union.clamp_min(EPS)


@torch.no_grad()
def iou_aware_target(boxes: Tensor, teacher_boxes: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""What the student's scores should be at its positive samples, detached.

    .. math:: q_{i,c} = \operatorname{IoU}(b^S_i, b^T_i) \; \sigma(z^T_{i,c})

    for every class c of a positive sample i, not only for the class of its object.

    Args:
        boxes: (P, 4), the student's, (x1, y1, x2, y2) in pixels.
        teacher_boxes: (P, 4), the teacher's for the same anchors or points.
        teacher_logits: (P, C).

    Returns:
        (P, C) in [0, 1].

    >>> import torch
    >>> half = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 1]])
    >>> iou_aware_target(*half, torch.zeros(1, 1)).item()
    0.25
    """
    return aligned_iou(boxes, teacher_boxes)[:, None] * teacher_logits.sigmoid()


def varifocal_loss(
    logits: Tensor,
    positives: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
) -> Tensor:
    r"""Sum of the varifocal loss over samples and classes, with targets at the positives alone.

    .. math::
        L = \sum_{i,c} w_i \begin{cases} q \operatorname{BCE}(\sigma(z), q) & q > 0 \\
            -\alpha \, \sigma(z)^\gamma \log(1 - \sigma(z)) & q = 0 \end{cases}

    The value and the gradient are those of MMDetection's ``varifocal_loss`` with a dense target and
    ``reduction="sum"``. That one is not called because nearly every target is 0: the sum over the
    samples without one keeps only ``logits`` for the backward pass and took 50 ms against 231 ms
    forward and backward for 28 800 x 80 scores (2 images of 320 x 320, one CPU core).

    Args:
        logits: (M, C), real.
        positives: (P,), rows of ``logits`` that have a target.
        target: (P, C) in [0, 1], q; gets no gradient.
        weights: (M,), w.
        alpha: factor of the part without a target.
        gamma: exponent there, >= 0.
        iou_weighted: False leaves out the factor q in front of the cross entropy.

    Returns:
        Scalar (nats).

    References:
        Zhang, Wang, Dayoub, Sünderhauf, "VarifocalNet", CVPR 2021, eq. 2.

    >>> import torch
    >>> logits, positives = torch.zeros(1, 1), torch.tensor([0])
    >>> loss = varifocal_loss(logits, positives, torch.ones(1, 1), torch.ones(1))
    >>> f"{loss.item():.6f}"
    '0.693147'
    """
    target = target.detach()
    rest = weights.index_fill(0, positives, 0.0)
    negative = _NegativeSum.apply(logits, rest, gamma)  # type: ignore[no-untyped-call]  # torch's
    scores = logits[positives]  # (P, C)
    entropy = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
    factor = target if iou_weighted else torch.ones_like(target)
    own = torch.where(
        target > 0, factor * entropy, alpha * scores.sigmoid().pow(gamma) * F.softplus(scores)
    )
    result: Tensor = alpha * negative + (own * weights[positives, None]).sum()
    return result


class _NegativeSum(torch.autograd.Function):
    """sum of w sigmoid(z)^gamma softplus(z); eager operations would keep four more maps."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(logits, weights)
        ctx.gamma = gamma
        return logits.sigmoid().pow_(gamma).mul_(F.softplus(logits)).sum(1).mul_(weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, weights = ctx.saved_tensors
        p = logits.sigmoid()
        slope = (1 - p).mul_(F.softplus(logits)).mul_(ctx.gamma).add_(p).mul_(p.pow_(ctx.gamma))
        return slope.mul_((weights * gradient)[:, None]), None, None


class IoUAwareLoss(HeadLoss[BoxSamples]):
    """IoU-aware distillation of detectors with one head family; no parameters.

    ``loss_weight * sum over levels of varifocal_loss(z_S, q) / avg_factor``, with q of
    ``iou_aware_target`` at the student's own positive samples and 0 at its other ones.

    As the paper and its public code have it: q for all classes of a positive sample, alpha, gamma
    and ``iou_weighted``, the student's label weights, its one ``avg_factor`` for all levels, the
    sum over levels, weight 1.5. Ours: each head decodes its own boxes (the public code uses a
    default box coder, and for RepPoints a new head's ``points2bbox`` for both, whatever scale of
    the box, ``moment_transfer``, either had learnt), levels are matched by stride, and all is
    computed in float32.

    Args:
        loss_weight: factor of the sum, finite, >= 0.
        alpha, gamma, iou_weighted: see ``varifocal_loss``.

    Raises:
        ConfigError: an argument breaks a rule.

    References:
        Shi, Zheng, Yi, Weng, Luo, "Knowledge Distillation in Fourier Frequency Domain for Dense
        Prediction", IEEE SPL 2024, the IoU-aware branch.
    """

    samples = BoxSamples

    def __init__(
        self,
        loss_weight: float = 1.5,
        *,
        alpha: float = 0.75,
        gamma: float = 2.0,
        iou_weighted: bool = True,
    ) -> None:
        super().__init__(loss_weight)
        self.alpha = check_weight(alpha, "alpha")
        self.gamma = check_weight(gamma, "gamma")
        self.iou_weighted = check_switch(iou_weighted, "iou_weighted")

    def level(self, level: BoxSamples) -> Tensor:
        """See ``varifocal_loss``, with the target of ``iou_aware_target``."""
        target = iou_aware_target(level.boxes, level.teacher_boxes, level.teacher_logits)
        return varifocal_loss(
            level.logits,
            level.positives,
            target,
            level.weights,
            alpha=self.alpha,
            gamma=self.gamma,
            iou_weighted=self.iou_weighted,
        )

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, alpha={self.alpha:g}, gamma={self.gamma:g}"
