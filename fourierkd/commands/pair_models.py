"""The two models of a new pair: in flow config names, out flow what of them agrees and is changed.

Each is built without pretrained weights; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.model import BaseModel

from fourierkd.distill.checkpoint import read_checkpoint
from fourierkd.distill.config_files import read_file
from fourierkd.distill.fetch import is_address
from fourierkd.distill.model_config import build_model, resolve_model
from fourierkd.distill.pretrained import set_pretrained
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.taps import isolated_random_state
from fourierkd.distill.teacher import load_strictly, pixel_statistics
from fourierkd.engine.class_counts import class_number, heads_of
from fourierkd.errors import CheckpointError, ConfigError

DETECTION, SEGMENTATION = "detection", "segmentation"
_WEIGHTS = "class_weight"  # of a loss: a number a class


@dataclass
class Side:
    """A student or a teacher.

    Attributes:
        role: "student" or "teacher".
        name: of its config: a path, or ``mmdet::name``.
        config: what that file holds, in plain dicts.
        overrides: dotted key of its model -> value.
    """

    role: str
    name: str
    config: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> str | dict[str, Any]:
        """The model as a run config names it."""
        if not self.overrides:
            return self.name
        return {"config": self.name, "overrides": dict(self.overrides)}

    @property
    def scope(self) -> str:
        """The package that the model is of."""
        return str(resolve_model(self.name)["_scope_"])

    def build(self) -> BaseModel:
        """The model, with random weights."""
        with (
            isolated_random_state(),
            told_in_one_line(f"the {self.role} must be built", fix="correct its config"),
        ):
            return build_model(set_pretrained(resolve_model(self.spec), False), role=self.role)


def read_side(role: str, name: str) -> Side:
    """Read a config of MMDetection or MMSegmentation.

    Raises:
        ConfigError: there is no such file, or it has no model of its own.
    """
    config = read_file(name)
    model = config.get("model")
    if isinstance(model, Mapping) and str(model.get("type")).rpartition(".")[2] == "Distiller":
        raise ConfigError(
            f"--{role} is a config of MMDetection or MMSegmentation, not of a run",
            value=name,
            fix="give the config that its model.student names",
        )
    side = Side(role, name, config)
    resolve_model(name)
    return side


def task_of(model: BaseModel, role: str) -> str:
    """What a model is trained for.

    Raises:
        ConfigError: it is neither a detector nor a segmentor.
    """
    kinds = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(model).__mro__}
    if "mmdet.BaseDetector" in kinds:
        return DETECTION
    if "mmseg.BaseSegmentor" in kinds:
        return SEGMENTATION
    raise ConfigError(
        f"the {role} is a detector of MMDetection or a segmentor of MMSegmentation",
        value=type(model).__name__,
        fix="name another config",
    )


def set_classes(side: Side, count: int) -> None:
    """Override the number of classes in every head that has another.

    Raises:
        ConfigError: no head says its number, or one has outputs or weights of classes that another
            number gives no meaning to.
    """
    model, known = resolve_model(side.name), 0
    for name, head in heads_of(model):
        own = class_number(head, str(model["_scope_"]))
        if own is None:  # a head of heads, or of points
            continue
        known += 1
        if own == count:
            continue
        if head.get("out_channels") not in (None, own):
            raise ConfigError(
                f"the {side.role}'s {name} has another number of outputs than classes, so the "
                f"data's {count} classes cannot be set",
                value=head["out_channels"],
                fix="set num_classes and out_channels in a config of your own and name that",
            )
        side.overrides[f"{name}.num_classes"] = count
        for key, weights in _class_weights(head, name):
            side.overrides[key] = _other_weights(side, key, weights, own, count)
    if not known:
        raise ConfigError(
            f"a head of the {side.role} says its number of classes",
            value=model["type"],
            fix="set num_classes in a config of your own and name that",
        )


def _class_weights(node: Any, path: str) -> Iterator[tuple[str, list[float]]]:
    if isinstance(node, (list, tuple)):
        node = {str(i): part for i, part in enumerate(node)}
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if key == _WEIGHTS and isinstance(value, (list, tuple)):
            yield f"{path}.{key}", list(value)
        else:
            yield from _class_weights(value, f"{path}.{key}")


def _other_weights(side: Side, key: str, weights: list[float], old: int, count: int) -> list[float]:
    """Weights of another number of classes, where all classes have one; "no object" is the last."""
    classes, rest = weights[:old], weights[old:]
    if len(set(classes)) != 1:
        raise ConfigError(
            f"{key} of the {side.role} weighs {old} classes, and the data have {count}",
            value=f"{len(set(classes))} different weights",
            fix="set it in a config of your own and name that",
        )
    return classes[:1] * count + rest


def ready_teacher_side(side: Side, checkpoint: str, count: int) -> tuple[BaseModel, str]:
    """The teacher as its checkpoint has it, and what was found.

    Its classes are the data's, or those of its own config: then its class scores are not compared.

    Raises:
        CheckpointError: the file is missing, unsafe, or of another architecture.
    """
    if is_address(checkpoint):
        return side.build(), "an address: nothing is downloaded here, so it was not looked at"
    read = read_checkpoint(checkpoint)
    plain = Side(side.role, side.name, side.config)
    set_classes(side, count)
    model = side.build()
    try:
        load_strictly(model, read)
        return model, "fits the teacher"
    except CheckpointError as error:
        first = error
    if not side.overrides:
        raise first
    model = plain.build()
    try:
        load_strictly(model, read)
    except CheckpointError:
        raise first from None
    side.overrides.clear()
    return model, f"fits the teacher with the classes of its own config, not the data's {count}"


def check_same_pixels(student: BaseModel, teacher: BaseModel, *, trained: bool) -> str:
    """Refuse a teacher that would see pixels of another scale or channel order than it learned.

    Args:
        student: its preprocessor makes the input of both.
        teacher: with its own.
        trained: whether there is a checkpoint, which fixes its input.

    Returns:
        The input of both in words.

    Raises:
        ConfigError: mean, std or the channel order differ.
    """
    ours, theirs = (pixel_statistics(model.data_preprocessor) for model in (student, teacher))
    for key, value in theirs.items():
        if ours[key] != value:
            which = "the student's" if trained else "both"
            raise ConfigError(
                "student and teacher see the same pixels, or the teacher's maps are wrong: its "
                f"data_preprocessor has {key}={value}",
                value=ours[key],
                fix=f"set {key} in {which} data_preprocessor, in a config of your own, or take "
                "another teacher",
            )
    order = "BGR turned to RGB" if ours["bgr_to_rgb"] else "channels as loaded (BGR)"
    if ours["mean"] is None:
        return f"pixels as they are, {order}"
    return f"mean {ours['mean']}, std {ours['std']}, {order}"
