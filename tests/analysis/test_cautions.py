"""A report's warnings: each where its cause is, and none without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from fourierkd.analysis.cautions import cautions
from fourierkd.analysis.headline import headline
from fourierkd.analysis.results import results_table
from fourierkd.analysis.study_tables import study_tables
from fourierkd.analysis.view import view_of
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
Rows = list[dict[str, Any]]


def flat(value: float, last: float | None = None) -> Rows:
    """Four validations of one value; the last one may differ."""
    values = [value, value, value, value if last is None else last]
    return [{"iter": 50 * (i + 1), "epoch": 0, "val/mIoU": v} for i, v in enumerate(values)]


def finals(build: Build, method: str, seeds: int, test: float, **known: Any) -> list[RunDir]:
    """Final runs whose scores differ by seed alone, but for a little."""
    rows = known.pop("rows", flat(test))
    return [
        build(
            f"{method}_{seed}",
            phase="final",
            method=method,
            seed=seed,
            value=test,
            test=test + 0.3 * seed + 0.01 * (seed % 3) * len(method),
            rows=rows,
            **known,
        )
        for seed in range(seeds)
    ]


def said(runs: list[RunDir], tmp_path: Path) -> tuple[str, pd.DataFrame]:
    table = results_table(runs, work_dir=tmp_path)
    return " | ".join(cautions(view_of(table, tmp_path, {}))), table


def test_a_clear_study_has_no_warning(build_run: Build, tmp_path: Path) -> None:
    runs = finals(build_run, "student_alone", 5, 30.0) + finals(build_run, "pkd", 5, 50.0)
    assert said(runs, tmp_path)[0] == ""


def test_seeds_and_undecided(build_run: Build, tmp_path: Path) -> None:
    runs = finals(build_run, "student_alone", 3, 30.0) + finals(build_run, "cwd", 1, 31.0)
    for seed, test in enumerate((30.0, 37.0, 28.0)):
        known = {"phase": "final", "method": "pkd", "seed": seed}
        runs.append(build_run(f"pkd_{seed}", test=test, rows=flat(30.0), **known))
    text, _ = said(runs, tmp_path)
    assert "No verdict, as fewer than 2 seeds are paired: cwd." in text
    assert "Few seeds: 3 a method." in text
    assert "Undecided against student_alone: pkd (an effect of 1 mIoU of pkd would need" in text


def test_late_failed_and_unequal_runs(build_run: Build, tmp_path: Path) -> None:
    runs = finals(build_run, "student_alone", 5, 30.0)
    runs += finals(build_run, "pkd", 5, 50.0, rows=flat(44.0, last=49.5))
    known: dict[str, Any] = {"state": "failed", "value": None, "reason": "disk full", "seed": 5}
    runs.append(build_run("pkd_5", phase="final", method="pkd", rows=[], **known))
    runs[0].environment.write_text('{"commit": "abc", "versions": {"torch": "2.13.0"}}')
    text, _ = said(runs, tmp_path)
    assert "from the last validation but one to the last: pkd by 5.50 mIoU." in text
    assert "1 of 11 final runs failed: pkd seed 5 (disk full)." in text
    assert "The final runs had 2 commits of the code: abc; 0123456789abcdef" in text


def test_a_start_point_is_called_made_by_hand_everywhere(build_run: Build, tmp_path: Path) -> None:
    runs = finals(build_run, "student_alone", 5, 30.0)
    runs += finals(build_run, "tuned", 5, 50.0, parameters={"w": 2.0})
    for trial, (method, value) in enumerate((("trial", 40.0), ("mine", 45.0))):
        known: dict[str, Any] = {"phase": "trial", "trial": trial, "parameters": {"w": trial + 1.0}}
        runs.append(build_run(f"t{trial}", method=method, value=value, **known))
    text, table = said(runs, tmp_path)
    assert "Made by hand: the tuned setting is the start point mine, which a person set" in text
    first = headline(table, metric="mIoU")
    assert "; tuned is the start point mine, set by hand before the search" in first
    tables = study_tables(view_of(table, tmp_path, {}))
    (tuned,) = [row[0] for row in tables["result"].rows if row[0].text == "tuned"]
    assert tuned.note == "set by hand: start point mine"
    assert [row[1].badge for row in tables["choice"].rows] == ["set by hand"]
    badges = {row[-1].text: row[1].badge for row in tables["runs"].rows}
    assert badges["runs/t1"] == "set by hand"
    assert badges["runs/t0"] == ""
