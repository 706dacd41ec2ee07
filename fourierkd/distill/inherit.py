"""Inheritance: in flow a student and a trained teacher, out flows a student that starts from parts
of the teacher.

The official configs whose student is called ``..._st`` seem to mean this (they were not
published); MGD (Yang et al., ECCV 2022) starts a student's neck and head from the teacher's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.errors import ConfigError, near


class Inherited(NamedTuple):
    """What one module takes over: keys of its state dict, and why others stay as they are."""

    copied: list[str]
    skipped: dict[str, str]


def check_inherit(inherit: Any, *, teacher: bool) -> None:
    """Refuse what is wrong with ``model.inherit`` before any model is built.

    Raises:
        ConfigError: it is no list of paths, or there is no teacher to inherit from.
    """
    if not isinstance(inherit, list | tuple) or not all(isinstance(p, str) for p in inherit):
        raise ConfigError("model.inherit is a list of module paths", value=inherit)
    if inherit and not teacher:
        raise ConfigError("model.inherit needs a teacher", value=inherit, fix="set it to ()")


def match_modules(
    student: nn.Module, teacher: nn.Module, modules: Sequence[str]
) -> dict[str, Inherited]:
    """Which tensors of ``modules`` have the same name and shape in the teacher.

    Args:
        modules: paths that both models have, such as ``("neck", "bbox_head")``.

    Raises:
        ConfigError: an unknown path (near ones are listed), or a module of which nothing matches.
    """
    if isinstance(modules, str) or not all(isinstance(m, str) and m for m in modules):
        raise ConfigError("model.inherit is a list of module paths", value=modules)
    matches = {}
    for path in modules:
        parts = []
        for role, model in (("student", student), ("teacher", teacher)):
            names = [name for name, _ in model.named_modules() if name]
            if path not in names:
                top = [name for name in names if name.count(".") <= path.count(".")]
                raise ConfigError(
                    f"model.inherit: the {role} has no such module", value=path, fix=near(path, top)
                )
            parts.append(model.get_submodule(path).state_dict())
        ours, theirs = parts
        copied, skipped = [], {}
        for key, value in ours.items():
            if key not in theirs:
                skipped[key] = "not in the teacher"
            elif value.shape != theirs[key].shape:
                here, there = tuple(value.shape), tuple(theirs[key].shape)
                skipped[key] = f"{here} in the student, {there} in the teacher"
            else:
                copied.append(key)
        if not copied:
            raise ConfigError(
                f"model.inherit: nothing in {path!r} has the teacher's names and shapes",
                value=dict(list(skipped.items())[:2]),
                fix="leave it out",
            )
        matches[path] = Inherited(copied, skipped)
    return matches


@torch.no_grad()
def copy_modules(
    student: nn.Module, teacher: nn.Module, matches: dict[str, Inherited]
) -> dict[str, dict[str, Any]]:
    """Copy what ``match_modules`` found from the teacher into the student.

    Returns:
        module path -> ``tensors`` and ``values`` copied, ``skipped`` (key -> reason).
    """
    report: dict[str, dict[str, Any]] = {}
    for path, match in matches.items():
        ours: dict[str, Tensor] = student.get_submodule(path).state_dict()
        theirs: dict[str, Tensor] = teacher.get_submodule(path).state_dict()
        for key in match.copied:
            ours[key].copy_(theirs[key])  # a state dict shares the module's storage
        report[path] = {
            "tensors": len(match.copied),
            "values": sum(ours[key].numel() for key in match.copied),
            "skipped": match.skipped,
        }
    return report


def inherited_lines(report: dict[str, dict[str, Any]]) -> list[str]:
    """One line a module, for the log."""
    lines = []
    for path, part in report.items():
        line = f"inherited {path}: {part['tensors']} tensors, {part['values']} values"
        if part["skipped"]:
            reasons = "; ".join(f"{key}: {why}" for key, why in part["skipped"].items())
            line += f"; {len(part['skipped'])} not: {reasons}"
        lines.append(line)
    return lines
