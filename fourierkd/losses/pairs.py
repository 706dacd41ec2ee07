"""What every feature loss does first: in flow student and teacher maps, out flow matched pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fourierkd.errors import ConfigError

Maps = Tensor | Sequence[Tensor]


def pair_levels(
    student: Maps, teacher: Maps, *, resize_stu: bool = True
) -> list[tuple[Tensor, Tensor]]:
    """Pair the levels, detach the teacher, and bring both maps of a pair to one size and precision.

    Sizes that differ are matched by bilinear interpolation (align_corners=False) of the student's
    map, or of the teacher's with ``resize_stu=False``. Half and bfloat16 become float32; float64
    stays.

    Args:
        student: (N, C, H, W), or a sequence of such maps, one per level.
        teacher: the same number of maps, of the student's N and C.
        resize_stu: which of two maps of different size is resized.

    Returns:
        One (student, teacher) pair per level, of equal shape and dtype.

    Raises:
        ConfigError: levels, dimensions, dtypes, batch sizes or channels do not fit.
    """
    students, teachers = _levels(student, "student"), _levels(teacher, "teacher")
    if len(students) != len(teachers):
        raise ConfigError(
            "student and teacher must give equally many levels",
            value=(len(students), len(teachers)),
            fix="name as many student taps as teacher taps",
        )
    pairs = []
    for level, (s, t) in enumerate(zip(students, teachers, strict=True)):
        if s.shape[:2] != t.shape[:2]:
            raise ConfigError(
                f"student and teacher must agree in (N, C) at level {level}",
                value=(tuple(s.shape), tuple(t.shape)),
                fix="add a connector where channels differ",
            )
        s = s.float() if s.dtype in (torch.float16, torch.bfloat16) else s
        t = t.detach().to(s.dtype)
        if s.shape[2:] != t.shape[2:]:
            if resize_stu:
                s = F.interpolate(s, size=t.shape[2:], mode="bilinear", align_corners=False)
            else:
                t = F.interpolate(t, size=s.shape[2:], mode="bilinear", align_corners=False)
        pairs.append((s, t))
    return pairs


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


def _levels(maps: Maps, who: str) -> list[Tensor]:
    levels = (
        [maps] if isinstance(maps, Tensor) else list(maps) if isinstance(maps, Sequence) else []
    )
    if not levels:
        raise ConfigError(
            f"{who} features must be a map (N, C, H, W) or a non-empty sequence of maps",
            value=type(maps).__name__,
        )
    for level, x in enumerate(levels):
        if not isinstance(x, Tensor):
            raise ConfigError(f"{who} level {level} must be a tensor", value=type(x).__name__)
        if x.dim() != 4 or x.numel() == 0:
            raise ConfigError(
                f"{who} level {level} must be a non-empty map (N, C, H, W)",
                value=tuple(x.shape),
                fix="tap a module that gives a feature map",
            )
        if not x.is_floating_point():
            raise ConfigError(
                f"{who} level {level} must be of a real float dtype", value=str(x.dtype)
            )
    return levels
