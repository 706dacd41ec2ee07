"""Connectors: in flows a student's map, out flows the map at the teacher's width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fourierkd.distill.registry import MODELS, SCOPE
from fourierkd.errors import ConfigError, near
from fourierkd.losses.base import DistillationLoss


def build_connector(
    spec: str | Mapping[str, Any] | None,
    student: int,
    teacher: int,
    *,
    where: str,
    any_width: bool = False,
) -> nn.Module:
    """The module between a student's tap and the loss.

    Args:
        spec: "auto" for a 1x1 convolution where the widths differ and nothing where they are
            equal; None for nothing; or a dict with ``type="conv1x1"`` or the name of a registered
            module (``ConvModule``), whose ``in_channels``, ``out_channels`` and ``kernel_size=1``
            are filled in; a name alone is such a dict.
        student: channels of the student's map.
        teacher: channels of the teacher's map.
        where: loss and level, for messages.
        any_width: the loss takes unequal widths, so "auto" and None are nothing whatever they are.

    Raises:
        ConfigError: the widths differ with ``spec=None``, or the module does not give the
            teacher's width.
    """
    as_they_are = any_width or student == teacher
    if spec is None and not as_they_are:
        raise ConfigError(
            f"{where}: without a connector student and teacher need equal channels",
            value=(student, teacher),
            fix="use connector='auto'",
        )
    if as_they_are and spec in (None, "auto"):
        return nn.Identity()
    if spec == "auto":
        return nn.Conv2d(student, teacher, 1)
    named = {"type": spec} if isinstance(spec, str) else spec
    if not isinstance(named, Mapping) or "type" not in named:
        raise ConfigError(f"{where}: a connector is 'auto', None or dict(type=...)", value=spec)
    config = dict(named)
    if config["type"] == "conv1x1":
        for key in set(config) - {"type", "bias"}:
            raise ConfigError(
                f"{where}: unknown key of conv1x1", value=key, fix=near(key, ["bias"])
            )
        return nn.Conv2d(student, teacher, 1, bias=config.get("bias", True))
    if isinstance(config["type"], str) and MODELS.get(config["type"]) is None:
        raise ConfigError(
            f"{where}: a connector is 'auto', None, conv1x1 or a registered module",
            value=config["type"],
            fix=near(config["type"], ["auto", "conv1x1", "ConvModule"]),
        )
    config = {"in_channels": student, "out_channels": teacher, "kernel_size": 1, **config}
    config.setdefault("_scope_", SCOPE)
    try:
        module: nn.Module = MODELS.build(config).eval()
        with torch.no_grad():
            channels = module(torch.zeros(1, student, 8, 8)).shape[1]
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{where}: the connector cannot be built or run ({error})") from error
    if channels != teacher:
        raise ConfigError(
            f"{where}: the connector must give the teacher's {teacher} channels",
            value=channels,
            fix="leave out out_channels",
        )
    return module.train()


def in_words(layers: tuple[str, str], connector: nn.Module) -> str:
    """What a level compares: ``student layer4 after 1x1 convolution, teacher layer4``."""
    student, teacher = layers
    step = f" after {type(connector).__name__}"
    if isinstance(connector, nn.Identity):
        step = ""
    elif type(connector) is nn.Conv2d and connector.kernel_size == (1, 1):
        step = " after 1x1 convolution"
    return f"student {student}{step}, teacher {teacher}"


def composes(loss: DistillationLoss, connector: nn.Module) -> bool:
    """Whether ``loss`` can take its first convolution and ``connector`` together, as one."""
    return (
        loss.composes
        and type(connector) is nn.Conv2d
        and connector.kernel_size == connector.stride == (1, 1)
        and connector.padding == (0, 0)
        and connector.groups == 1
    )
