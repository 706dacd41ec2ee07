"""What the methods of a comparison may cost: in flows a comparison, out flow schedules by method.

What an iteration of each method costs is measured once, before anything is trained (in one process,
in turns: ``fourierkd.serving.costs``), and kept in ``study.json``. By seconds or operations every
method then trains as long as costs what the baseline costs at the config's iterations: the baseline
is what differences are taken against, so its schedule is as stated, and the usual one, the student
alone, is the cheapest, so that nothing trains longer than stated. A method that is added later is
measured beside that baseline, and scaled by what both cost then.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fourierkd.errors import ConfigError, StudyError
from fourierkd.records import Cost, Json, Options, Request
from sweeps.ahead import answer
from sweeps.driver import Driver
from sweeps.lengths import length, scaled
from sweeps.study import SECONDS, StudyConfig
from sweeps.study_record import Budget, StudyRecord, read_study, record

FILE = "measure.json"  # of the work dir, while it lasts; the answer lies beside it
WITHIN = 0.03  # of a budget


def schedules_within(config: StudyConfig, work_dir: Path, driver: Driver) -> Mapping[str, Options]:
    """Method -> dotted options of all its runs that keep it within the budget.

    Raises:
        StudyError: the costs cannot be measured.
        ConfigError: a schedule cannot be scaled to the budget.
        Interrupted: by Ctrl-C.
    """
    if config.budget is None:
        return {}
    known = (read_study(work_dir) or StudyRecord()).budget or Budget(
        reference=config.baseline, told=config.reference_arms[config.baseline]
    )
    new = {name: o for name, o in config.reference_arms.items() if name not in known.costs}
    if new:
        with driver.account.part("start-up"):
            known = _extended(config, known, new, work_dir, driver)
        record(work_dir, budget=known)
    return known.options


def iterations_within(iterations: int, cost: float, reference: float) -> int:
    """How many iterations cost what ``iterations`` of the reference cost.

    Raises:
        ConfigError: no whole number does so within 3 %.

    Example:
        >>> iterations_within(640, 0.05, 0.04)
        512
    """
    wanted = iterations * reference / cost
    found = round(wanted)
    if abs(found / wanted - 1) > WITHIN:
        raise ConfigError(
            f"--budget holds within {WITHIN:.0%}, which no whole number of iterations does",
            value=round(wanted, 2),
            fix="take a longer schedule",
        )
    return found


def _extended(
    config: StudyConfig, known: Budget, new: Mapping[str, Options], work_dir: Path, driver: Driver
) -> Budget:
    """A budget with methods that were not measured yet."""
    reference = known.reference
    told = config.reference_arms.get(reference, known.told)  # a file may have moved
    costs, schedules = _measured(config, {reference: told, **new}, work_dir, driver)
    options: dict[str, Options] = {name: {} for name in new}
    if config.scaled_by is not None:
        if reference in known.costs:
            _say_what_changed(config, reference, known.costs, costs, driver)
        whole, spent = length(schedules[reference]), partial(_spent, config)
        for name in new:
            found = iterations_within(whole, spent(costs[name]), spent(costs[reference]))
            options[name] = scaled(schedules[name], found)
    return Budget(
        reference=reference,
        told=told,
        costs={**known.costs, **{name: costs[name] for name in new}},
        options={**known.options, **options},
    )


def _measured(
    config: StudyConfig, methods: Mapping[str, Options], work_dir: Path, driver: Driver
) -> tuple[dict[str, Cost], Json]:
    """Cost of a step of each method, with the threads of a final run, and its schedule."""
    from fourierkd.analysis.results import machine

    common = {"metric": config.metric, "direction": config.direction, **config.options}
    asked = {
        name: Request(config=str(config.config), options={**common, **own}, seed=config.seed)
        for name, own in methods.items()
    }
    driver.display.say(f"measuring what a step of {len(asked)} methods costs")
    driver.executor.start(driver.needs, config.jobs)
    told = answer("measure", asked, work_dir / FILE, driver)
    if told["error"] is not None:
        raise StudyError(f"what the methods cost cannot be measured: {told['error']}")
    where = machine(told["environment"])
    costs = {name: Cost(**own, machine=where) for name, own in told["costs"].items()}
    return costs, told["schedules"]


def _spent(config: StudyConfig, cost: Cost) -> float:
    """What the budget counts of an iteration."""
    return cost.seconds if config.budget == SECONDS else cost.gflop


def _say_what_changed(
    config: StudyConfig,
    reference: str,
    before: Mapping[str, Cost],
    now: Mapping[str, Cost],
    driver: Driver,
) -> None:
    """That the reference costs something else than when the first methods were measured."""
    costs = now[reference], before[reference]
    spent = [_spent(config, cost) for cost in costs]
    if abs(spent[0] / spent[1] - 1) <= WITHIN and costs[0].machine == costs[1].machine:
        return
    words = [f"{cost.seconds:.3g} s, {cost.gflop:.4g} GFLOP ({cost.machine})" for cost in costs]
    driver.display.say(
        f"a step of {reference} costs {words[0]} and was measured as {words[1]}: "
        "added methods are scaled by what both cost now"
    )
