"""What every distillation loss is and says of itself: in flow maps or samples, out flows a scalar.

The Distiller, the hooks and the doctor ask what stands in ``DistillationLoss`` and know no loss by
its name. ``table.py`` lists them.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.spectral.masks import Mask

MAPS, LOGITS, HEADS = "maps", "logits", "heads"


class Objects(NamedTuple):
    """Ground truth of a batch: boxes an image, (K, 4), as (x1, y1, x2, y2) in pixels of the padded
    images; and the (H, W) of those."""

    boxes: list[Tensor]
    size: tuple[int, int]


class DistillationLoss(nn.Module):
    """One loss of a student against a teacher; a subclass declares what the others ask.

    Attributes:
        compares: ``"maps"``: called with the maps of two taps, one module for every level.
            ``"logits"``: called as with maps, but what they mean is fixed, a channel a class, so
            that no connector may stand between and both sides have the same classes.
            ``"heads"``: called with the samples of two detection heads, one module for all levels.
        any_width: it takes maps of different numbers of channels, and needs no connector.
        mask: weights of the loss per frequency, drawn with its spectra; None passes all.
        linear_in_mask: the loss is a sum over frequencies of what ``mask`` weighs, so that it can
            be divided into bands.
        balanced_by: name of the attribute, a number above 0, that moves the loss's weight between
            low and high frequencies; None where it has none.
        takes_objects: it compares maps of a detector and is called with the boxes of the batch's
            objects beside them, as ``objects``.
        composes: it begins with a 1x1 convolution and takes, as ``before=(map, convolution)``, what
            the convolution before it started from.

    Args:
        loss_weight: factor of the loss, finite, >= 0.

    Raises:
        ConfigError: the weight breaks this rule.
    """

    compares: ClassVar[str]
    any_width: ClassVar[bool] = False
    takes_objects: ClassVar[bool] = False
    mask: Mask | None = None
    linear_in_mask: bool = False
    balanced_by: str | None = None
    composes: bool = False

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = check_weight(loss_weight)

    def scalars(self) -> dict[str, float]:
        """What a run logs of the loss's own state, as ``distill/<loss>/<name>``."""
        return {}

    def beside_maps(self, objects: Objects | None) -> dict[str, Any]:
        """The arguments by name that a loss of maps is called with beside its two maps."""
        return {"objects": objects} if self.takes_objects else {}


class MapLoss(DistillationLoss):
    """A loss of two feature maps; a subclass gives the ``distance`` of maps of one size.

    Args:
        loss_weight: see ``DistillationLoss``.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.
    """

    compares = MAPS

    def __init__(self, loss_weight: float, *, resize_stu: bool = True) -> None:
        super().__init__(loss_weight)
        self.resize_stu = check_switch(resize_stu, "resize_stu")

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Weighted loss of maps (N, C, H, W) and (N, C, H', W'), matched by ``match_maps``."""
        student, teacher = match_maps(
            student, teacher, resize_stu=self.resize_stu, any_width=self.any_width
        )
        with full_precision(student):
            return self.distance(student, teacher) * self.loss_weight

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss before its weight: real maps (N, C, H, W) of one size and dtype -> scalar.

        C is that of both but where ``any_width`` is set.
        """
        raise NotImplementedError


def match_maps(
    student: Tensor, teacher: Tensor, *, resize_stu: bool = True, any_width: bool = False
) -> tuple[Tensor, Tensor]:
    """Detach the teacher's map, and bring both to one size and precision.

    Sizes that differ are matched by bilinear interpolation (align_corners=False) of the student's
    map, or of the teacher's with ``resize_stu=False``. Half and bfloat16 become float32; float64
    stays.

    Args:
        student: (N, C, H, W).
        teacher: (N, C, H', W').
        resize_stu: which of two maps of different size is resized.
        any_width: C may differ.

    Returns:
        (student, teacher), of equal shape (but for C with ``any_width``) and dtype.

    Raises:
        ConfigError: dimensions, dtypes, batch sizes or channels do not fit.
    """
    _check_map(student, "student")
    _check_map(teacher, "teacher")
    if student.shape[0] != teacher.shape[0]:
        raise ConfigError(
            "student and teacher must agree in N",
            value=(tuple(student.shape), tuple(teacher.shape)),
        )
    if student.shape[1] != teacher.shape[1] and not any_width:
        raise ConfigError(
            "student and teacher must agree in C",
            value=(tuple(student.shape), tuple(teacher.shape)),
            fix="add a connector; class scores need the same classes",
        )
    half = student.dtype in (torch.float16, torch.bfloat16)
    student = student.float() if half else student
    teacher = teacher.detach().to(student.dtype)
    if student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    if resize_stu:
        return _resized(student, teacher), teacher
    return student, _resized(teacher, student)


def full_precision(like: Tensor) -> torch.autocast:
    """Context without autocast on the device of ``like``: spectra and statistics need float32."""
    return torch.autocast(like.device.type, enabled=False)


def check_weight(value: float, name: str = "loss_weight") -> float:
    """A loss weight: a finite number >= 0, else ConfigError."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (math.isfinite(value) and value >= 0)
    ):
        raise ConfigError(f"{name} must be a finite number >= 0", value=value)
    return float(value)


def check_switch(value: bool, name: str) -> bool:
    """A switch: True or False, else ConfigError."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False", value=value)
    return value


def check_channels(value: int) -> int:
    """A loss's ``in_channels``: an integer >= 1, else ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError("in_channels must be an integer >= 1", value=value)
    return value


def check_width(x: Tensor, in_channels: int) -> None:
    """Refuse maps of other channels than a loss's parameters are for."""
    if x.shape[1] != in_channels:
        raise ConfigError(
            f"maps must have in_channels={in_channels} channels",
            value=x.shape[1],
            fix="set in_channels to the teacher tap's, and a connector on the student",
        )


def _check_map(x: Tensor, who: str) -> None:
    if not isinstance(x, Tensor):
        raise ConfigError(
            f"{who} features must be a map (N, C, H, W)",
            value=type(x).__name__,
            fix="call the loss once a level",
        )
    if x.dim() != 4 or x.numel() == 0:
        raise ConfigError(
            f"{who} features must be a non-empty map (N, C, H, W)",
            value=tuple(x.shape),
            fix="tap a module that gives a feature map",
        )
    if not x.is_floating_point():
        raise ConfigError(f"{who} features must be of a real float dtype", value=str(x.dtype))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
