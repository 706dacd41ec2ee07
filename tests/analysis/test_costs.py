"""What the final runs of each method cost, from runs and from steps that were measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from fourierkd.analysis import results_table
from fourierkd.analysis.costs import cost_notes, cost_rows, cost_table, heads
from fourierkd.analysis.terminal import cost
from fourierkd.records import Cost
from fourierkd.run_dir import RunDir

Build = Any  # the fixture of the conftest
STEP = Cost(parameters=9, gflop=2.5, seconds=0.1, peak_mib=40.4, machine="A, 1 thread a run")


def final(build_run: Build, name: str, train: float, **own: Any) -> RunDir:
    run: RunDir = build_run(
        f"{name}{own.get('seed', 0)}", phase="final", method=name, test=50.0, **own
    )
    result = run.read_result()
    assert result is not None
    seconds = {"total": 99.0, "train": train}
    counts = {"student": 56789, "losses": 1234, "teacher": 99999}
    peak = None if name == "dear" else 512.4 + own.get("seed", 0)
    run.write_result(replace(result, seconds=seconds, parameters=counts, peak_mib=peak))
    return run


@pytest.fixture
def table(build_run: Build) -> pd.DataFrame:
    return results_table(
        [
            final(build_run, "dear", 60.0),
            final(build_run, "alone", 38.0),
            final(build_run, "alone", 42.0, seed=1),
            build_run("other", phase="trial", method="trial", trial=0),
        ]
    )


def test_a_row_is_what_runs_and_steps_say(table: pd.DataFrame) -> None:
    found = cost_table(table, {"dear": STEP}, baseline="alone")
    assert cost_rows(found) == [
        ("alone", ["200", "56,789", "1,234", "–", "0.2", "–", "513", "40.0", "1.00"]),
        ("dear", ["200", "56,789", "1,234", "2.5", "0.3", "40", "–", "60.0", "1.50"]),
    ]
    assert heads(found)[-1] == "ratio"
    unknown = cost_table(table, {}, baseline="gone")
    assert heads(unknown) == [
        "iters",
        "params",
        "params added",
        "s a step",
        "MiB of a run",
        "s in all",
    ]
    assert [cells for _, cells in cost_rows(unknown)] == [
        ["200", "56,789", "1,234", "0.2", "513", "40.0"],
        ["200", "56,789", "1,234", "0.3", "–", "60.0"],
    ]


def test_seconds_that_were_to_be_equal_and_are_not_are_a_warning(table: pd.DataFrame) -> None:
    found = cost_table(table, {}, baseline="alone")
    (line,) = cost_notes(found, {}, "seconds")
    assert line.startswith("warning: trainings were to take equal seconds")
    assert line.endswith("dear took 60.0 s, 50.0 % more than alone")
    assert cost_notes(found, {}, "flops") == cost_notes(found, {}, None) == []
    close = found.assign(seconds=[40.0, 41.1])
    assert cost_notes(close, {}, "seconds") == []


def test_steps_of_several_machines_are_said(table: pd.DataFrame) -> None:
    found = cost_table(table, {}, baseline="alone")
    costs = {"alone": STEP, "dear": replace(STEP, machine="B")}
    (line,) = cost_notes(found, costs, "flops")
    assert line.endswith("several machines: alone on A, 1 thread a run; dear on B")


def test_the_terminal_says_what_is_equal(table: pd.DataFrame) -> None:
    view = cost(table, {"dear": STEP}, baseline="alone", budget="seconds")
    assert view.title == "cost of the final runs, equal seconds"
    assert "50.0 % more than alone" in str(view.caption)
