"""Schedules against the length of a training: in flow a run config, out flow refusals and warnings.

Each of these trains without a word at another learning rate than was meant, or ends in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fourierkd.errors import ConfigError

ONE_CYCLE = ("OneCycleLR", "OneCycleParamScheduler")
WARM_UPS = ("LinearLR", "ConstantLR", "ExponentialLR", "QuadraticWarmupLR")


def check_schedules(config: Mapping[str, Any], *, in_study: bool = False) -> list[str]:
    """What of a whole config's schedules is probably not meant, a sentence each.

    Args:
        config: with ``train_cfg`` and ``optim_wrapper``.
        in_study: refuse an ``optimizer.lr`` that nothing reads: a study that tunes it searches a
            flat function.

    Raises:
        ConfigError: one cycle that ends before the training.
    """
    unit, length = _length(config["train_cfg"])
    said: list[str] = []
    for schedule in schedules_of(config.get("param_scheduler")):
        kind, by = str(schedule.get("type")), _unit(schedule)
        if kind in ONE_CYCLE:
            _check_total(kind, schedule, length if by == unit else None)
        if kind == "OneCycleLR":
            said += _unread_rate(kind, schedule, config, refuse=in_study)
        if by == "epoch" and unit == "iter":
            said.append(
                f"{kind} goes by epochs and the training by iterations, so it does nothing: "
                "set by_epoch=False"
            )
        elif by == unit and length is not None:
            said += _not_ended(kind, schedule, unit, length)
    return said


def _check_total(kind: str, schedule: Mapping[str, Any], length: int | None) -> None:
    total, start = schedule.get("total_steps"), schedule.get("pct_start", 0.3)
    if isinstance(total, int) and isinstance(start, int | float) and start * total == 1:
        raise ConfigError(
            f"{kind} divides by zero where pct_start * total_steps is 1",
            value=f"total_steps={total}",
            fix="set param_scheduler's pct_start a little higher",
        )
    if length is not None and isinstance(total, int) and total < length:
        raise ConfigError(
            f"{kind} has no learning rate after its total_steps={total}",
            value=f"a training of {length}",
            fix=f"set param_scheduler's total_steps to {length} too",
        )


def _unread_rate(
    kind: str, schedule: Mapping[str, Any], config: Mapping[str, Any], *, refuse: bool
) -> Iterator[str]:
    """A learning rate of the optimizer that the cycle overrides."""
    rate = (config["optim_wrapper"].get("optimizer") or {}).get("lr")
    peak = schedule.get("eta_max")
    if not isinstance(rate, int | float) or not isinstance(peak, int | float):
        return
    if math.isclose(rate, peak):
        return
    rule = f"{kind} goes by its eta_max={peak:g} and does not use optim_wrapper.optimizer.lr"
    if refuse:
        raise ConfigError(rule, value=rate, fix="tune eta_max, or set both to the same value")
    yield f"{rule}={rate:g}"


def _not_ended(kind: str, schedule: Mapping[str, Any], unit: str, length: int) -> Iterator[str]:
    """A schedule that the training leaves unfinished."""
    end = schedule.get("total_steps" if kind in ONE_CYCLE else "end")
    if not isinstance(end, int) or end <= length:
        return
    begins = not schedule.get("begin")
    what = "the warm-up" if begins and kind in WARM_UPS else kind
    yield f"{what} ends at {unit} {end}, after the training's end at {length}"


def _length(loop: Mapping[str, Any]) -> tuple[str, int | None]:
    """Unit and length of the training."""
    for unit in ("iter", "epoch"):
        count = loop.get(f"max_{unit}s")
        if count is not None:
            return unit, count
    return "iter", None


def _unit(schedule: Mapping[str, Any]) -> str:
    if schedule.get("convert_to_iter_based"):
        return "converted"  # its numbers become iterations when the data are known
    return "epoch" if schedule.get("by_epoch", True) else "iter"


def schedules_of(given: Any) -> Iterator[Mapping[str, Any]]:
    """The schedules of a config, which has one, a list, or lists by optimizer."""
    if isinstance(given, Mapping) and "type" in given:
        yield given
    elif isinstance(given, Mapping):
        for part in given.values():
            yield from schedules_of(part)
    elif isinstance(given, list | tuple):
        for part in given:
            yield from schedules_of(part)
