"""Schedules against the length of a training: in flow a run config, out flow refusals and warnings.

Each of these trains without a word at another learning rate than was meant, or ends in the middle.
A schedule is gone through as a whole beforehand (two of 80 000 iterations: 0.2 s). And the learning
rate that a batch of another size wants (``auto_scale_lr``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import PARAM_SCHEDULERS

from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.register import register_all
from fourierkd.distill.registry import OPTIMIZERS, TASK_SCOPES
from fourierkd.errors import ConfigError

ONE_CYCLE = ("OneCycleLR", "OneCycleParamScheduler")
WARM_UPS = ("LinearLR", "ConstantLR", "ExponentialLR", "QuadraticWarmupLR")
ROUNDING = 1e-9
TO_AN_END = ("LinearLR", "PolyLR", "CosineAnnealingLR", "QuadraticWarmupLR")  # 1e9 by default


def check_schedules(config: Mapping[str, Any], *, in_study: bool = False) -> list[str]:
    """What of a whole config's schedules is probably not meant, a sentence each.

    Args:
        config: with ``train_cfg`` and ``optim_wrapper``.
        in_study: refuse an ``optimizer.lr`` that nothing reads: a study that tunes it searches a
            flat function.

    Raises:
        ConfigError: one cycle that ends before the training, a schedule that cannot be built or
            gone through, a learning rate below 0 or without bound.
    """
    unit, length = _length(config["train_cfg"])
    said: list[str] = []
    for schedule in schedules_of(config.get("param_scheduler")):
        kind, by = str(schedule.get("type")).rpartition(".")[2], _unit(schedule)
        if kind in ONE_CYCLE:
            whole = by == "converted" and unit == "epoch"  # its total grows with the training's
            _check_total(kind, schedule, length if by == unit or whole else None)
        if kind == "OneCycleLR":
            said += _unread_rate(kind, schedule, config, refuse=in_study)
        if by == "epoch" and unit == "iter":
            said.append(
                f"{kind} goes by epochs and the training by iterations, so it does nothing: "
                "set by_epoch=False"
            )
        elif by == unit and length is not None:
            said += _not_ended(kind, schedule, unit, length)
    _go_through(config, unit, length or 0)
    return said


def check_iterations(config: Mapping[str, Any], iterations: int) -> list[str]:
    """As ``check_schedules``, of the schedules by iterations in a training by epochs.

    Args:
        config: as there.
        iterations: of the whole training, which its data say.
    """
    if "max_epochs" not in config["train_cfg"]:
        return []
    schedules = [s for s in schedules_of(config.get("param_scheduler")) if _unit(s) == "iter"]
    in_iterations = {"train_cfg": {"max_iters": iterations}, "param_scheduler": schedules}
    return check_schedules({**config, **in_iterations})


def _check_total(kind: str, schedule: Mapping[str, Any], length: int | None) -> None:
    total = schedule.get("total_steps")
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
    if "end" not in schedule and "T_max" not in schedule and kind in TO_AN_END:
        yield f"{kind} has no end, so it hardly begins: set its end to {length}"
    if not isinstance(end, int) or end <= length:
        return
    begins = not schedule.get("begin")
    what = "the warm-up" if begins and kind in WARM_UPS else kind
    yield f"{what} ends at {unit} {end}, after the training's end at {length}"


def _go_through(config: Mapping[str, Any], unit: str, length: int) -> None:
    """The whole training of one parameter (a group, where a cycle has a peak for each) in place of
    the model.

    Raises:
        ConfigError: a schedule refuses its values, at its beginning or at a later step, or gives a
            learning rate that is none.
    """
    given = config["optim_wrapper"].get("optimizer")
    schedules = list(schedules_of(config.get("param_scheduler")))
    if given is None or not schedules:
        return  # a constructor makes the optimizers
    register_all(set(TASK_SCOPES) & {str(s["type"]).partition(".")[0] for s in [given, *schedules]})
    peaks = [s["eta_max"] for s in schedules if isinstance(s.get("eta_max"), list | tuple)]
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in max(peaks, key=len, default=[0])
    ]
    try:
        optimizer = OPTIMIZERS.build({**given, "params": groups})
    except Exception:
        return  # it may want the model's own parameters; what is wrong with it, it says for those
    going = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer takes no step
        for schedule in schedules:
            if _unit(schedule) == "converted":
                continue  # how many iterations it has, the data tell
            with _usable(schedule):
                built = PARAM_SCHEDULERS.build(schedule, default_args={"optimizer": optimizer})
            if _unit(schedule) == unit and not getattr(built, "need_val_args", False):
                going.append((schedule, built))
        for step in range(length if going else 0):
            for schedule, built in going:
                with _usable(schedule):
                    built.step()
            rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
            if any(not math.isfinite(rate) or rate < -ROUNDING for rate in rates):
                raise ConfigError(
                    f"a learning rate is a number from 0 on, also at {unit} {step + 1}",
                    value=rates[0],
                    fix=f"correct {' or '.join(str(s['type']) for s, _ in going)}",
                )


def _usable(schedule: Mapping[str, Any]) -> AbstractContextManager[None]:
    rule = "param_scheduler has values that its class can use"
    return told_in_one_line(rule, value=dict(schedule), fix="correct them")


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


def scaled_lr(config: Mapping[str, Any]) -> tuple[float, float, int] | None:
    """Old and new learning rate and the real batch size; None where none is scaled.

    As MMEngine scales: lr * (ranks * batch of a rank) / base_batch_size, for every parameter group.
    Accumulated iterations do not count, as in MMEngine.

    Raises:
        ConfigError: no base batch size, or a schedule that sets the learning rate itself.
    """
    scale = config.get("auto_scale_lr") or {}
    if not scale.get("enable"):
        return None
    base = scale.get("base_batch_size")
    if not isinstance(base, int) or base < 1:
        raise ConfigError(
            "auto_scale_lr needs base_batch_size, the batch size that the lr is meant for",
            value=base,
            fix="set auto_scale_lr=dict(base_batch_size=16) in the config",
        )
    optimizer = config["optim_wrapper"].get("optimizer") or {}
    for name, value in (
        ("train_dataloader.batch_size", config["train_dataloader"].get("batch_size")),
        ("optim_wrapper.optimizer.lr", optimizer.get("lr")),
    ):
        if value is None:
            raise ConfigError(f"auto_scale_lr needs {name}", fix="set it, or leave scaling out")
    batch = get_world_size() * config["train_dataloader"]["batch_size"]
    for scheduler in schedules_of(config.get("param_scheduler")):
        if scheduler.get("type") in ONE_CYCLE:
            peak = scheduler.get("eta_max") or 0.0
            raise ConfigError(
                "auto_scale_lr scales the optimizer's learning rate, which OneCycleLR does not use",
                value=f"eta_max={peak}",
                fix=f"set its eta_max to {peak * batch / base:g} yourself, for a batch of {batch}",
            )
    return optimizer["lr"], optimizer["lr"] * batch / base, batch
