"""Focal and global distillation: in flow two maps and the batch's boxes, out flows a scalar."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.base import (
    MapLoss,
    Objects,
    check_channels,
    check_weight,
    check_width,
    full_precision,
    match_maps,
)
from fourierkd.losses.kl import check_temperature


def region_weights(objects: Objects, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    r"""What a pixel of a map counts inside of the objects and outside of all of them.

    1 / (number of the box's pixels) inside, the largest where boxes overlap, so that small objects
    count as much as large ones; outside 1 / (number of pixels outside); 0 elsewhere. A box covers
    the pixels that it touches, at least one.

    Args:
        objects: N images' boxes.
        size: (H, W) of the map.

    Returns:
        Foreground and background, (N, 1, H, W) each.

    >>> boxes = torch.tensor([[0.0, 0, 8, 4]])  # of an image of 16 x 16: 2 x 1 pixels of 4 x 4
    >>> inside, outside = region_weights(Objects([boxes], (16, 16)), (4, 4))
    >>> inside[0, 0, 0].tolist(), round(outside.sum().item(), 6)
    ([0.5, 0.5, 0.0, 0.0], 1.0)
    """
    boxes = torch.cat(objects.boxes).float()
    counts = torch.tensor([len(own) for own in objects.boxes], device=boxes.device)
    image = torch.arange(len(counts), device=boxes.device).repeat_interleave(counts)
    across, along = (_side_weights(boxes, axis, objects.size, size) for axis in (0, 1))
    weights = across[:, :, None] * along[:, None, :]  # (boxes, H, W)
    foreground = boxes.new_zeros(len(counts), *size).scatter_reduce_(
        0, image[:, None, None].expand_as(weights), weights, "amax"
    )
    outside = (foreground == 0).to(foreground.dtype)
    background = outside / outside.sum((1, 2), keepdim=True).clamp_min(1)
    return foreground[:, None], background[:, None]


def attention(feature: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""Where, and in which channels, a map is strong; each has a mean of 1.

    .. math::

        A^S = H W \operatorname{softmax}_{yx}\Big(\frac{1}{T} \operatorname{mean}_c |f|\Big), \qquad
        A^C = C \operatorname{softmax}_c\Big(\frac{1}{T} \operatorname{mean}_{yx} |f|\Big)

    Args:
        feature: (N, C, H, W).
        temperature: T > 0.

    Returns:
        (N, 1, H, W) and (N, C, 1, 1).
    """
    strength = feature.abs()
    height, width = feature.shape[2:]
    over_space = strength.mean(1).flatten(1).div(temperature).softmax(1) * (height * width)
    over_channels = strength.mean((2, 3)).div(temperature).softmax(1) * feature.shape[1]
    return over_space.view(-1, 1, height, width), over_channels[:, :, None, None]


def focal_distillation(
    student: Tensor,
    teacher: Tensor,
    objects: Objects,
    *,
    temperature: float,
    foreground: float,
    background: float,
    attention_weight: float,
) -> Tensor:
    r"""Squared error weighted by objects and the teacher's attention, and the error of attentions.

    .. math::

        L = \frac{1}{N} \sum_{n,c,y,x} (\alpha M^{fg} + \beta M^{bg}) A^S_T A^C_T (f_S - f_T)^2
          + \frac{\gamma}{N} \sum_n \big(\|A^S_S - A^S_T\|_1 + \|A^C_S - A^C_T\|_1\big)

    with M of ``region_weights`` and A of ``attention``.

    Args:
        student: f_S, (N, C, H, W), real.
        teacher: f_T, same shape and dtype; gets no gradient.
        objects: boxes of the N images.
        temperature: T of the attention.
        foreground: alpha.
        background: beta.
        attention_weight: gamma.

    Returns:
        Scalar, in squared units of the features where gamma is 0.

    References:
        Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan, "Focal and Global Knowledge Distillation for
        Detectors", CVPR 2022 (arXiv 2111.11837), focal distillation.
    """
    teacher = teacher.detach()
    (space, channels), (own_space, own_channels) = (
        attention(x, temperature) for x in (teacher, student)
    )
    inside, outside = region_weights(objects, (student.shape[2], student.shape[3]))
    where = (foreground * inside + background * outside).to(student.dtype) * space
    error = ((student - teacher).square() * channels).sum(1, keepdim=True)  # (N, 1, H, W)
    apart = (own_space - space).abs().sum() + (own_channels - channels).abs().sum()
    return ((error * where).sum() + attention_weight * apart) / len(student)


class GlobalContext(nn.Module):
    """What a GcBlock adds to every pixel: a transform of the map's weighted mean over space.

    Weights by softmax of a 1x1 convolution; then C -> C/2, layer norm, ReLU, C/2 -> C, the last of
    which starts at 0, so that at first nothing is added.

    Args:
        channels: C.

    References:
        Cao, Xu, Lin, Wei, Hu, "GCNet", ICCV 2019 workshops.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.where = nn.Linear(channels, 1, bias=False)  # a softmax does not see a bias
        self.inner = nn.Linear(channels, max(1, channels // 2))
        self.norm = nn.LayerNorm(self.inner.out_features)
        self.outer = nn.Linear(self.inner.out_features, channels)
        nn.init.kaiming_normal_(self.where.weight)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (N, C, H, W) -> (N, C, 1, 1), in the map's dtype."""
        p = {name: parameter.to(feature.dtype) for name, parameter in self.named_parameters()}
        pixels = feature.flatten(2)  # (N, C, H * W)
        weights = (p["where.weight"] @ pixels).softmax(2)
        context = (pixels @ weights.mT).squeeze(2)  # (N, C)
        hidden = F.linear(context, p["inner.weight"], p["inner.bias"])
        hidden = F.layer_norm(hidden, hidden.shape[1:], p["norm.weight"], p["norm.bias"])
        added = F.linear(hidden.relu(), p["outer.weight"], p["outer.bias"])
        return added[:, :, None, None]


class FGDLoss(MapLoss):
    r"""Focal and global distillation of two maps of a detector, with parameters of its own.

    ``focal_distillation`` plus the squared error of the maps with their global contexts added,

    .. math:: \frac{\lambda}{N} \sum_{n,c,y,x} \big(f_S + G_S(f_S) - f_T - G_T(f_T)\big)^2

    G_S and G_T (``GlobalContext``) both learn, so a part of the loss can fall without the student.
    They have 2 (C^2 + 7 C / 2) parameters (132 864 at C = 256), which belong to the loss and never
    to the exported student. All parts are sums over a map, as published: their weights belong to
    the number of values in it.

    Args:
        in_channels: C of every map, those of the teacher's tap.
        loss_weight: factor of all parts, finite, >= 0.
        temperature: T > 0 of the attention.
        foreground, background, attention, relation: weights of the parts: alpha, beta and gamma of
            ``focal_distillation``, and lambda; finite, >= 0, not all 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule, or no boxes are given.

    References:
        Yang et al., CVPR 2022, as ``focal_distillation``. Ours: boxes lie on the map as on the
        padded image (the public code scales them by each image's own size) and cover the pixels
        that they touch (there a row and a column more).
    """

    takes_objects = True

    def __init__(
        self,
        in_channels: int = 256,
        loss_weight: float = 1.0,
        *,
        temperature: float = 0.5,
        foreground: float = 1e-3,
        background: float = 5e-4,
        attention: float = 5e-4,
        relation: float = 5e-6,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.in_channels = check_channels(in_channels)
        self.temperature = check_temperature(temperature)
        self.foreground = check_weight(foreground, "foreground")
        self.background = check_weight(background, "background")
        self.attention = check_weight(attention, "attention")
        self.relation = check_weight(relation, "relation")
        if not (self.foreground or self.background or self.attention or self.relation):
            raise ConfigError(
                "foreground, background, attention and relation must not all be 0", value=0
            )
        if self.relation:
            self.student_context = GlobalContext(in_channels)
            self.teacher_context = GlobalContext(in_channels)

    def forward(
        self, student: Tensor, teacher: Tensor, *, objects: Objects | None = None
    ) -> Tensor:
        """Weighted loss of maps (N, C, H, W) and (N, C, H', W'), with the boxes of the N images."""
        if objects is None or len(objects.boxes) != len(student):
            raise ConfigError(
                "FGDLoss needs the boxes of every image",
                value=None if objects is None else len(objects.boxes),
                fix="give objects=Objects(boxes, size)",
            )
        student, teacher = match_maps(student, teacher, resize_stu=self.resize_stu)
        check_width(student, self.in_channels)
        with full_precision(student):
            loss = focal_distillation(
                student,
                teacher,
                objects,
                temperature=self.temperature,
                foreground=self.foreground,
                background=self.background,
                attention_weight=self.attention,
            )
            if self.relation:
                loss = loss + self.relation * self._relation(student, teacher)
            return loss * self.loss_weight

    def _relation(self, student: Tensor, teacher: Tensor) -> Tensor:
        apart: Tensor = self.student_context(student) - self.teacher_context(teacher)
        return (student - teacher + apart).square().sum() / len(student)

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, loss_weight={self.loss_weight:g}, "
            f"temperature={self.temperature:g}, foreground={self.foreground:g}, "
            f"background={self.background:g}, attention={self.attention:g}, "
            f"relation={self.relation:g}"
        )


def _side_weights(
    boxes: Tensor, axis: int, image: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """1 / length on the rows (axis 0) or columns that each box covers: (K, H) or (K, W)."""
    length = size[axis]
    scaled = boxes[:, [1 - axis, 3 - axis]] * (length / image[axis])
    first = scaled[:, :1].floor().clamp(0, length - 1)
    last = torch.maximum(scaled[:, 1:].ceil().clamp(max=length), first + 1)
    position = torch.arange(length, device=boxes.device)
    weights: Tensor = ((position >= first) & (position < last)) / (last - first)
    return weights
