"""Masked generation: in flow two maps, out flows what a masked student's map cannot tell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.base import MapLoss, check_channels, check_weight, check_width

Conv3x3 = tuple[Tensor, Tensor]  # weight (C, C, 3, 3), bias (C,)


class Generator(NamedTuple):
    """Parameters of G: two 3x3 convolutions with ReLU between."""

    first: Conv3x3
    second: Conv3x3


def masked_generation(
    student: Tensor, teacher: Tensor, generator: Generator, *, masked: float
) -> Tensor:
    r"""Squared error of the teacher's map as generated from a part of the student's.

    .. math::

        L = \operatorname{mean}_n \sum_{c,y,x} \big(f_T - G(m f_S)\big)^2, \qquad
        G(f) = W_2 * \operatorname{ReLU}(W_1 * f + b_1) + b_2

    with m, one number for all channels of a pixel, 0 where a draw U < lambda and else 1. As
    published a sum, so that the weight belongs to the number of values in a map.

    U, uniform in [0, 1), is drawn from torch's default generator of the device (fixed by the run's
    seed, saved with the random state of a checkpoint); nothing is drawn where lambda is 0.

    Args:
        student: f_S, (N, C, H, W), real, at the teacher's width.
        teacher: f_T, same shape and dtype; gets no gradient.
        generator: W_1, b_1 and W_2, b_2, of the same dtype.
        masked: lambda, in [0, 1), the share of pixels that is left out.

    Returns:
        Scalar, in squared units of the features.

    References:
        Yang, Li, Shao, Shi, Yuan, Yuan, "Masked Generative Distillation", ECCV 2022 (arXiv
        2205.01529), section 3.

    >>> identity = torch.zeros(1, 1, 3, 3).index_fill(2, torch.tensor(1), 1.0)
    >>> identity = identity * identity.mT, torch.zeros(1)
    >>> student = torch.tensor([[[[1.0, -1.0]]]])  # ReLU takes the second to 0
    >>> teacher = torch.tensor([[[[4.0, 2.0]]]])
    >>> masked_generation(student, teacher, Generator(identity, identity), masked=0.0).item()
    13.0
    """
    if masked > 0:
        n, _, height, width = student.shape
        draw = torch.rand((n, 1, height, width), dtype=student.dtype, device=student.device)
        student = student * (draw >= masked)
    hidden = F.conv2d(student, *generator.first, padding=1).relu_()
    generated = F.conv2d(hidden, *generator.second, padding=1)
    return F.mse_loss(generated, teacher.detach(), reduction="sum") / len(student)


class MGDLoss(MapLoss):
    """``masked_generation`` of two maps, with parameters of its own.

    It adds 2 (9 C C + C) parameters (1 180 160 at C = 256) that belong to the loss and never to the
    exported student.

    Args:
        in_channels: C of every map, those of the teacher's tap.
        loss_weight: factor of the loss, finite, >= 0.
        masked: lambda, in [0, 1), the share of pixels that is left out.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        in_channels: int = 256,
        loss_weight: float = 1.0,
        *,
        masked: float = 0.65,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        if check_weight(masked, "masked") >= 1:
            raise ConfigError("masked must be below 1, a share of the pixels", value=masked)
        self.in_channels = check_channels(in_channels)
        self.masked = float(masked)
        self.first = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.second = nn.Conv2d(in_channels, in_channels, 3, padding=1)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``masked_generation``."""
        check_width(student, self.in_channels)
        convolutions = (_parameters(conv, student.dtype) for conv in (self.first, self.second))
        return masked_generation(student, teacher, Generator(*convolutions), masked=self.masked)

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, loss_weight={self.loss_weight:g}, "
            f"masked={self.masked:g}"
        )


def _parameters(conv: nn.Conv2d, dtype: torch.dtype) -> Conv3x3:
    assert conv.bias is not None
    return conv.weight.to(dtype), conv.bias.to(dtype)
