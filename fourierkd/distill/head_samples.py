"""What two detection heads say of the same places: in flow one step's outputs, out flow samples.

Three families of heads are known: those that compute their loss as ``AnchorHead`` does (RetinaNet,
the RPN of Faster R-CNN), ``RepPointsHead`` and ``GFLHead``. ``KINDS`` says which samples can be
taken from which, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.errors import ConfigError
from fourierkd.losses.samples import BoxSamples, DistributionSamples, ScoreSamples

ANCHORS, POINTS, DISTRIBUTIONS = "anchor boxes", "refined points", "distributions of sides"
HEADS_OF = {ANCHORS: "AnchorHead (RetinaNet, RPN)", POINTS: "RepPoints", DISTRIBUTIONS: "GFL"}
LOSS_OF_A_LEVEL = "loss_by_feat_single"
Call = dict[str, Any]  # arguments of a call by name


def head_samples(
    samples: type[Any],
    student: Any,
    teacher: Any,
    calls: Sequence[Call],
    maps: Sequence[Tensor],
    indices: Sequence[tuple[int, int]],
) -> tuple[list[Any], float | Tensor]:
    """The samples of the matched levels, and what the sum of their losses is divided by.

    Args:
        samples: their kind.
        student: its head.
        teacher: its head.
        calls: what ``head_calls`` saw of the student's head in this step, level by level.
        maps: what the teacher's head gave: class scores of its L levels, then their boxes.
        indices: of ``pair_heads``.

    Raises:
        ConfigError: either head gave another number of levels than it has, or maps of a level
            differ in size.
    """
    counts = {"student": len(calls), "teacher": len(maps) / 2}
    expected = {"student": len(strides_of(student)), "teacher": len(strides_of(teacher))}
    if counts != expected:
        raise ConfigError(
            f"heads give class scores and boxes at each of their levels, once a step: {expected}",
            value=counts,
            fix="keep the teacher in eval mode, and run each head once a step",
        )
    kind = KINDS[samples]
    levels = []
    for i, j in indices:
        call, scores, regression = calls[i], maps[j], maps[len(maps) // 2 + j]
        if call["cls_score"].shape[-2:] != scores.shape[-2:]:
            raise ConfigError(
                "student and teacher need maps of one size at a level",
                value=(tuple(call["cls_score"].shape), tuple(scores.shape)),
                fix="pad images to a multiple of the largest stride (data_preprocessor)",
            )
        levels.append(kind.take(_Level(student, teacher, call, scores, regression, j)))
    return levels, kind.avg_factor(calls)


class _Level(NamedTuple):
    """One level of both heads: what the student's loss was given, and the teacher's two maps."""

    student: Any
    teacher: Any
    call: Call
    scores: Tensor
    regression: Tensor
    position: int  # among the teacher's levels


def _box_samples(level: _Level) -> BoxSamples:
    positives = _positives(level.student, level.call)
    with torch.no_grad():
        boxes, teacher_boxes = BOXES_OF[family_of(level.student)](level, positives)
    channels = level.student.cls_out_channels
    return BoxSamples(
        logits=_rows(level.call["cls_score"], channels),
        weights=level.call["label_weights"].reshape(-1),
        positives=positives,
        boxes=boxes,
        teacher_boxes=teacher_boxes,
        teacher_logits=_pick(level.scores, positives, channels),
    )


def _score_samples(level: _Level) -> ScoreSamples:
    channels = level.student.cls_out_channels
    return ScoreSamples(
        logits=_rows(level.call["cls_score"], channels),
        teacher_logits=_rows(level.scores, channels),
        weights=level.call["label_weights"].reshape(-1),
    )


def _distribution_samples(level: _Level) -> DistributionSamples:
    positives, bins = _positives(level.student, level.call), level.student.reg_max + 1
    ours, theirs = (
        _pick(maps, positives, 4 * bins).view(-1, 4, bins)
        for maps in (level.call["bbox_pred"], level.regression)
    )
    return DistributionSamples(ours, theirs, _largest_scores(level.student, level.call))


def _of_scores(calls: Sequence[Call]) -> float | Tensor:
    """What the student's loss of classes is divided by."""
    first = calls[0]
    factor: float | Tensor = first["avg_factor" if "avg_factor" in first else "avg_factor_refine"]
    return factor


def _undivided(_: Sequence[Call]) -> float:
    return 1.0


def _largest_scores(head: Any, call: Call) -> Tensor:
    """A GFL head's weights of its own losses of boxes: (P,), without a gradient."""
    scores = _pick(call["cls_score"].detach(), _positives(head, call), head.cls_out_channels)
    largest: Tensor = scores.sigmoid().amax(1)
    return largest


class _Kind(NamedTuple):
    """How one kind of samples is taken from two heads.

    compares: what its losses compare, for messages.
    families: the heads that it can be taken from.
    output: the argument of the student's loss of a level that it has its gradient at.
    take: samples of a level.
    avg_factor: what the sum of all levels is divided by, from the student's calls.
    """

    compares: str
    families: tuple[str, ...]
    output: str
    take: Callable[[_Level], Any]
    avg_factor: Callable[[Sequence[Call]], float | Tensor]


