"""A study end to end on the fake training server: what it writes; nothing is lost or done twice."""

import json
import runpy
import signal
import subprocess
import sys

import pandas as pd
import pytest
from tiny_study import (
    FAKE,
    LUCKY,
    REPO,
    STATES,
    WEIGHT,
    executed,
    finish,
    outcome,
    run_dirs,
    trials_of,
    wait_for,
)

from fourierkd.analysis import compare, load_results
from fourierkd.analysis.selection import candidates, choose
from fourierkd.errors import StudyError
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.study_file import load_study


def test_lines_of_ended_runs_name_the_split_of_their_value(run_tiny, capsys):
    runs = run_dirs(run_tiny(trials=3, final_seeds=1))
    printed = capsys.readouterr().out
    for name, run_dir in runs.items():
        split = "test" if name.startswith("final_") else "val"
        value = run_dir.read_result().metrics[f"{split}/score"]
        assert f"] {name}: {split} score {value:.4g}, " in printed


def test_a_study_from_start_to_report(run_tiny):
    work_dir = run_tiny()
    runs = run_dirs(work_dir)
    assert [name for name in runs if name.startswith("baseline")] == [
        "baseline_published",
        "baseline_student_alone",
    ]
    trials = trials_of(work_dir)
    assert len(trials) == 7  # of 8; the student alone lies outside of the space
    assert trials[0].params == {"fourier.loss_weight": 41.0, "fourier.mask": "all_pass"}
    start = {
        "fourier.loss_weight": 3.0,
        "fourier.mask": "low_pass",
        "fourier.mask.low_pass.cutoff": 0.5,
    }
    assert trials[1].params == start
    request = runs["trial_001"].read_request()
    assert (request.phase, request.method) == ("trial", "by_hand")  # no arm: can be pruned
    assert runs["trial_002"].read_request().method == "trial"
    assert [t.params for t in trials[2:]].count(start) == 0
    assert all(trial.state == STATES.COMPLETE for trial in trials)
    best = max(trials, key=lambda t: t.value)  # luck has no part in the fake server's values

    table = pd.read_csv(work_dir / "results.csv")
    assert len(table) == 1 + 7 + 3 * 2 + 4 * 2
    finals = table[table.phase == "final"]
    assert sorted(finals.method.unique()) == ["feature_l2", "published", "student_alone", "tuned"]
    assert set(finals.seed) == {1000, 1001}
    assert set(table[table.phase == "trial"].seed) == {0}
    assert set(finals.split) == {"test"}
    tuned = runs[f"final_tuned_t{best.number:03d}_seed1000"].read_request()
    assert tuned.parameters == best.params
    assert tuned.options[WEIGHT] == best.params["fourier.loss_weight"]
    assert tuned.options["metric"] == "score"
    alone = runs["final_student_alone_seed1000"].read_request()
    assert alone.options["model.teacher"] is None
    page = (work_dir / "report.html").read_text()
    assert page.startswith("<!")
    assert "Set by hand, not proposed by the sampler: trial 1 (by_hand)." in page
    assert len(pd.read_parquet(work_dir / "results.parquet")) == len(table)
    seconds = json.loads((work_dir / "study_time.json").read_text())
    assert 0 < seconds["not_training"] < 1
    assert seconds["seconds"]["training"] > 0


def test_a_study_of_an_error_takes_the_lowest(run_tiny, capsys):
    """Its direction reaches every run, and the table says it to whoever compares."""
    work_dir = run_tiny(direction="minimize", final_seeds=3)
    runs = run_dirs(work_dir)
    assert {run.read_request().options["direction"] for run in runs.values()} == {"minimize"}
    table = load_results(work_dir)
    assert set(table["direction"]) == {"minimize"}
    values = [trial.value for trial in trials_of(work_dir)]
    found = candidates(table)
    assert found["search"].iloc[0] == pytest.approx(min(values), abs=0.3)  # seeds move it by 0.1
    comparison = compare(table, baseline="student_alone").set_index("method")
    assert comparison.loc["tuned", "difference"] < -15
    assert comparison.loc["tuned", "verdict"] == "better"
    assert "Best method by mean: tuned" in capsys.readouterr().out


