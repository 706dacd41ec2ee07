"""Scores of single images: in flow a validation sample's truth and what a model says of it, out
flows one number.

They rank images for a look at the worst and the best; what judges a run is the config's own metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fourierkd.engine.class_scores import confused
from fourierkd.errors import DataError
from fourierkd.tracking.prediction_pictures import Answer, Boxes

IGNORE_INDEX = 255
OVERLAP = 0.5


class Task(Protocol):
    """How the images of a task are scored.

    Attributes:
        measure: name of the score.
        explained: what it is, in words.
        digits: as many are shown.
    """

    measure: str
    explained: str
    digits: int

    def truth(self, sample: Mapping[str, Any], info: Mapping[str, Any]) -> Any:
        """Of a sample as metrics get it; ``info``: what the data set knows of the image."""

    def answer(self, sample: Mapping[str, Any]) -> Any:
        """What the model says of a sample."""

    def score(self, truth: Any, answer: Any) -> float:
        """NaN where the truth is empty."""

    def drawn(self, known: Any) -> Answer:
        """What a picture shows of a truth or an answer."""


class Segmentation:
    """Label maps, scored by ``image_miou``."""

    measure = "mIoU"
    explained = "mIoU of the image: the mean over the classes of its truth, in percent"
    digits = 1

    def __init__(self, classes: int, ignore_index: int) -> None:
        self.classes, self.ignore_index = classes, ignore_index

    def truth(self, sample: Mapping[str, Any], info: Mapping[str, Any]) -> Tensor:  # noqa: ARG002 - Detection needs it
        """(H, W), int64."""
        labels: Tensor = sample["gt_sem_seg"]["data"].squeeze(0).long()
        return labels

    def answer(self, sample: Mapping[str, Any]) -> Tensor:
        """(H, W), int64."""
        labels: Tensor = sample["pred_sem_seg"]["data"].squeeze(0).long()
        return labels

    def score(self, truth: Tensor, answer: Tensor) -> float:
        """As ``image_miou``."""
        return image_miou(truth.to(answer.device), answer, self.classes, self.ignore_index)

    def drawn(self, known: Tensor) -> np.ndarray:
        """The labels; those that do not count are no class."""
        labels: np.ndarray = known.cpu().numpy()
        return np.where(labels == self.ignore_index, IGNORE_INDEX, labels)


class Detection:
    """Boxes, scored by ``image_ap50``."""

    measure = "AP50"
    explained = (
        "AP50 of the image: the area under the precision-recall curve of all its detections in one "
        "ranking, whatever their class, where one is right that overlaps a box of its class by an "
        "IoU of 0.5"
    )
    digits = 2

    def truth(
        self,
        sample: Mapping[str, Any],  # noqa: ARG002 - Segmentation needs it
        info: Mapping[str, Any],
    ) -> tuple[Boxes, Boxes]:
        """Boxes that count, and those to ignore."""
        own = [i for i in info["instances"] if i.get("bbox") is not None]
        bboxes = np.array([i["bbox"] for i in own], np.float32).reshape(-1, 4)
        every = Boxes(bboxes, np.array([i["bbox_label"] for i in own], np.int64))
        ignored = np.array([bool(i.get("ignore_flag")) for i in own], bool)
        return every.where(~ignored), every.where(ignored)

    def answer(self, sample: Mapping[str, Any]) -> Boxes:
        """All boxes of the model's, on the CPU."""
        found = sample["pred_instances"]
        bboxes, labels, scores = (
            found[key].detach().float().cpu().numpy() for key in ("bboxes", "labels", "scores")
        )
        return Boxes(bboxes, labels.astype(np.int64), scores)

    def score(self, truth: tuple[Boxes, Boxes], answer: Boxes) -> float:
        """As ``image_ap50``."""
        return image_ap50(*truth, answer)

    def drawn(self, known: tuple[Boxes, Boxes] | Boxes) -> Boxes:
        """Those that count."""
        return known[0] if isinstance(known, tuple) else known


def task_of(sample: Mapping[str, Any], classes: int, metrics: Iterable[Any]) -> Task:
    """What a model's answer to a validation sample is.

    Args:
        sample: as a metric gets it.
        classes: how many there are.
        metrics: of the evaluator; one of them may know what label does not count.

    Raises:
        DataError: it is neither a semantic segmentation with its truth nor a detection.
    """
    if "pred_sem_seg" in sample and "gt_sem_seg" in sample:
        known = (getattr(metric, "ignore_index", None) for metric in metrics)
        return Segmentation(classes, next((i for i in known if i is not None), IGNORE_INDEX))
    if "pred_instances" in sample:
        return Detection()
    raise DataError(
        "predictions are drawn of semantic segmentation and of detection",
        value=sorted(sample),
    )


def image_miou(truth: Tensor, answer: Tensor, classes: int, ignore_index: int = 255) -> float:
    """Mean IoU of one image over the classes of its truth, in percent.

    The mean of |T_k & A_k| / |T_k | A_k| over all k with pixels in the truth T; scores of single
    images are those of Csurka et al., "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013. A class that is predicted and not there costs those whose pixels it
    takes.

    Args:
        truth: (H, W), int64; what is no class, or ``ignore_index``, does not count.
        answer: (H, W), int64, on the same device.
        classes: how many there are.

    Returns:
        In [0, 100]; NaN where no pixel counts.

    >>> image_miou(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]]), classes=3)
    58.333333333333336
    """
    which, counts = confused(answer, truth, classes, ignore_index)
    matrix = torch.zeros(classes**2, dtype=torch.float64)
    matrix[which] = counts.double()
    matrix = matrix.reshape(classes, classes)
    right, true, found = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    there = true > 0
    if not there.any():
        return math.nan
    return 100 * float((right / (true + found - right))[there].mean())


def image_ap50(truth: Boxes, ignored: Boxes, answer: Boxes) -> float:
    """Average precision at IoU 0.5 of one image, its detections of all classes in one ranking.

    A detection is right where it overlaps a box of its class by at least 0.5, and is the surest to
    do so; then the area under precision over recall, precision made monotone, as VOC's from 2010
    on. One that overlaps an ignored box counts as neither.

    Args:
        truth: boxes that count.
        ignored: boxes of the truth that do not.
        answer: detections, with scores.

    Returns:
        In [0, 1]; NaN where the truth is empty.
    """
    from mmdet.evaluation.functional.mean_ap import average_precision, tpfp_default

    if not len(truth.labels):
        return math.nan
    scores = np.zeros(0) if answer.scores is None else answer.scores
    right, wrong = np.zeros(len(answer.labels)), np.zeros(len(answer.labels))
    for label in np.unique(answer.labels):
        own = answer.labels == label
        scored = np.column_stack([answer.bboxes[own], scores[own]])
        (right[own],), (wrong[own],) = tpfp_default(
            scored,
            truth.bboxes[truth.labels == label],
            ignored.bboxes[ignored.labels == label],
            iou_thr=OVERLAP,
        )
    order = np.argsort(-scores, kind="stable")
    hits, counted = right[order].cumsum(), (right + wrong)[order].cumsum()
    recall, precision = hits / len(truth.labels), hits / np.maximum(counted, 1)
    return float(average_precision(recall, precision))
