"""``student_norm``: in flow a student's config and a norm_cfg, out flows one without BatchNorm."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from fourierkd.errors import ConfigError

BatchNorm = nn.modules.batchnorm._BatchNorm  # of any dimension, SyncBN included


def with_student_norm(model: dict[str, Any], norm: Mapping[str, Any]) -> dict[str, Any]:
    """``model`` with every ``norm_cfg`` that asks for a BatchNorm replaced by ``norm``.

    In the config, not in the built model, so that plain mmdet and mmseg build the exported student
    with the same layers.

    Args:
        model: a resolved student.
        norm: such as ``dict(type="GN", num_groups=32)``.

    Raises:
        ConfigError: ``norm`` names no type, or there is nothing to replace.
    """
    if not isinstance(norm, Mapping) or not isinstance(norm.get("type"), str):
        raise ConfigError(
            "student_norm is a norm_cfg", value=norm, fix="e.g. dict(type='GN', num_groups=32)"
        )
    replaced = copy.deepcopy(model)
    if not _replace_norms(replaced, dict(norm)):
        raise ConfigError(
            "student_norm replaces the norm_cfg of the student, and it has none with BN",
            fix="set norm_cfg where the student's config takes one",
        )
    return replaced


def _replace_norms(node: Any, norm: dict[str, Any]) -> int:
    count = 0
    if isinstance(node, dict):
        for key, value in node.items():
            kind = value.get("type") if isinstance(value, dict) else None
            # its own type too: a saved config has been through this
            if (
                key == "norm_cfg"
                and isinstance(kind, str)
                and ("BN" in kind or kind == norm["type"])
            ):
                node[key] = dict(norm)
                count += 1
            else:
                count += _replace_norms(value, norm)
    elif isinstance(node, list | tuple):
        count += sum(_replace_norms(item, norm) for item in node)
    return count


def check_student_norm(model: Any, config: Mapping[str, Any]) -> None:
    """Refuse a student that kept BatchNorm where the config replaces it.

    Raises:
        ConfigError: some parts take BatchNorm by default, not by their config.
    """
    if config.get("student_norm") is None or not hasattr(model, "student"):
        return
    left = [name for name, m in model.student.named_modules() if isinstance(m, BatchNorm)]
    if left:
        raise ConfigError(
            f"student_norm leaves {len(left)} BatchNorm layers that no norm_cfg asks for",
            value=", ".join(left[:3]),
            fix="set the norm_cfg of that part in the student's overrides",
        )
