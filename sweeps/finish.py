"""The end of a study: in flow its run folders, out flow tables, summary, report and time."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import FourierKDError
from fourierkd.records import Phase, State
from sweeps import tables
from sweeps.account import sentence
from sweeps.state import StudyState
from sweeps.study_record import costs_of, note, noted

if TYPE_CHECKING:
    import pandas as pd
    import rich.table


def write_tables(state: StudyState) -> pd.DataFrame:
    """Write ``results.csv`` and ``results.parquet``, one row per run, and return the table."""
    from fourierkd.analysis.results import write_results

    found = state.table()
    write_results(found, state.work_dir)
    return found


def stopped(state: StudyState) -> None:
    """Table and report of a study that is not at its end; before its first run a table alone."""
    try:
        if state.run_dirs():
            _write(state, finished=False)
        else:
            write_tables(state)
    except FourierKDError as error:  # why the study stopped matters more
        state.display.say(f"no report: {error}")


def finish(state: StudyState) -> None:
    """Write tables and report of a study whose runs are done, and print what came out."""
    from fourierkd.analysis import agreement
    from fourierkd.analysis.headline import headline
    from fourierkd.analysis.published import beside_published
    from fourierkd.analysis.terminal import choice, components, summary, tuned

    config, work_dir, display = state.config, state.work_dir, state.display
    account = state.account
    with account.part("report"):
        table, report = _write(state, finished=True)
        if (table["phase"] == Phase.FINAL).any():
            measured: dict[str, Any] = {"metric": config.measure, "margin": config.margin}
            measured["looked"] = noted(work_dir).looked
            compared = {"baseline": config.baseline, **measured}
            display.say(headline(table, **compared))
            if config.parts:
                display.console.print(components(table, config.parts, **measured))
            else:
                display.console.print(summary(table, **compared))
                display.console.print(_cost(work_dir, table, config.baseline))
            for line in beside_published(table, work_dir, metric=config.metric):
                display.say(line)
        chosen = choice(table, metric=config.measure)
        if config.search_options and state.searches:
            display.say(agreement.sentence(table, config.search_options, metric=config.metric))
        for view in (chosen, tuned(table, metric=config.measure)):
            if view is not None:
                display.console.print(view)
    state.drop_checkpoints()
    if account.runs and _tracked(state):
        with account.part("tracking"):
            _track(state, table)
    seconds = account.save(work_dir)
    failures = int((table["state"] == State.FAILED).sum())
    if failures:
        display.say(f"{failures} of {len(table)} runs failed; --retry-failed tries them again")
    display.say(f"results: {work_dir / 'results.csv'}")
    display.say(f"report:  {report}")
    for line in _tracking_lines(state):
        display.say(f"W&B:     {line}")
    display.say(sentence(seconds))


def _cost(work_dir: Path, table: pd.DataFrame, baseline: str) -> rich.table.Table:
    from fourierkd.analysis.terminal import cost

    return cost(table, costs_of(work_dir), baseline=baseline, budget=noted(work_dir).budget)


def _write(state: StudyState, *, finished: bool) -> tuple[pd.DataFrame, Path]:
    work_dir = state.work_dir
    note(work_dir, notes=state.notes, finished=finished)
    found = write_tables(state)
    seconds = state.account.merged(work_dir)
    studies = {search.tunes: search.study for search in state.searches}
    return found, tables.write_report(work_dir, found, studies, seconds=seconds)


def _tracked(state: StudyState) -> bool:
    """Whether any run was tracked: W&B is then installed and wanted."""
    return importlib.util.find_spec("wandb") is not None and any(
        run.wandb.is_dir() for run in state.run_dirs()
    )


def _track(state: StudyState, table: pd.DataFrame) -> None:
    """Send W&B the runs whose process died, and the final tables as a run in the study's group."""
    config = state.config
    from fourierkd.tracking.mend import mend
    from fourierkd.tracking.study_table import log_study_table

    mend(state.run_dirs())
    log_study_table(
        state.work_dir,
        _final_tables(state, table),
        study=config.name,
        metric=config.metric,
        wandb=config.wandb,
    )


def _final_tables(state: StudyState, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs, and where there are final ones their comparison, cost, and effects of parts."""
    from fourierkd.analysis.comparison import compare
    from fourierkd.analysis.costs import cost_table
    from fourierkd.analysis.factorial import effects

    config, found = state.config, {"results": table}
    if not (table["phase"] == Phase.FINAL).any():
        return found
    measured: dict[str, Any] = {"metric": config.measure, "margin": config.margin}
    measured["looked"] = noted(state.work_dir).looked
    with suppress(FourierKDError):  # the baseline has no final run
        found["comparison"] = compare(table, baseline=config.baseline, **measured)
    found["cost"] = cost_table(table, costs_of(state.work_dir), baseline=config.baseline)
    if config.parts:
        found["effects"] = effects(table, config.parts, **measured)
    return found


def _tracking_lines(state: StudyState) -> list[str]:
    """How much of the runs W&B has, and the command that uploads what is held back."""
    if not _tracked(state):
        return []
    from fourierkd.tracking.record import sync_command, tracking_line

    runs = state.run_dirs()
    sync = sync_command([*(run.path for run in runs), state.work_dir])
    return [tracking_line(runs), *([sync] if sync else [])]
