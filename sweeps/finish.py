"""The end of a study: in flow its run folders, out flow tables, summary, report and time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from fourierkd.errors import FourierKDError
from fourierkd.records import Phase, State
from sweeps import tables
from sweeps.account import sentence

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.coordinator import Coordinator


def write_tables(coordinator: Coordinator) -> pd.DataFrame:
    """Write ``results.csv`` and ``results.parquet``, one row per run, and return the table."""
    from fourierkd.analysis.results import write_results

    found = coordinator.table()
    write_results(found, coordinator.work_dir)
    return found


def stopped(coordinator: Coordinator) -> None:
    """Table and report of a study that is not at its end; before its first run a table alone."""
    try:
        if coordinator.run_dirs():
            _write(coordinator, finished=False)
        else:
            write_tables(coordinator)
    except FourierKDError as error:  # why the study stopped matters more
        coordinator.display.say(f"no report: {error}")


def finish(coordinator: Coordinator) -> None:
    """Write tables and report of a study whose runs are done, and print what came out."""
    from fourierkd.analysis.headline import headline
    from fourierkd.analysis.terminal import choice, summary

    config, work_dir, display = coordinator.config, coordinator.work_dir, coordinator.display
    account = coordinator.account
    with account.part("report"):
        table, report = _write(coordinator, finished=True)
        measure = {"metric": config.metric, "direction": config.direction}
        if (table["phase"] == Phase.FINAL).any():
            display.say(headline(table, baseline=config.baseline, **measure))
            display.console.print(summary(table, baseline=config.baseline, **measure))
        chosen = choice(table, **measure)
        if chosen is not None:
            display.console.print(chosen)
    coordinator.drop_checkpoints()
    if account.runs and _tracked(coordinator):
        with account.part("tracking"):
            _track(coordinator, table)
    seconds = account.save(work_dir)
    failures = int((table["state"] == State.FAILED).sum())
    if failures:
        display.say(f"{failures} of {len(table)} runs failed; --retry-failed tries them again")
    display.say(f"results: {work_dir / 'results.csv'}")
    display.say(f"report:  {report}")
    for line in _tracking_lines(coordinator):
        display.say(f"W&B:     {line}")
    display.say(sentence(seconds))


def _write(coordinator: Coordinator, *, finished: bool) -> tuple[pd.DataFrame, Path]:
    work_dir = coordinator.work_dir
    tables.note(work_dir, notes=coordinator.notes, finished=finished)
    found = write_tables(coordinator)
    seconds = coordinator.account.merged(work_dir)
    return found, tables.write_report(work_dir, found, coordinator.study, seconds=seconds)


def _tracked(coordinator: Coordinator) -> bool:
    """Whether any run was tracked: W&B is then installed and wanted."""
    return importlib.util.find_spec("wandb") is not None and any(
        run.wandb.is_dir() for run in coordinator.run_dirs()
    )


def _track(coordinator: Coordinator, table: pd.DataFrame) -> None:
    """Send W&B the runs whose process died, and the final table as a run in the study's group."""
    config = coordinator.config
    from fourierkd.tracking.mend import mend
    from fourierkd.tracking.study_table import log_study_table

    mend(coordinator.run_dirs())
    sent = {"results": table}
    try:
        from fourierkd.analysis.stats import compare

        sent["comparison"] = compare(
            table, baseline=config.baseline, metric=config.metric, direction=config.direction
        )
    except FourierKDError:
        pass  # no final runs to compare
    log_study_table(
        coordinator.work_dir,
        sent,
        study=config.name,
        metric=config.metric,
        wandb=config.wandb,
    )


def _tracking_lines(coordinator: Coordinator) -> list[str]:
    """How much of the runs W&B has, and the command that uploads what is held back."""
    if not _tracked(coordinator):
        return []
    from fourierkd.tracking.record import sync_command, tracking_line

    runs = coordinator.run_dirs()
    sync = sync_command([*(run.path for run in runs), coordinator.work_dir])
    return [tracking_line(runs), *([sync] if sync else [])]
