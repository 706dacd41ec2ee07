"""Switches of a training: in flow the command line's flags, out flow options of the run config.

What an option does stands where its reason is: ``amp``, ``accumulation``, ``schedules.scaled_lr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fourierkd.config.schedules import scaled_lr
from fourierkd.engine.amp import AMP, check_amp
from fourierkd.errors import ConfigError


def switch_options(
    config: Mapping[str, Any],
    *,
    amp: str | None = None,
    accumulate: int | None = None,
    auto_scale_lr: bool = False,
) -> dict[str, Any]:
    """The command line's flags as dotted options of the run config.

    Args:
        config: as loaded without them.
        amp: "fp16" or "bf16".
        accumulate: iterations whose gradients are added up before a step of the optimizer.
        auto_scale_lr: scale the learning rate to the real batch size.

    Raises:
        ConfigError: a flag does not fit the config or the device.
    """
    options: dict[str, Any] = {}
    wrapper = config.get("optim_wrapper") or {}
    if amp is not None:
        if wrapper.get("type", "OptimWrapper") not in ("OptimWrapper", *AMP.values()):
            raise ConfigError(
                "--amp replaces MMEngine's OptimWrapper, and the config has another",
                value=wrapper["type"],
                fix="leave --amp out, or the config's optim_wrapper.type",
            )
        options["optim_wrapper.type"] = AMP[amp]
    if accumulate is not None:
        if accumulate < 1:
            raise ConfigError("--accumulate is a number of iterations from 1 on", value=accumulate)
        options["optim_wrapper.accumulative_counts"] = accumulate
    if auto_scale_lr:
        if not config.get("auto_scale_lr"):
            raise ConfigError(
                "--auto-scale-lr needs the batch size that the learning rate is meant for",
                fix="set auto_scale_lr=dict(base_batch_size=16) in the config",
            )
        options["auto_scale_lr.enable"] = True
    return options


def check_switches(config: Mapping[str, Any]) -> None:
    """Refuse switches of a whole config that cannot work here.

    Raises:
        ConfigError: fp16 without CUDA; learning rates that cannot be scaled; a bad number.
    """
    check_amp(config)
    scaled_lr(config)
