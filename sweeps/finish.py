"""The end of a study: in flow its run folders, out flow tables, summary, report and time."""

from __future__ import annotations

import datetime
import importlib.util
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import FourierKDError, RunError
from fourierkd.fingerprint import file_sha256
from fourierkd.run_dir import RunDir, read_json
from sweeps.account import sentence

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.coordinator import Coordinator


def write_tables(coordinator: Coordinator) -> pd.DataFrame:
    """Write ``results.csv`` and ``results.parquet``, one row per run, and return the table."""
    from fourierkd.analysis.results import results_table, write_results

    table = results_table(coordinator.run_dirs(), work_dir=coordinator.work_dir)
    write_results(table, coordinator.work_dir)
    return table


def finish(coordinator: Coordinator, command: str) -> None:
    """Write tables and report of a study whose runs are done, and print what came out."""
    from fourierkd.analysis.headline import headline
    from fourierkd.analysis.report import write_report
    from fourierkd.analysis.terminal import choice, summary

    config, work_dir, display = coordinator.config, coordinator.work_dir, coordinator.display
    account = coordinator.account
    with account.part("report"):
        table = write_tables(coordinator)
        measure = {"metric": config.metric, "direction": config.direction}
        if (table["phase"] == "final").any():
            display.say(headline(table, baseline=config.baseline, **measure))
            display.console.print(summary(table, baseline=config.baseline, **measure))
        chosen = choice(table, **measure)
        if chosen is not None:
            display.console.print(chosen)
        report = write_report(work_dir, table, coordinator.study, _info(coordinator, command))
    if account.runs and _tracked(coordinator):
        with account.part("tracking"):
            _track(coordinator, table)
    seconds = account.save(work_dir)
    display.say(f"results: {work_dir / 'results.csv'}")
    display.say(f"report:  {report}")
    for line in _tracking_lines(coordinator):
        display.say(f"W&B:     {line}")
    display.say(sentence(seconds))


def _info(coordinator: Coordinator, command: str) -> dict[str, Any]:
    config = coordinator.config
    notes = list(coordinator.notes)
    failures = [t for t in coordinator.study.get_trials(deepcopy=False) if t.state.name == "FAIL"]
    if failures:
        notes.append(f"{len(failures)} of the trials failed; the table of runs gives the reasons.")
    notes += _warnings(coordinator.run_dirs())
    if coordinator.teacher is not None:
        notes.append(_teacher_note(coordinator.teacher.read_result() or {}, coordinator.checkpoint))
    return {
        "title": config.name,
        "config": str(config.config),
        "command": command,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "baseline": config.baseline,
        "metric": config.metric,
        "direction": config.direction,
        "notes": notes,
        "time": coordinator.account.merged(coordinator.work_dir),
    }


def _warnings(run_dirs: Iterable[RunDir]) -> list[str]:
    """What runs were warned of at their start, each with how many."""
    said: Counter[str] = Counter()
    for run_dir in run_dirs:
        with suppress(RunError):  # a damaged record, which the table names
            said.update((read_json(run_dir.environment) or {}).get("warnings") or [])
    return [f"Warning of {count} runs: {line}." for line, count in said.items()]


def _teacher_note(result: dict[str, Any], checkpoint: Path | None) -> str:
    value = (result.get("best") or {}).get("value")
    score = f"{result.get('metric')} {value:.4g} on val" if value is not None else "no score"
    sha = file_sha256(checkpoint)[:16] if checkpoint is not None else "unknown"
    return f"Teacher: {score}, sha256 {sha}."


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
    tables = {"results": table}
    try:
        from fourierkd.analysis.stats import compare

        tables["comparison"] = compare(
            table, baseline=config.baseline, metric=config.metric, direction=config.direction
        )
    except FourierKDError:
        pass  # no final runs to compare
    log_study_table(
        coordinator.work_dir,
        tables,
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
