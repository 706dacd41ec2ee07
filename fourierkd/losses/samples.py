"""Losses of detection heads: in flow what two heads say at a student's samples, out flows a scalar.

Three kinds of samples are known; which of them a loss takes it declares. Where they come from is
the business of ``distill.head_samples``; here are tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.losses.base import HEADS, DistillationLoss, full_precision


class BoxSamples(NamedTuple):
    """One pyramid level of a batch: M anchors or points, P of them assigned to an object.

    logits: (M, C), the student's class scores before the sigmoid; the only part with a gradient.
    weights: (M,), the student's label weights: 0 for samples that its own loss leaves out.
    positives: (P,), which of the M are positive, int64.
    boxes, teacher_boxes: (P, 4), decoded (x1, y1, x2, y2) in pixels of the student and the teacher.
    teacher_logits: (P, C).
    """

    logits: Tensor
    weights: Tensor
    positives: Tensor
    boxes: Tensor
    teacher_boxes: Tensor
    teacher_logits: Tensor


class ScoreSamples(NamedTuple):
    """Class scores of one pyramid level of a batch: M anchors or points, C classes.

    logits: (M, C), the student's, before the sigmoid; the only part with a gradient.
    teacher_logits: (M, C).
    weights: (M,), the student's label weights: 0 for samples that its own loss leaves out.
    """

    logits: Tensor
    teacher_logits: Tensor
    weights: Tensor


class DistributionSamples(NamedTuple):
    """The P points of one pyramid level of a batch that are assigned to an object.

    A head of this kind says where the four sides of a box lie by a distribution each over the
    distances 0 ... n from the point, in strides.

    logits: (P, 4, n + 1), the student's, before the softmax; the only part with a gradient.
    teacher_logits: (P, 4, n + 1).
    weights: (P,), the student's largest class score, with which it weighs its own loss of boxes.
    """

    logits: Tensor
    teacher_logits: Tensor
    weights: Tensor


S = TypeVar("S", BoxSamples, ScoreSamples, DistributionSamples)


class HeadLoss(DistillationLoss, Generic[S]):
    """A loss of two detection heads; a subclass gives the sum over the samples of one level.

    Attributes:
        samples: the kind of samples that it takes, one of the classes of this module.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
    """

    compares = HEADS
    samples: ClassVar[type[Any]]

    def forward(self, levels: Sequence[S], avg_factor: float | Tensor) -> Tensor:
        """Weighted loss of a batch, the sum over its levels over ``avg_factor``: a scalar.

        Args:
            levels: at least one.
            avg_factor: of scores what the student's own loss of classes is divided by (for
                RetinaNet, RepPoints and GFL the number of positive samples, for an RPN of all that
                were sampled); of distributions 1.
        """
        if not levels:
            raise ConfigError("a loss of heads needs at least one level", value=len(levels))
        with full_precision(levels[0].logits):
            total = torch.stack([self.level(_single(level)) for level in levels]).sum()
            return total * self.loss_weight / avg_factor

    def level(self, level: S) -> Tensor:
        """The loss of one level before weight and ``avg_factor``, a sum: samples -> scalar."""
        raise NotImplementedError


def _single(level: S) -> S:
    """Half and bfloat16 as float32, and everything in the precision of the logits."""
    half = level.logits.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else level.logits.dtype
    return type(level)(*(x.to(dtype) if x.is_floating_point() else x for x in level))