def test_a_finished_study_only_rewrites_its_report(run_tiny, capsys):
    work_dir = run_tiny(trials=3, final_seeds=1)
    before = outcome(work_dir)
    lines = {name: executed(run) for name, run in run_dirs(work_dir).items()}
    journal = (work_dir / "optuna.log").read_bytes()
    seconds = (work_dir / "study_time.json").read_bytes()
    (work_dir / "report.html").write_text("old")
    capsys.readouterr()
    run_tiny(trials=3, final_seeds=1)
    assert outcome(work_dir) == before
    assert {name: executed(run) for name, run in run_dirs(work_dir).items()} == lines
    assert (work_dir / "study_time.json").read_bytes() == seconds
    assert (work_dir / "optuna.log").read_bytes() == journal
    out, page = capsys.readouterr().out, (work_dir / "report.html").read_text()
    first = out.splitlines()[0]  # of the terminal and of the report
    assert first.startswith("Best method by mean: ")
    assert f'<h1>tiny</h1>\n<p class="headline">{first}</p>' in page
    assert "choice of the trial, score on val" in out


def test_more_trials_continue_a_finished_study(run_tiny, straight):
    work_dir = run_tiny(trials=5, final_seeds=1)
    assert outcome(work_dir) == straight[:4]
    run_tiny(trials=8, final_seeds=1)
    assert outcome(work_dir) == straight
    table = pd.read_csv(work_dir / "results.csv")
    assert len(table[(table.phase == "final") & (table.method == "tuned")]) == 1  # of the best now


# Resuming

KILLER = """
import os, signal, sys
from optuna.storages.journal import JournalFileBackend
from fourierkd.errors import exit_on_error
from sweeps.executors import local
from sweeps.run import main

local.WORKER = %r
calls, write = [0], JournalFileBackend.append_logs
at, how = int(sys.argv.pop(1)), sys.argv.pop(1)

def append_logs(self, logs):
    calls[0] += 1
    if calls[0] == at and how == "torn":
        with open(self._file_path, "ab") as file:
            file.write(b'{"op_code":4,"work')
    if calls[0] == at and how == "after":
        write(self, logs)
    if calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, logs)

JournalFileBackend.append_logs = append_logs
exit_on_error("run.py", lambda: main(sys.argv[1:]))
"""


