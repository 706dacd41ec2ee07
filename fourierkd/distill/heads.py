"""Pairs of detection heads: in flow a student and a teacher, out flows what of them is compared.

The student's predictions, anchors or points and their assignment are observed while its own loss
runs, so that they are not computed again; the teacher's head runs its forward only. MMDetection's
files stay as they are: an attribute of the head's instance stands in front of one method for that
time.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from fourierkd.distill.head_samples import (
    ANCHORS,
    HEADS_OF,
    KINDS,
    LOSS_OF_A_LEVEL,
    Call,
    family_of,
    strides_of,
)
from fourierkd.distill.taps import Recorder, shadowed
from fourierkd.errors import ConfigError, near
from fourierkd.losses.samples import DistributionSamples


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

    def record(args: Any, kwargs: Any, _: Any) -> None:
        calls.append(dict(signature.bind(*args, **kwargs).arguments))

    return record


def pair_heads(
    where: str, samples: type[Any], student: nn.Module, teacher: nn.Module, paths: tuple[str, str]
) -> HeadPairing:
    """Check that two heads predict for the same boxes or points, and match their levels by stride.

    Args:
        where: the loss, for messages.
        samples: the kind that the loss takes.
        student: the model.
        teacher: the other model.
        paths: of their heads.

    Raises:
        ConfigError: no such head, a head of another kind or not of one family, other classes,
            strides, anchors or distances, scores by softmax, or a frozen student's head.
    """
    heads = [_find(where, *side) for side in zip((student, teacher), paths, _ROLES, strict=True)]
    families = [family_of(head) for head in heads]
    names = [f"{r} {type(h).__name__}" for r, h in zip(_ROLES, heads, strict=True)]
    kind = KINDS[samples]
    for name, family in zip(names, families, strict=True):
        if family not in kind.families:
            known = " or of ".join(HEADS_OF[family] for family in kind.families)
            raise ConfigError(
                f"{where} compares {kind.compares} and knows heads with the loss of {known}",
                value=name,
                fix=_MAPS_ALONE.format(where),
            )
    if families[0] != families[1]:
        raise ConfigError(
            f"{where} compares {kind.compares} at the same anchors or points, and this pair is "
            "heterogeneous",
            value=f"{names[0]} ({families[0]}), {names[1]} ({families[1]})",
            fix=_MAPS_ALONE.format(where),
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
    if samples is DistributionSamples and heads[0].reg_max != heads[1].reg_max:
        raise ConfigError(
            f"{where}: student and teacher need distributions over the same distances (reg_max)",
            value=[head.reg_max for head in heads],
            fix="give both heads one reg_max, or leave this loss out",
        )
    if not any(p.requires_grad for p in heads[0].parameters()):
        raise ConfigError(
            f"{where} gives no gradient: the student's head is frozen", value=paths[0]
        )
    return _match_levels(where, heads, paths)


_ROLES = ("student", "teacher")
_MAPS_ALONE = "remove {} and compare feature maps alone, as the paper does for such pairs"


def _find(where: str, model: nn.Module, path: str, role: str) -> Any:
    modules = dict(model.named_modules())
    if path not in modules:
        heads = [name for name, module in modules.items() if hasattr(module, LOSS_OF_A_LEVEL)]
        raise ConfigError(f"{where}: unknown {role} head", value=path, fix=near(path, heads))
    return modules[path]


def _match_levels(where: str, heads: Sequence[Any], paths: tuple[str, str]) -> HeadPairing:
    strides = [strides_of(head) for head in heads]
    indices = [(i, strides[1].index(s)) for i, s in enumerate(strides[0]) if s in strides[1]]
    if not indices:
        raise ConfigError(
            f"{where}: levels are compared at equal strides, and none is in common",
            value=dict(zip(_ROLES, strides, strict=True)),
        )
    if family_of(heads[0]) == ANCHORS:
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
