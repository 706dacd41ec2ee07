"""Detection heads: in flow a student's and a teacher's head, out flow the samples both predict for.

The student's predictions, anchors or points and their assignment are observed while its own loss
runs, so that they are not computed again; the teacher's head runs its forward only. MMDetection's
files stay as they are: an attribute of the head's instance stands in front of one method for that
time. Two families are known: heads that compute their loss as ``AnchorHead`` does (RetinaNet, the
RPN of Faster R-CNN) and ``RepPointsHead``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.distill.taps import Recorder, shadowed
from fourierkd.errors import ConfigError, near
from fourierkd.losses.iou_aware import Samples

ANCHORS, POINTS = "anchor boxes", "refined points"
LOSS_OF_A_LEVEL = "loss_by_feat_single"
Call = dict[str, Any]  # arguments of a call by name


class HeadPairing(NamedTuple):
    """Which levels of two heads are compared."""

    indices: list[tuple[int, int]]  # of the student's and the teacher's levels
    left_out: list[str]  # levels without a partner, such as "teacher bbox_head stride 4"


@contextmanager
def head_calls(model: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, list[Call]]]:
    """Yield a dict path -> the arguments of the loss of each level, filled while the body runs.

    Args:
        model: the student.
        paths: of its heads.
    """
    calls: dict[str, list[Call]] = {path: [] for path in paths}
    with ExitStack() as stack:
        for path, seen in calls.items():
            head = model.get_submodule(path)
            stack.enter_context(shadowed(head, LOSS_OF_A_LEVEL, _recorder(head, seen)))
        yield calls


def _recorder(head: nn.Module, calls: list[Call]) -> Recorder:
    signature = inspect.signature(getattr(head, LOSS_OF_A_LEVEL))

    def record(args: Any, kwargs: Any, output: Any) -> None:
        calls.append(dict(signature.bind(*args, **kwargs).arguments))

    return record


def pair_heads(
    where: str, student: nn.Module, teacher: nn.Module, paths: tuple[str, str]
) -> HeadPairing:
    """Check that two heads predict for the same boxes or points, and match their levels by stride.

    Args:
        where: the loss, for messages.
        student: the model.
        teacher: the other model.
        paths: of their heads.

    Raises:
        ConfigError: no such head, a head of another kind or not of one family, other classes,
            strides or anchors, scores by softmax, or a frozen student's head.
    """
    heads = [_find(where, *side) for side in zip((student, teacher), paths, _ROLES, strict=True)]
    families = [_family(head) for head in heads]
    names = [f"{r} {type(h).__name__}" for r, h in zip(_ROLES, heads, strict=True)]
    for name, family in zip(names, families, strict=True):
        if family is None:
            raise ConfigError(
                f"{where} knows heads with the loss of AnchorHead (RetinaNet, RPN) or of RepPoints",
                value=name,
                fix=_FOURIER_ALONE.format(where),
            )
    if families[0] != families[1]:
        raise ConfigError(
            f"{where} compares boxes decoded from the same anchors or points, and this pair is "
            "heterogeneous",
            value=f"{names[0]} ({families[0]}), {names[1]} ({families[1]})",
            fix=_FOURIER_ALONE.format(where),
        )
    for name, head in zip(names, heads, strict=True):
        if not head.use_sigmoid_cls:
            raise ConfigError(
                f"{where} needs class scores by sigmoid",
                value=f"{name} with softmax",
                fix="set use_sigmoid=True in its loss_cls, or leave this loss out",
            )
    classes = [head.num_classes for head in heads]
    if classes[0] != classes[1]:
        raise ConfigError(
            f"{where}: student and teacher need the same classes",
            value=classes,
            fix="train the teacher on the student's data set, or leave this loss out",
        )
    if not any(p.requires_grad for p in heads[0].parameters()):
        raise ConfigError(
            f"{where} gives no gradient: the student's head is frozen", value=paths[0]
        )
    return _match_levels(where, heads, paths)


def head_samples(
    student: Any,
    teacher: Any,
    calls: Sequence[Call],
    maps: Sequence[Tensor],
    indices: Sequence[tuple[int, int]],
) -> tuple[list[Samples], float | Tensor]:
    """The samples of the matched levels, and the student's ``avg_factor``.

    Args:
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
    expected = {"student": len(_strides(student)), "teacher": len(_strides(teacher))}
    if counts != expected:
        raise ConfigError(
            f"heads give class scores and boxes at each of their levels, once a step: {expected}",
            value=counts,
            fix="keep the teacher in eval mode, and run each head once a step",
        )
    levels = []
    for i, j in indices:
        call, scores, regression = calls[i], maps[j], maps[len(maps) // 2 + j]
        if call["cls_score"].shape[-2:] != scores.shape[-2:]:
            raise ConfigError(
                "student and teacher need maps of one size at a level",
                value=(tuple(call["cls_score"].shape), tuple(scores.shape)),
                fix="pad images to a multiple of the largest stride (data_preprocessor)",
            )
        channels = student.cls_out_channels
        labels = call["labels"].reshape(-1)
        positives = ((labels >= 0) & (labels < student.num_classes)).nonzero().squeeze(1)
        with torch.no_grad():
            of_family = _anchor_boxes if _family(student) == ANCHORS else _point_boxes
            boxes, teacher_boxes = of_family(student, teacher, call, regression, positives, j)
        levels.append(
            Samples(
                logits=call["cls_score"].permute(0, 2, 3, 1).reshape(-1, channels),
                weights=call["label_weights"].reshape(-1),
                positives=positives,
                boxes=boxes,
                teacher_boxes=teacher_boxes,
                teacher_logits=_pick(scores, positives, channels),
            )
        )
    first = calls[0]
    return levels, first["avg_factor" if "avg_factor" in first else "avg_factor_refine"]


def _anchor_boxes(
    student: Any, teacher: Any, call: Call, regression: Tensor, positives: Tensor, level: int
) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) of both, decoded by each head's own coder from the student's anchors."""
    from mmdet.structures.bbox import get_box_tensor

    anchors = get_box_tensor(call["anchors"]).reshape(-1, 4)[positives]
    pairs = ((student, call["bbox_pred"]), (teacher, regression))
    deltas = [(head, _pick(predicted, positives, 4).float()) for head, predicted in pairs]
    ours, theirs = (get_box_tensor(head.bbox_coder.decode(anchors, d)) for head, d in deltas)
    return ours, theirs


def _point_boxes(
    student: Any, teacher: Any, call: Call, regression: Tensor, positives: Tensor, level: int
) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) of both: of the student's refined points, and as the teacher's head gives them.

    In eval mode a RepPoints head gives ``points2bbox`` of its refined points, relative to the
    point they belong to and in units of the stride.
    """
    if not positives.numel():  # which points2bbox cannot view
        return regression.new_empty(0, 4), regression.new_empty(0, 4)
    points = call["pts_pred_refine"].reshape(-1, 2 * student.num_points)[positives].float()
    height, width = regression.shape[-2:]
    centres = teacher.prior_generator.sparse_priors(
        positives % (height * width), (height, width), level, device=regression.device
    )
    offsets = _pick(regression, positives, 4).float() * teacher.point_strides[level]
    return student.points2bbox(points, y_first=False), offsets + centres.repeat(1, 2)