def deaths_until_done(command, attempts, arguments, folder) -> int:
    """How often a study's process killed itself, by one attempt after the other."""
    deaths = 0
    for attempt in attempts:
        done = subprocess.run(
            [*command, *attempt, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
    return deaths


def test_killed_at_many_writes_a_study_ends_as_if_it_was_not(straight, study_file, tmp_path):
    """The coordinator dies before, within or after its n-th write to the journal, repeatedly."""
    command = [sys.executable, "-c", KILLER % (FAKE,)]
    arguments = ["study", str(study_file), "--work-dir", "work", "--set", "final_seeds=1"]
    hows = ("before", "torn", "after")
    attempts = ((str(7 + attempt % 5), hows[attempt % 3]) for attempt in range(40))
    deaths = deaths_until_done(command, attempts, arguments, tmp_path)
    assert deaths >= 5
    assert outcome(tmp_path / "work") == straight
    for name, run in run_dirs(tmp_path / "work").items():
        assert run.read_result().state == "complete", name
        assert sorted(set(executed(run))) == list(range(1, 11)), name
        # Again only what came after the last checkpoint (every second iteration has one).
        assert all(executed(run).count(i) <= 1 + deaths for i in range(1, 11))
        rows = [row["iter"] for row in run.rows()]
        assert rows == list(range(1, 11)), name


KILLER_OF_RUNS = """
import os, signal, sys
from fourierkd.errors import exit_on_error
from sweeps.driver import Driver
from sweeps.executors import local
from sweeps.run import main

local.WORKER = %r
at, name, how = int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
calls, method = [0], getattr(Driver, name)

def killed(self, *arguments, **options):
    calls[0] += 1
    if calls[0] == at and how == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    method(self, *arguments, **options)
    if calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(Driver, name, killed)
exit_on_error("run.py", lambda: main(sys.argv[1:]))
"""


def test_killed_around_many_runs_rung_and_finals_are_as_if_it_was_not(
    run_tiny, study_file, tmp_path
):
    """The coordinator dies before or after a run is begun or ended, from the rung on again."""
    keys = ["trials=4", "final_seeds=1", "options.fake.lucky=41.0"]
    expected = run_dirs(run_tiny("straight", trials=4, final_seeds=1, **LUCKY))
    command = [sys.executable, "-c", KILLER_OF_RUNS % (FAKE,)]
    arguments = ["study", str(study_file), "--work-dir", "work", "--set", *keys]
    ways = [(n, how) for n in ("_begin", "_finish") for how in ("before", "after")]
    # first within the rung, then every third run
    attempts = ((str(3 if attempt else 6), *ways[attempt % 4]) for attempt in range(20))
    assert deaths_until_done(command, attempts, arguments, tmp_path) >= 3
    runs = run_dirs(tmp_path / "work")
    assert list(runs) == list(expected)
    assert sum(name.startswith("rung_") for name in runs) == 6
    for name, run in runs.items():
        assert sorted(set(executed(run))) == list(range(1, 11)), name
        assert run.read_result().best == expected[name].read_result().best, name
    tables = [load_results(tmp_path / folder) for folder in ("work", "straight")]
    assert choose(tables[0]) == choose(tables[1]) != 0  # not the lucky one


@pytest.mark.parametrize("where", ["trial_002", "rung_t001_seed1901", "final_published_seed1000"])
def test_killed_within_a_run_it_goes_on_from_the_checkpoint(start_cli, straight, tmp_path, where):
    slow = ("--set", "final_seeds=1", "trials=4", "options.fake.sleep=0.02")
    run = RunDir(tmp_path / "work" / "runs" / where)
    process = start_cli(*slow)
    wait_for(lambda: (run.path / "executed.txt").exists() and len(executed(run)) >= 5, process)
    process.kill()
    process.wait()
    finish(start_cli(*slow))
    again = executed(run)
    assert sorted(set(again)) == list(range(1, 11))
    assert again.index(5) + 1 < len(again)
    assert 4 <= again[again.index(5) + 1] <= 7  # not from the start
    assert len(again) <= 12
    assert outcome(tmp_path / "work") == straight[:3]
    runs = run_dirs(tmp_path / "work")
    assert sum(name.startswith("rung_") for name in runs) == 6
    assert sum(name.startswith("final_tuned_") for name in runs) == 1
    others = [name for name in runs if name != where]
    assert all(executed(runs[name]) == list(range(1, 11)) for name in others)


# Trying again


def test_a_failed_final_run_is_tried_again(run_tiny, study_file, tmp_path):
    fail = {"options.fake.fail": "exception", "options.fake.fail_phase": "final"}
    keys = {"trials": 3, "final_seeds": 1, "rung_trials": 0, **fail}
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**keys)
    (tmp_path / "work" / "mended").touch()
    run_study(load_study(study_file, keys), tmp_path / "work", retry_failed=True)
    assert set(load_results(tmp_path / "work").state) == {"complete"}


# What the tools read


def test_the_tool_that_compares_studies_reads_its_tables(run_tiny, study_file):
    tool = runpy.run_path(str(REPO / "tools/verdicts.py"))
    keys = {"trials": 4, "final_seeds": 3}
    study, table = load_study(study_file, keys), load_results(run_tiny(**keys))
    said = set(tool["found_verdicts"](study, table, looked=False))
    assert ("tuned", "better", "student_alone") in said
    assert ("published", "worse", "student_alone") in said
    assert ("tuned", "better", "published") in said
    assert len(said) == 3 + 2  # each against the student alone, the tuned against the two others
    finals = tool["finals"](study, table)
    assert set(finals["method"]) == {"student_alone", "published", "feature_l2", "tuned"}
    agreed = tool["agreement"](study, [finals, finals]).set_index(["method", "against"])
    assert agreed.loc[("tuned", "student_alone"), "one study"] == "100%"
