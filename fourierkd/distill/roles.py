"""Where a pair can be tapped: in flow two built models, out flow module paths by role.

One black image goes through each model. The last map of a backbone, a neck's maps and class scores
are found by what modules give, not by their names; two heads are a pair where a loss of heads says
so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from fourierkd.distill.head_samples import LOSS_OF_A_LEVEL
from fourierkd.distill.heads import pair_heads
from fourierkd.distill.taps import Level, Taps, probe, see_black
from fourierkd.errors import ConfigError
from fourierkd.losses.samples import BoxSamples

ROLES = ("student", "teacher")
SCORES = "conv_seg"  # the last layer of MMSegmentation's heads
NO_STAGE = "the last map of its backbone comes from no module of its own"


class Roles(NamedTuple):
    """Of a pair.

    Attributes:
        taps: role -> (student's, teacher's module path).
        strides: role -> (student's, teacher's strides), of roles that give maps.
        said: what is not as one may expect, a sentence each.
    """

    taps: dict[str, tuple[str, str]]
    strides: dict[str, tuple[list[int], list[int]]]
    said: list[str]


def find_roles(student: nn.Module, teacher: nn.Module) -> Roles:
    """Feature and class scores of two segmentors; pyramid, or else feature, and head of detectors.

    Raises:
        ConfigError: the pair has no role in common, or a model cannot see a black image.
    """
    models = (student, teacher)
    roles = Roles({}, {}, [])
    if all(hasattr(model, "decode_head") for model in models):
        _add_feature(roles, models)
        _add_scores(roles, models)
    else:
        if all(getattr(model, "with_neck", False) for model in models):
            _add(roles, "pyramid", models, ("neck", "neck"))
        if not roles.taps:
            _add_feature(roles, models)
        _add_head(roles, models)
    if not roles.taps:
        raise ConfigError(
            "a pair needs a place where both models can be tapped",
            value="; ".join(roles.said),
            fix="write the pair by hand: docs/extending.md",
        )
    return roles


def _add_feature(roles: Roles, models: tuple[nn.Module, nn.Module]) -> None:
    paths = []
    for role, model in zip(ROLES, models, strict=True):
        path, said = last_feature(model, role)
        roles.said.extend(said)
        paths.append(path)
    _add(roles, "feature", models, (paths[0], paths[1]))


def _add_scores(roles: Roles, models: tuple[nn.Module, nn.Module]) -> None:
    paths = [_last_path(model, SCORES) for model in models]
    if paths[0] is None or paths[1] is None:
        roles.said.append(f"logits left out: a head without {SCORES}")
        return
    counts = [
        model.get_submodule(str(path)).out_channels
        for model, path in zip(models, paths, strict=True)
    ]
    if counts[0] != counts[1]:
        roles.said.append(
            f"logits left out: class scores of {counts[0]} and, of the teacher, {counts[1]} classes"
        )
        return
    _add(roles, "logits", models, (paths[0], paths[1]))


def _add(
    roles: Roles, role: str, models: tuple[nn.Module, nn.Module], paths: tuple[str, str]
) -> None:
    """The role, where both models give maps that can be compared."""
    try:
        levels = [_levels(m, p, r) for m, p, r in zip(models, paths, ROLES, strict=True)]
    except ConfigError as error:
        roles.said.append(f"{role} left out: {error}")
        return
    ours, theirs = ([level.stride for level in side] for side in levels)
    single = len(ours) == len(theirs) == 1
    if not single and not set(ours) & set(theirs):
        roles.said.append(f"{role} left out: strides {ours} and {theirs} have none in common")
        return
    roles.taps[role], roles.strides[role] = paths, (ours, theirs)
    if single and ours != theirs:
        roles.said.append(
            f"{role}: stride {ours[0]} and, of the teacher, {theirs[0]}; the loss resizes"
        )
    elif ours != theirs:
        common = sorted(set(ours) & set(theirs))
        roles.said.append(
            f"{role}: strides {ours} and, of the teacher, {theirs}; compared at {common}"
        )


def _add_head(roles: Roles, models: tuple[nn.Module, nn.Module]) -> None:
    """Heads whose boxes a loss can compare: of one family, with equal classes and anchors."""
    reasons = []
    for path in _heads(models[0]):
        for other in _heads(models[1]):
            try:
                pair_heads("IoUAwareLoss", BoxSamples, *models, (path, other))
            except ConfigError as error:
                reasons.append(f"{error.rule}, got {error.value}")
                continue
            roles.taps["head"] = (path, other)
            return
    roles.said.append(
        f"head left out: {reasons[0] if reasons else 'no head that IoUAwareLoss knows'}"
    )


def _heads(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if name and "." not in name and hasattr(module, LOSS_OF_A_LEVEL):
            yield name


def last_feature(model: nn.Module, role: str) -> tuple[str, list[str]]:
    """The module that gives the backbone's last map; else, of a segmentor, the one that gives what
    the class scores are made of.

    Returns:
        Its path, and what is not as one may expect.

    Raises:
        ConfigError: no module gives either.
    """
    calls = _observe(model)
    outputs = calls.get("backbone", [])
    found = [p for p in _givers(model, calls, outputs[-1:]) if p.startswith("backbone.")]
    if len(outputs) == 1:
        found.append("backbone")
    for path in found:
        if _fits(model, path, role):
            return path, []
    scores = _last_path(model, SCORES)
    if scores is not None:
        head = scores.rpartition(".")[0]
        given: list[Tensor] = []

        def note(_: nn.Module, inputs: Any) -> None:
            given.extend(inputs)

        handle = model.get_submodule(scores).register_forward_pre_hook(note)
        try:
            calls = _observe(model)
        finally:
            handle.remove()
        for path in _givers(model, calls, given[-1:]):
            if path.startswith(f"{head}.") and _fits(model, path, role):
                return path, [f"feature of the {role} is {path}: {NO_STAGE}"]
    raise ConfigError(
        f"the {role} has a module that gives the last map of its backbone",
        value=type(getattr(model, "backbone", model)).__name__,
        fix="write the pair by hand: docs/extending.md",
    )


def _observe(model: nn.Module) -> dict[str, list[Tensor]]:
    """Module path -> the maps (N, C, H, W) that it gives for a black image, of its last call."""
    seen: dict[str, list[Tensor]] = {}

    def recorder(path: str) -> Any:
        def record(_: nn.Module, __: Any, output: Any) -> None:
            parts = output if isinstance(output, (list, tuple)) else [output]
            if all(isinstance(part, Tensor) and part.ndim == 4 for part in parts):
                seen[path] = list(parts)

        return record

    with ExitStack() as stack:
        for path, module in model.named_modules():
            if path:
                stack.callback(module.register_forward_hook(recorder(path)).remove)
        see_black(model)
    return seen


def _givers(model: nn.Module, calls: dict[str, list[Tensor]], wanted: list[Tensor]) -> list[str]:
    """Modules that give one map, the wanted one, the outermost first."""
    same = [
        path
        for path, maps in calls.items()
        if len(maps) == 1
        and wanted
        and maps[0].data_ptr() == wanted[0].data_ptr()
        and maps[0].shape == wanted[0].shape
        and "Drop" not in type(model.get_submodule(path)).__name__
    ]
    return sorted(same, key=lambda path: path.count("."))


def _fits(model: nn.Module, path: str, role: str) -> bool:
    """Whether a tap there gives one map, which a student's gradient can enter."""
    try:
        levels = _levels(model, path, role)
    except ConfigError:
        return False
    return len(levels) == 1 and (levels[0].requires_grad or role == "teacher")


def _levels(model: nn.Module, path: str, role: str) -> list[Level]:
    return probe(model, Taps(model, [path], role=role))[path]


def _last_path(model: nn.Module, name: str) -> str | None:
    """The last module of this name in the decode head, of a cascade in its last stage."""
    paths = [p for p, _ in model.named_modules() if p.startswith("decode_head")]
    found = [path for path in paths if path.rpartition(".")[2] == name]
    return found[-1] if found else None