KINDS: dict[type[Any], _Kind] = {
    BoxSamples: _Kind("decoded boxes", tuple(HEADS_OF), "cls_score", _box_samples, _of_scores),
    ScoreSamples: _Kind("class scores", tuple(HEADS_OF), "cls_score", _score_samples, _of_scores),
    DistributionSamples: _Kind(
        "distributions of the sides of boxes",
        (DISTRIBUTIONS,),
        "bbox_pred",
        _distribution_samples,
        _undivided,
    ),
}


def _positives(head: Any, call: Call) -> Tensor:
    """Which of a level's samples are assigned to an object: (P,), int64."""
    labels = call["labels"].reshape(-1)
    positives: Tensor = ((labels >= 0) & (labels < head.num_classes)).nonzero().squeeze(1)
    return positives


def _rows(maps: Tensor, channels: int) -> Tensor:
    """A map (N, A * channels, H, W) as samples, in their order (N, H, W, A): (M, channels)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, channels)


def _anchor_boxes(level: _Level, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) of both, decoded by each head's own coder from the student's anchors."""
    from mmdet.structures.bbox import get_box_tensor

    anchors = get_box_tensor(level.call["anchors"]).reshape(-1, 4)[positives]
    pairs = ((level.student, level.call["bbox_pred"]), (level.teacher, level.regression))
    deltas = [(head, _pick(predicted, positives, 4).float()) for head, predicted in pairs]
    ours, theirs = (get_box_tensor(head.bbox_coder.decode(anchors, d)) for head, d in deltas)
    return ours, theirs


def _point_boxes(level: _Level, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) of both: of the student's refined points, and as the teacher's head gives them.

    In eval mode a RepPoints head gives ``points2bbox`` of its refined points, relative to the
    point they belong to and in units of the stride.
    """
    student, teacher, regression = level.student, level.teacher, level.regression
    if not positives.numel():  # which points2bbox cannot view
        return regression.new_empty(0, 4), regression.new_empty(0, 4)
    predicted = level.call["pts_pred_refine"]
    points = predicted.reshape(-1, 2 * student.num_points)[positives].float()
    height, width = regression.shape[-2:]
    centres = teacher.prior_generator.sparse_priors(
        positives % (height * width), (height, width), level.position, device=regression.device
    )
    offsets = _pick(regression, positives, 4).float() * teacher.point_strides[level.position]
    return student.points2bbox(points, y_first=False), offsets + centres.repeat(1, 2)


def _distribution_boxes(level: _Level, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) of both: from the student's points, by the mean distance of every side."""
    from mmdet.structures.bbox import get_box_tensor

    anchors = get_box_tensor(level.call["anchors"]).reshape(-1, 4)[positives]
    points, stride = level.student.anchor_center(anchors), level.call["stride"][0]
    ours, theirs = (
        head.bbox_coder.decode(
            points,
            head.integral(_pick(maps, positives, 4 * (head.reg_max + 1)).float()) * stride,
        )
        for head, maps in (
            (level.student, level.call["bbox_pred"]),
            (level.teacher, level.regression),
        )
    )
    return ours, theirs


BOXES_OF: dict[str | None, Callable[[_Level, Tensor], tuple[Tensor, Tensor]]] = {
    ANCHORS: _anchor_boxes,
    POINTS: _point_boxes,
    DISTRIBUTIONS: _distribution_boxes,
}


def _pick(maps: Tensor, rows: Tensor, channels: int) -> Tensor:
    """Rows of a map (N, A * channels, H, W) in the order of its samples (N, H, W, A)."""
    size = maps.shape[-2] * maps.shape[-1]
    apart = maps.unflatten(1, (-1, channels)).flatten(3)  # (N, A, channels, H * W)
    anchors = apart.shape[1]
    cells = rows.div(anchors, rounding_mode="floor")
    image = cells.div(size, rounding_mode="floor")
    result: Tensor = apart[image, rows % anchors, :, cells % size]  # (P, channels)
    return result


def family_of(head: nn.Module) -> str | None:
    """ANCHORS, POINTS or DISTRIBUTIONS; None where loss or anchors are of the head's own making.

    A subclass with another assignment or loss gives other arguments, or none, to be observed.
    """
    from mmdet.models.dense_heads import AnchorHead, GFLHead, RepPointsHead, RPNHead

    def as_in(base: type, *methods: str) -> bool:
        return all(getattr(type(head), m) == getattr(base, m) for m in methods)

    loss = ("loss_by_feat", LOSS_OF_A_LEVEL)
    if isinstance(head, RepPointsHead):
        return POINTS if as_in(RepPointsHead, *loss) else None
    if isinstance(head, GFLHead):
        return DISTRIBUTIONS if as_in(GFLHead, *loss, "get_anchors") else None
    if isinstance(head, RPNHead):
        return ANCHORS if as_in(RPNHead, *loss, "get_anchors") else None
    if isinstance(head, AnchorHead):
        return ANCHORS if as_in(AnchorHead, *loss, "get_anchors") else None
    return None


def strides_of(head: Any) -> list[int]:
    """Of its levels, in pixels of the image."""
    return [stride[0] for stride in head.prior_generator.strides]
