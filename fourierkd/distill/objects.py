"""The objects of a batch: in flow images and data samples, out flow boxes for losses that ask."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fourierkd.errors import ConfigError
from fourierkd.losses.base import Objects


def check_detector(where: str, student: nn.Module) -> None:
    """Refuse a loss that asks for boxes where the student is trained without any.

    Args:
        where: the loss, for the message.
        student: the model.

    Raises:
        ConfigError: it is no detector.
    """
    from mmdet.models.detectors.base import BaseDetector

    if not isinstance(student, BaseDetector):
        raise ConfigError(
            f"{where} weighs by the boxes of the objects, and only a detector is trained on boxes",
            value=f"student {type(student).__name__}",
            fix="leave this loss out",
        )


def objects_of(inputs: Tensor, data_samples: Any) -> Objects:
    """Ground-truth boxes of preprocessed images (N, 3, H, W), as they lie in them."""
    from mmdet.structures.bbox import get_box_tensor

    boxes = [get_box_tensor(sample.gt_instances.bboxes) for sample in data_samples]
    return Objects(boxes, (inputs.shape[-2], inputs.shape[-1]))
