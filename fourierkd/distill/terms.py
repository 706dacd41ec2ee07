"""Named losses: in flow config entries and what taps give; out flow loss modules and connectors.

Every rule that can be checked before the first iteration is checked here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from torch import nn

from fourierkd.distill.connectors import build_connector
from fourierkd.distill.controls import CONTROLS
from fourierkd.distill.head_samples import KINDS
from fourierkd.distill.registry import MODELS
from fourierkd.distill.taps import Level
from fourierkd.errors import ConfigError, near
from fourierkd.losses.base import HEADS, LOGITS, DistillationLoss
from fourierkd.losses.samples import HeadLoss
from fourierkd.losses.table import LOSSES
from fourierkd.options import whole_number

TEACHER_KEYS = ("model", "checkpoint", "compile", "nuisance", "control")
LOSS_KEYS = ("student_tap", "teacher_tap", "loss", "connector", "warmup_iters")
HEAD_LOSS_KEYS = ("student_head", "teacher_head", "loss", "warmup_iters")


class Term(NamedTuple):
    """One named loss: which taps it compares, and over how many iterations its weight grows."""

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    warmup_iters: int
    heads: tuple[str, str] | None = None  # the student's and the teacher's, in place of taps


class Pairing(NamedTuple):
    """Which levels a loss compares, in order."""

    pairs: list[tuple[Level, Level]]
    indices: list[tuple[int, int]]  # among the student's and the teacher's maps, tap after tap
    layers: list[tuple[str, str]]  # their names, such as "neck, stride 8"
    left_out: list[str]  # levels without a partner, such as "teacher neck stride 4"


def read_terms(losses: Mapping[str, Mapping[str, Any]]) -> dict[str, Term]:
    """The taps and the warm-up of every checked entry of ``losses``."""
    return {
        name: Term((), (), warmup, (entry["student_head"], entry["teacher_head"]))
        if compares(entry) == HEADS
        else Term(as_tuple(entry["student_tap"]), as_tuple(entry["teacher_tap"]), warmup)
        for name, entry in losses.items()
        for warmup in [entry.get("warmup_iters", 0)]
    }


def compares(entry: Mapping[str, Any]) -> str | None:
    """What the loss of an entry compares; None where the entry names no loss."""
    config = entry.get("loss")
    kind = config.get("type") if isinstance(config, Mapping) else None
    known = MODELS.get(kind) if isinstance(kind, str) else None
    return known.compares if _is_loss(known) else None


def _is_loss(kind: Any) -> TypeGuard[type[DistillationLoss]]:
    return isinstance(kind, type) and issubclass(kind, DistillationLoss)


def as_tuple(taps: str | Sequence[str]) -> tuple[str, ...]:
    """One module path or several, as several."""
    return (taps,) if isinstance(taps, str) else tuple(taps)


def check_teacher(teacher: Any) -> None:
    """Refuse what is wrong with ``model.teacher`` before any model is built.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of its range.
    """
    if teacher is None:
        return
    if not isinstance(teacher, Mapping):
        raise ConfigError(
            "model.teacher is a dict with model and checkpoint, or None", value=teacher
        )
    for key in set(teacher) - set(TEACHER_KEYS):
        raise ConfigError("unknown key of model.teacher", value=key, fix=near(key, TEACHER_KEYS))
    if not isinstance(teacher.get("compile", False), bool):
        raise ConfigError("model.teacher.compile is True or False", value=teacher["compile"])
    control = teacher.get("control")
    if control is not None and not (isinstance(control, str) and control in CONTROLS):
        raise ConfigError(
            "model.teacher.control is a negative control, or None",
            value=control,
            fix=near(str(control), CONTROLS),
        )
    checkpoint = teacher.get("checkpoint")
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise ConfigError("model.teacher.checkpoint is a file", value=checkpoint)
    if "model" not in teacher:
        raise ConfigError("model.teacher needs a model", fix="add model.teacher.model")


def check_losses(losses: Any, *, teacher: bool) -> None:
    """Refuse what is wrong with ``model.losses`` before any model is built.

    Args:
        losses: of the config.
        teacher: whether there is one.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of its range.
    """
    if not isinstance(losses, Mapping):
        raise ConfigError("model.losses is a dict of name -> loss", value=losses)
    if teacher != bool(losses):
        raise ConfigError(
            "teacher and losses come together",
            value={"teacher": teacher, "losses": list(losses)},
            fix="for the student alone set teacher=None and losses={}",
        )
    for name, entry in losses.items():
        where = f"model.losses.{name}"
        if not str(name).isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError("a loss has a plain name such as 'fourier'", value=name)
        if not isinstance(entry, Mapping):
            raise ConfigError(
                f"{where} is a dict with student_tap, teacher_tap and loss", value=entry
            )
        _check_keys(where, entry)
        whole_number(f"{where}.warmup_iters", entry.get("warmup_iters", 0), 0)
        _check_loss(where, entry["loss"])


def _check_keys(where: str, entry: Mapping[str, Any]) -> None:
    """The keys of one loss, and its taps or heads."""
    what = compares(entry)
    if what == LOGITS and "connector" in entry:
        raise ConfigError(
            f"{where} compares class scores, and no connector may stand between",
            value=entry["connector"],
            fix="leave connector out",
        )
    heads = what == HEADS
    keys = HEAD_LOSS_KEYS if heads else LOSS_KEYS
    for key in set(entry) - set(keys):
        raise ConfigError(f"unknown key of {where}", value=key, fix=near(key, keys))
    for key in keys[:3]:
        if key not in entry:
            raise ConfigError(f"{where} needs a {key}", fix=f"add {where}.{key}")
    for key in keys[:2]:
        _check_taps(f"{where}.{key}", entry[key], heads=heads)
    counts = [len(as_tuple(entry[key])) for key in keys[:2]]
    if counts[0] != counts[1]:
        raise ConfigError(f"{where} needs as many student taps as teacher taps", value=counts)


def _check_taps(where: str, value: Any, *, heads: bool) -> None:
    several = isinstance(value, (list, tuple)) and not heads
    taps = as_tuple(value) if several or isinstance(value, str) else ()
    if not taps or not all(isinstance(tap, str) and tap for tap in taps):
        path = "a module path" if heads else "a module path or a list of them"
        raise ConfigError(f"{where} is {path}", value=value)


def _check_loss(where: str, config: Any) -> None:
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise ConfigError(
            f"{where}.loss names its class, as in dict(type='FourierLoss')", value=config
        )
    kind = MODELS.get(config["type"])
    if kind is None:
        raise ConfigError(
            f"unknown class in {where}.loss",
            value=config["type"],
            fix=near(config["type"], _loss_names()),
        )
    if not _is_loss(kind):
        raise ConfigError(
            f"the class in {where}.loss is a subclass of fourierkd.losses.base.MapLoss, which says "
            "what it compares",
            value=config["type"],
            fix=near(config["type"], _loss_names()),
        )
    if kind.compares == HEADS and getattr(kind, "samples", None) not in KINDS:
        raise ConfigError(
            f"the class in {where}.loss compares heads and says which samples it takes",
            value=config["type"],
            fix=f"set samples to {' or '.join(samples.__name__ for samples in KINDS)}",
        )
    known = [p for p in inspect.signature(kind).parameters if p != "self"]
    for key in set(config) - {"type", *known}:
        raise ConfigError(f"unknown key of {where}.loss", value=key, fix=near(key, known))
    weights = config.get("loss_weight", 1.0)
    for weight in weights if isinstance(weights, (list, tuple)) else [weights]:
        if not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ConfigError(
                f"{where}.loss.loss_weight must be above 0, else there is no gradient, and finite",
                value=weight,
                fix="remove the loss instead",
            )


def _loss_names() -> list[str]:
    return [name for name, kind in MODELS.module_dict.items() if _is_loss(kind)]


def pair_levels(
    name: str, term: Term, ours: dict[str, list[Level]], theirs: dict[str, list[Level]]
) -> Pairing:
    """The levels a loss compares: tap by tap, within a tap by stride.

    A tap of one level is compared with one of one level whatever the strides (the loss resizes);
    pyramids of equal strides level by level; other pyramids at the strides that both have.

    Raises:
        ConfigError: no stride in common, several levels of one stride, or the student is frozen up
            to its tap.
    """
    pairing = Pairing([], [], [], [])
    starts = [0, 0]
    for student_tap, teacher_tap in zip(term.student_taps, term.teacher_taps, strict=True):
        student, teacher = ours[student_tap], theirs[teacher_tap]
        if not any(level.requires_grad for level in student):
            raise ConfigError(
                f"model.losses.{name} gives no gradient: the student is frozen up to its tap",
                value=student_tap,
                fix="tap a later module, or lower frozen_stages",
            )
        where = f"model.losses.{name}: student {student_tap!r}, teacher {teacher_tap!r}"
        matches = _match(where, [s.stride for s in student], [t.stride for t in teacher])
        for i, j in matches:
            pairing.pairs.append((student[i], teacher[j]))
            pairing.indices.append((starts[0] + i, starts[1] + j))
            layers = layer_name(student_tap, student, i), layer_name(teacher_tap, teacher, j)
            pairing.layers.append(layers)
        sides = (("student", student_tap, student), ("teacher", teacher_tap, teacher))
        for side, (role, tap, levels) in enumerate(sides):
            kept = {match[side] for match in matches}
            pairing.left_out.extend(
                f"{role} {tap} stride {level.stride}"
                for i, level in enumerate(levels)
                if i not in kept
            )
            starts[side] += len(levels)
    return pairing


def layer_name(tap: str, levels: list[Level], index: int) -> str:
    """What a level of a tap is called: ``backbone.layer4``, or of several ``neck, stride 8``."""
    return tap if len(levels) == 1 else f"{tap}, stride {levels[index].stride}"


def _match(where: str, student: list[int], teacher: list[int]) -> list[tuple[int, int]]:
    """Positions of the levels to compare, by their strides."""
    if student == teacher or len(student) == len(teacher) == 1:
        return [(i, i) for i in range(len(student))]
    common = sorted(set(student) & set(teacher))
    if not common:
        raise ConfigError(
            f"{where}: levels are compared at equal strides, and none is in common",
            value={"student": student, "teacher": teacher},
            fix="tap other modules",
        )
    for stride in common:
        if student.count(stride) > 1 or teacher.count(stride) > 1:
            raise ConfigError(
                f"{where}: levels are compared by stride, and several are at stride {stride}",
                value={"student": student, "teacher": teacher},
                fix="tap single modules, as equal-length lists",
            )
    return [(student.index(stride), teacher.index(stride)) for stride in common]


def build_loss(
    name: str, entry: Mapping[str, Any], pairs: list[tuple[Level, Level]]
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Connectors and loss modules, one each a level.

    Raises:
        ConfigError: the connector or the loss cannot be built for these channels, or the class
            scores are those of different numbers of classes.
    """
    config = dict(entry["loss"])
    weights = config.get("loss_weight")
    if isinstance(weights, (list, tuple)) and len(weights) != len(pairs):
        raise ConfigError(
            f"model.losses.{name}.loss.loss_weight needs one weight a level",
            value=weights,
            fix=f"give {len(pairs)} weights, or one for all",
        )
    kind = MODELS.get(config.pop("type"))
    takes_channels = "in_channels" in inspect.signature(kind).parameters
    connectors, losses = nn.ModuleList(), nn.ModuleList()
    for level, (student, teacher) in enumerate(pairs):
        where = f"model.losses.{name}, level {level}"
        widths = student.channels, teacher.channels
        if kind.compares == LOGITS and student.channels != teacher.channels:
            raise ConfigError(
                f"{where}: student and teacher need class scores of the same classes",
                value=widths,
                fix="take a teacher of the student's classes, or a method that compares features",
            )
        connector = entry.get("connector", "auto")
        connectors.append(
            build_connector(connector, *widths, where=where, any_width=kind.any_width)
        )
        arguments = dict(config)
        if isinstance(weights, (list, tuple)):
            arguments["loss_weight"] = weights[level]
        if (
            takes_channels
            and arguments.setdefault("in_channels", teacher.channels) != teacher.channels
        ):
            raise ConfigError(
                f"{where}: in_channels must be the teacher's {teacher.channels}",
                value=arguments["in_channels"],
                fix="leave in_channels out",
            )
        losses.append(kind(**arguments))
    return connectors, losses


def build_head_loss(entry: Mapping[str, Any]) -> HeadLoss[Any]:
    """The one loss module of an entry that compares heads: it sums over the levels itself.

    Raises:
        ConfigError: an argument breaks a rule.
    """
    config = dict(entry["loss"])
    loss: HeadLoss[Any] = MODELS.get(config.pop("type"))(**config)
    return loss


for _loss in LOSSES:
    MODELS.register_module(module=_loss)
