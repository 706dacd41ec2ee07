"""What a config says of the whole run: in flows a subject, out flow checks of its data and numbers.

Nothing is trained: image files of the splits and numbers of the config are compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from fourierkd.config.schedules import check_iterations, check_schedules, schedules_of
from fourierkd.distill.config_files import to_plain
from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, counted, number, worst
from fourierkd.doctor.subject import Subject
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.errors import ConfigError, FourierKDError

INITIAL = 0.1  # share of the first weights in an average, above which it is worth a warning


def check_data(subject: Subject) -> Check:
    """No image that is trained on is among those that a score is taken of."""
    name, config = "data", subject.config
    trained = images_of(subject.dataset)
    if not trained:
        return Check(name, SKIP, "the training data name no image files to compare")
    statuses, lines, facts = [OK], [], {"train": len(trained)}
    for split in ("val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader is None:
            continue
        try:
            scored = images_of(build_loader(in_process(loader), seed=subject.seed).dataset)
        except FourierKDError as error:
            statuses.append(WARN)
            lines.append(f"the {split} data cannot be read: {error}")
            continue
        if not scored:
            lines.append(f"{split}: its data name no image files to compare")
            continue
        shared = len(trained & scored)
        facts[split], facts[f"{split}_shared"] = len(scored), shared
        if not shared:
            lines.append(f"{split}: {counted(len(scored), 'image')}, none trained on")
            continue
        statuses.append(FAIL)
        lines.append(f"{split}: {shared} of {counted(len(scored), 'image')} are trained on")
    status = worst(statuses)
    advice = {
        FAIL: "give each split images of its own: a score on these is of what was learned",
        WARN: "see data_root and the split's paths",
    }.get(status, "")
    return Check(name, status, "\n".join(lines), advice, facts)


def images_of(dataset: Any) -> set[str]:
    """Files of a data set's images, links followed; empty where it names none."""
    if not hasattr(dataset, "get_data_info"):  # none of MMEngine's
        return set()
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return {os.path.realpath(info["img_path"]) for info in infos if info.get("img_path")}


def check_schedule(subject: Subject) -> Check:
    """Schedules and warm-ups end where the training does, or before."""
    config, iterations = subject.config, subject.iterations
    statuses, lines, advice = [OK], [], []
    for name, entry in (config.model.get("losses") or {}).items():
        warmup = entry.get("warmup_iters", 0)
        if iterations is not None and warmup > iterations:
            statuses.append(FAIL)
            reached = number(100 * iterations / warmup)
            lines.append(
                f"{name} warms up for {warmup} iterations, the run has {iterations}: "
                f"it ends at {reached} % of its weight"
            )
            advice.append(f"set model.losses.{name}.warmup_iters to a part of the run")
    counts = to_plain(config.optim_wrapper).get("accumulative_counts", 1)
    if iterations is not None and counts > iterations:
        statuses.append(FAIL)
        lines.append(f"gradients add up over {counts} iterations, the run has {iterations}")
        advice.append("lower optim_wrapper.accumulative_counts: the optimizer takes one step")
    for hook in subject.hooks:
        left = 0.0 if iterations is None else _initial_share(hook, iterations)
        if left > INITIAL:
            statuses.append(WARN)
            lines.append(f"EMAHook's average ends with {number(100 * left)} % of the first weights")
            advice.append("raise the hook's momentum, its weights are those of the scores")
    try:
        said = _said_of_schedules(config, iterations)
    except ConfigError as error:
        statuses.append(FAIL)
        lines.append(str(error).removesuffix(f"; {error.fix}") if error.fix else str(error))
        advice.append(error.fix)
    else:
        lines += said
        if said:
            statuses.append(WARN)
            advice.append("let param_scheduler's numbers be the run's")
    facts = {"iterations": iterations}
    if lines:
        return Check("schedule", worst(statuses), "\n".join(lines), "; ".join(advice), facts)
    length = "of unknown length" if iterations is None else f"of {iterations} iterations"
    return Check("schedule", OK, f"schedules and warm-ups end within a run {length}", "", facts)


def _initial_share(hook: Any, iterations: int) -> float:
    """Share of the weights that a run begins with in the average that it ends with.

    Of MMEngine's plain average from the first iteration on; the others forget by themselves.
    """
    if not isinstance(hook, Mapping) or str(hook.get("type")).rpartition(".")[2] != "EMAHook":
        return 0.0
    plain = hook.get("ema_type", "ExponentialMovingAverage") == "ExponentialMovingAverage"
    if not plain or hook.get("begin_iter") or hook.get("begin_epoch"):
        return 0.0
    updates = iterations // int(hook.get("interval", 1))
    return float((1 - hook.get("momentum", 0.0002)) ** updates)


def _said_of_schedules(config: Mapping[str, Any], iterations: int | None) -> list[str]:
    """What a run says of its schedules."""
    written = {**config, "param_scheduler": list(_plain_units(config))}
    said = check_schedules(written)
    if iterations is not None:
        said += check_iterations(written, iterations)
    return list(dict.fromkeys(said))


def _plain_units(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schedules with their numbers in the unit in which they are written."""
    for schedule in schedules_of(to_plain(config.get("param_scheduler"))):
        yield {k: v for k, v in schedule.items() if k != "convert_to_iter_based"}
