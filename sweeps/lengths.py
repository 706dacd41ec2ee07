"""A training of another length: in flows what of a run config counts iterations, out flow options.

The loop, its validations, every schedule of the learning rate and the warm-ups of losses are scaled
together: nothing is cut off, and there are as many validations as before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fourierkd.errors import ConfigError
from fourierkd.records import Json, Options

VAL_INTERVAL = 1000  # of MMEngine's loop, where a config names none
# Keys of a schedule that count iterations, and the schedules of which these are all.
COUNTS = ("begin", "end", "total_steps", "T_max", "step_size", "milestones", "periods")
SCALED = (
    "Constant",
    "CosineAnnealing",
    "CosineRestart",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Poly",
    "QuadraticWarmup",
    "Step",
)


def length(schedule: Json) -> int:
    """Iterations of the training.

    Args:
        schedule: ``train_cfg``, ``param_scheduler`` and ``warmups`` (loss -> iterations) of a
            resolved config.

    Raises:
        ConfigError: it cannot be scaled: it goes by epochs, or by a schedule whose numbers are no
            lengths alone.
    """
    iterations = schedule["train_cfg"].get("max_iters")
    if not isinstance(iterations, int):
        raise ConfigError(
            "--budget scales trainings by iterations: a whole number of epochs hits no budget",
            value={"max_epochs": schedule["train_cfg"].get("max_epochs")},
            fix="train by iterations (train_cfg.max_iters and an InfiniteSampler)",
        )
    for key, own in _schedules(schedule.get("param_scheduler"), "param_scheduler"):
        if own.get("by_epoch", True) or own.get("convert_to_iter_based"):
            raise ConfigError(
                f"--budget scales schedules by iterations, and {key} goes by epochs",
                value=own["type"],
                fix="set its by_epoch=False, its numbers in iterations",
            )
        kind = re.sub(r"(LR|Momentum|ParamScheduler)$", "", own["type"].rpartition(".")[2])
        if kind not in SCALED:
            raise ConfigError(
                f"--budget cannot scale {key}: other numbers than lengths make it",
                value=own["type"],
                fix=f"take one of {', '.join(SCALED)}",
            )
    return iterations


def scaled(schedule: Json, iterations: int) -> Options:
    """Dotted options with which all of a training takes ``iterations``; none where it does so.

    Raises:
        ConfigError: as ``length``.

    Example:
        >>> loop = {"train_cfg": {"max_iters": 100, "val_interval": 30}}
        >>> scaled(loop, 50)
        {'train_cfg.max_iters': 50, 'train_cfg.val_interval': 13}
    """
    whole, loop = length(schedule), schedule["train_cfg"]
    if iterations == whole:
        return {}
    share = iterations / whole

    def at(value: Any) -> Any:
        if isinstance(value, list):
            return [at(part) for part in value]
        return max(min(value, 1), round(value * share)) if isinstance(value, int) else value

    validations = math.ceil(whole / loop.get("val_interval", VAL_INTERVAL))
    options: Options = {
        "train_cfg.max_iters": iterations,
        "train_cfg.val_interval": math.ceil(iterations / validations),
    }
    for key in ("val_begin", "dynamic_intervals"):
        if loop.get(key):
            options[f"train_cfg.{key}"] = at(loop[key])
    for key, own in _schedules(schedule.get("param_scheduler"), "param_scheduler"):
        options |= {f"{key}.{name}": at(own[name]) for name in COUNTS if own.get(name) is not None}
    warmups = schedule.get("warmups") or {}
    return options | {
        f"model.losses.{loss}.warmup_iters": at(count) for loss, count in warmups.items() if count
    }


def _schedules(given: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted key and values of each schedule: a config has one, a list, or lists by optimizer."""
    if isinstance(given, Mapping) and "type" in given:
        yield key, given
    elif isinstance(given, Mapping | list):
        for name, part in given.items() if isinstance(given, Mapping) else enumerate(given):
            yield from _schedules(part, f"{key}.{name}")