def _pick(maps: Tensor, rows: Tensor, channels: int) -> Tensor:
    """Rows of a map (N, A * channels, H, W) in the order of its samples (N, H, W, A)."""
    size = maps.shape[-2] * maps.shape[-1]
    apart = maps.unflatten(1, (-1, channels)).flatten(3)  # (N, A, channels, H * W)
    anchors = apart.shape[1]
    cells = rows.div(anchors, rounding_mode="floor")
    image = cells.div(size, rounding_mode="floor")
    result: Tensor = apart[image, rows % anchors, :, cells % size]  # (P, channels)
    return result


_ROLES = ("student", "teacher")
_FOURIER_ALONE = "remove {} and distil by the Fourier loss alone, as the paper does for such pairs"


def _find(where: str, model: nn.Module, path: str, role: str) -> Any:
    modules = dict(model.named_modules())
    if path not in modules:
        heads = [name for name, module in modules.items() if hasattr(module, LOSS_OF_A_LEVEL)]
        raise ConfigError(f"{where}: unknown {role} head", value=path, fix=near(path, heads))
    return modules[path]


def _family(head: nn.Module) -> str | None:
    """ANCHORS, POINTS, or None where the head computes its loss, or finds anchors, in its own way.

    A subclass with another assignment or loss gives other arguments, or none, to be observed.
    """
    from mmdet.models.dense_heads import AnchorHead, RepPointsHead, RPNHead

    def as_in(method: str, *bases: type) -> bool:
        return getattr(type(head), method) in [getattr(base, method) for base in bases]

    if isinstance(head, RepPointsHead):
        own = (("loss_by_feat", RepPointsHead), (LOSS_OF_A_LEVEL, RepPointsHead))
        return POINTS if all(as_in(*rule) for rule in own) else None
    if isinstance(head, AnchorHead):
        rules = (
            ("loss_by_feat", AnchorHead, RPNHead),
            (LOSS_OF_A_LEVEL, AnchorHead),
            ("get_anchors", AnchorHead),
        )
        return ANCHORS if all(as_in(*rule) for rule in rules) else None
    return None


def _match_levels(where: str, heads: Sequence[Any], paths: tuple[str, str]) -> HeadPairing:
    strides = [_strides(head) for head in heads]
    indices = [(i, strides[1].index(s)) for i, s in enumerate(strides[0]) if s in strides[1]]
    if not indices:
        raise ConfigError(
            f"{where}: levels are compared at equal strides, and none is in common",
            value=dict(zip(_ROLES, strides, strict=True)),
        )
    if _family(heads[0]) == ANCHORS:
        anchors = [head.prior_generator.base_anchors for head in heads]
        for i, j in indices:
            ours, theirs = anchors[0][i], anchors[1][j]
            if ours.shape != theirs.shape or not torch.allclose(ours, theirs):
                sizes = [
                    f"{len(a)} of up to {float(a.abs().max() * 2):g} pixels" for a in (ours, theirs)
                ]
                raise ConfigError(
                    f"{where}: student and teacher need the same anchors, and at stride "
                    f"{strides[0][i]} they differ",
                    value=dict(zip(_ROLES, sizes, strict=True)),
                    fix="give both heads one anchor_generator",
                )
    left_out = [
        f"{role} {path} stride {stride}"
        for role, path, own, other in zip(_ROLES, paths, strides, strides[::-1], strict=True)
        for stride in own
        if stride not in other
    ]
    return HeadPairing(indices, left_out)


def _strides(head: Any) -> list[int]:
    return [stride[0] for stride in head.prior_generator.strides]
