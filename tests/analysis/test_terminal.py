"""The terminal's tables say what the results table says, and nothing is cut at 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pandas as pd
from rich.console import Console
from rich.table import Table

from fourierkd.analysis.results import results_table
from fourierkd.analysis.terminal import choice, summary, tuned
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]


def printed(view: Table) -> str:
    out = StringIO()
    Console(file=out, width=80).print(view)
    assert "…" not in out.getvalue()
    return out.getvalue()


def test_summary(study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    text = printed(summary(table, baseline="student_alone", metric="mIoU"))
    assert "+5.10 [+2.33, +7.87]" in text
    assert "31.27 [27.66, 34.87]" in text
    assert "feature_l2 lacks seed 102 (failed: killed by signal 9)" in text
    assert all(word in text for word in ("better", "undecided", "baseline", "mIoU on test"))
    assert "equivalent: within ±1 mIoU" in text
    given = printed(summary(table, baseline="student_alone", metric="mIoU", margin=12))
    assert "equivalent: within ±12 mIoU" in given
    assert "undecided" not in given
    words = " ".join(text.split())
    assert "an effect of 1 mIoU of feature_l2 would need about 4 seeds" in words
    assert "published would need about 11 seeds" in words
    assert "= tuned" not in text


def searched(build_run: Build) -> list[RunDir]:
    """Two trials, the first of which is the arm pkd, on the rung and in the end."""
    known = {"phase": "rung", "method": "rung"}
    return [
        build_run("b", phase="baseline", method="pkd", trial=0, value=60.0, parameters={"w": 4.0}),
        build_run("t", phase="trial", method="trial", trial=1, value=61.0, parameters={"w": 2.0}),
        build_run("r0", trial=0, seed=1900, value=59.0, parameters={"w": 4.0}, **known),
        build_run("r1", trial=1, seed=1900, value=50.0, parameters={"w": 2.0}, **known),
        *(
            build_run(f"f{s}", phase="final", method="pkd", seed=s, value=58.0 + s, test=55.0,
                      parameters={"w": 4.0})
            for s in (0, 1)
        ),
    ]  # fmt: skip


def test_a_chosen_arm_is_marked(build_run: Build) -> None:
    table = results_table(searched(build_run))
    text = printed(summary(table, baseline="pkd", metric="mIoU"))
    assert "pkd (= tuned)" in text


def test_choice_shows_every_stage_on_val(build_run: Build) -> None:
    view = choice(results_table(searched(build_run)), metric="mIoU")
    assert view is not None
    lines = [" ".join(line.split()) for line in printed(view).splitlines()]
    assert "0 arm pkd 60.00 59.00 (n=1) 58.50 (n=2)" in lines
    assert "1 sampled 61.00 50.00 (n=1) –" in lines


def test_no_choice_without_a_trial(build_run: Build) -> None:
    failed = build_run("t", phase="trial", trial=0, state="failed", value=None, metric=None)
    assert choice(results_table([failed]), metric="mIoU") is None
    assert choice(pd.DataFrame(results_table([failed])).iloc[:0], metric="mIoU") is None


def test_what_was_tuned_is_shown_whole(build_run: Build) -> None:
    """Of each method the chosen trial, its values, and all of its parameters."""
    long = {"cwd.connector": "ConvModule", "cwd.loss_weight": 12.5, "cwd.temperature": 2.25}
    runs = [
        build_run("t", phase="trial", trial=4, tunes="cwd", value=61.0, parameters=long,
                  method="cwd"),
        build_run("f", phase="final", method="cwd", seed=1000, value=60.0, test=55.0,
                  parameters=long),
        build_run("b", phase="baseline", trial=0, tunes="pkd", method="pkd", value=None,
                  state="failed"),
        build_run("k", phase="baseline", trial=0, tunes="kl", method="kl", value=50.0),
    ]  # fmt: skip
    view = tuned(results_table(runs), metric="mIoU")
    assert view is not None
    lines = [" ".join(line.split()) for line in printed(view).splitlines()]
    assert "cwd 1 trial 4, sampled 61.00 – 60.00 (n=1)" in lines
    assert "pkd 1 no value – – –" in lines
    assert "kl 1 trial 0, file's own 50.00 – –" in lines
    assert "cwd: cwd.connector=ConvModule, cwd.loss_weight=12.5, cwd.temperature=2.25" in lines
    assert tuned(results_table(searched(build_run)), metric="mIoU") is None
