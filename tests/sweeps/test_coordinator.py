"""A study end to end on the fake training server: what it writes; nothing is lost or done twice."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress

import optuna
import pandas as pd
import psutil
import pytest
from tiny_study import FAKE, REPO, executed, outcome, run_dirs, trials_of

from fourierkd.analysis import compare, load_results
from fourierkd.analysis.selection import candidates, choose, tuned_method
from fourierkd.analysis.tuning import study_from_table
from fourierkd.errors import ConfigError, StudyError
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.executors.local import LocalExecutor
from sweeps.space import suggest
from sweeps.study_file import load_study
from sweeps.tables import UNFINISHED

STATES = optuna.trial.TrialState
LOSS = "model.losses.fourier.loss"
WEIGHT = f"{LOSS}.loss_weight"


def wait_for(condition, process, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, (out, err)
    return out, err


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


def test_same_seed_same_trials_other_seed_others(run_tiny, straight):
    assert outcome(run_tiny("again", final_seeds=0)) == straight
    other = outcome(run_tiny("other", final_seeds=0, seed=1))
    assert [o[1] for o in other[1:]] != [s[1] for s in straight[1:]]


# The rung

LUCKY = {"options.fake.lucky": 41.0}  # the published weight


@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_trials_run_again_and_the_best_mean_is_chosen(run_tiny, seed):
    work_dir = run_tiny(seed=seed, **LUCKY)
    trials = sorted(trials_of(work_dir), key=lambda t: -t.value)
    assert trials[0].user_attrs["arm"] == "published"  # at the search's seed
    runs = run_dirs(work_dir)
    seeds = [1000 * (seed + 1) + 900, 1000 * (seed + 1) + 901]
    assert sum(name.startswith("rung_") for name in runs) == 6
    means = {}
    for trial in trials[:3]:
        own = [runs[f"rung_t{trial.number:03d}_seed{s}"] for s in seeds]
        means[trial.number] = sum(run.read_result().best.value for run in own) / 2
        for run, s in zip(own, seeds, strict=True):
            request = run.read_request()
            assert (request.phase, request.method) == ("rung", "rung")
            assert (request.trial, request.seed) == (trial.number, s)
            assert request.parameters == trial.params
            assert request.options[WEIGHT] == trial.params["fourier.loss_weight"]
            assert request.test_split is None  # the choice sees train and val only
            assert request.wandb.job_type == "rung"
    chosen = max(means, key=means.get)
    assert chosen != trials[0].number
    finals = [name for name in runs if name.startswith("final_tuned_")]
    first = 1000 * (seed + 1)
    assert finals == [f"final_tuned_t{chosen:03d}_seed{first + i}" for i in (0, 1)]

    table = load_results(work_dir)
    assert (table.phase == "rung").sum() == 6
    assert choose(table) == chosen
    assert set(table[table.phase != "rung"].seed) == {seed, first, first + 1}
    finals = compare(table, baseline="student_alone")
    assert set(finals["n"]) == {2}
    assert "rung" not in set(finals["method"])
    assert len(study_from_table(table).trials) == 7


def test_two_study_seeds_share_no_seed_but_have_the_same_phases(run_tiny):
    names = [set(run_dirs(run_tiny(f"work_{s}", trials=4, seed=s))) for s in (0, 1)]
    fresh = [{n.rpartition("_seed")[2] for n in own if "_seed" in n} for own in names]
    assert fresh == [{"1000", "1001", "1900", "1901"}, {"2000", "2001", "2900", "2901"}]


@pytest.mark.parametrize("off", [{"rung_trials": 0}, {"rung_seeds": 0}, {"rung_trials": 1}])
def test_without_a_rung_the_best_value_is_chosen(run_tiny, off):
    work_dir = run_tiny(trials=5, **LUCKY, **off)
    runs = run_dirs(work_dir)
    assert not [name for name in runs if name.startswith("rung_")]
    # It is the arm, whose final runs stand for it.
    assert not [name for name in runs if name.startswith("final_tuned")]
    assert tuned_method(load_results(work_dir)) == "published"


def test_fewer_trials_than_the_rung_takes(run_tiny):
    two = run_dirs(run_tiny("two", trials=3, final_seeds=1))
    assert sum(name.startswith("rung_") for name in two) == 4
    one = run_dirs(run_tiny("one", trials=2, final_seeds=1))  # nothing to choose from
    assert sum(name.startswith("rung_") for name in one) == 0
    assert [name for name in one if "tuned" in name] == []


def test_a_chosen_arm_shares_its_final_runs(run_tiny):
    mask = {"type": "LowPass", "cutoff": 0.4}
    arm = {f"arms.published.{LOSS}.mask": mask, f"arms.published.{WEIGHT}": 3.0}
    work_dir = run_tiny(trials=5, **arm)
    finals = sorted(name for name in run_dirs(work_dir) if name.startswith("final"))
    methods = ("feature_l2", "published", "student_alone")
    assert finals == [f"final_{m}_seed{s}" for m in methods for s in (1000, 1001)]
    assert tuned_method(load_results(work_dir)) == "published"
    text = "The chosen trial 0 is the arm published: its final runs stand for both."
    assert text in (work_dir / "report.html").read_text()


def test_a_sampled_trial_that_equals_a_reference_arm_shares_its_final_runs(run_tiny):
    same = {WEIGHT: 3.0, f"{LOSS}.mask": {"type": "LowPass", "cutoff": 0.5}}  # the start point
    work_dir = run_tiny(trials=3, final_seeds=1, reference_arms={"low_pass": same})
    finals = [name for name in run_dirs(work_dir) if name.startswith("final")]
    assert len(finals) == 3
    assert tuned_method(load_results(work_dir)) == "low_pass"


def test_failed_runs_of_the_rung_are_rows_and_the_search_decides(run_tiny):
    fail = {"options.fake.fail": "exception", "options.fake.fail_phase": "rung"}
    work_dir = run_tiny(trials=5, final_seeds=1, rung_trials=2, rung_seeds=1, **fail)
    table = load_results(work_dir)
    assert list(table[table.phase == "rung"].state) == ["failed", "failed"]
    best = max(trials_of(work_dir), key=lambda t: t.value)
    assert f"final_tuned_t{best.number:03d}_seed1000" in run_dirs(work_dir)


def test_more_trials_may_bring_other_candidates(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=1)
    assert {name[:9] for name in run_dirs(work_dir) if name.startswith("rung_")} == {
        "rung_t000",
        "rung_t001",
    }
    run_tiny(trials=8, final_seeds=1)
    table = load_results(work_dir)
    again = table[table.phase == "rung"]
    assert len(again) == 6
    best = sorted(trials_of(work_dir), key=lambda t: -t.value)[:3]
    assert set(again.trial) == {t.number for t in best} != {0, 1}
    assert all(executed(run) == list(range(1, 11)) for run in run_dirs(work_dir).values())


def test_no_trial_with_a_value_leaves_the_arms(run_tiny):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": 2.9}
    space = {f"space.{WEIGHT}": suggest.float(3.0, 100.0)}
    work_dir = run_tiny(trials=3, final_seeds=1, start_points={}, **fail, **space)
    assert {t.state for t in trials_of(work_dir)} == {STATES.FAIL}
    assert "there is no tuned configuration" in (work_dir / "report.html").read_text()
    assert not [name for name in run_dirs(work_dir) if name.startswith(("rung", "final_tuned"))]


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


def test_a_killed_child_is_a_failed_trial_with_its_log(run_tiny):
    work_dir = run_tiny(
        trials=6, final_seeds=0, **{"options.fake.fail": "kill", "options.fake.fail_above": 20.0}
    )
    trials = trials_of(work_dir)
    failed = [t for t in trials if t.state == STATES.FAIL]
    assert failed
    assert len(failed) < len(trials)
    for trial in failed:
        assert trial.user_attrs["reason"] == (
            "Died: killed by signal 9 (out of memory?), 3 times without a checkpoint in between"
        )
        assert trial.user_attrs["log"].endswith("run.log")
        assert trial.params["fourier.loss_weight"] > 20
    table = pd.read_csv(work_dir / "results.csv")
    rows = table[table.state == "failed"]
    assert len(rows) == len(failed)
    assert rows.reason.str.contains("killed by signal 9").all()


@pytest.mark.parametrize("how", ["kill_once", "hang_once", "lose_once"])
def test_a_child_that_is_killed_or_hangs_or_loses_a_worker_goes_on_from_its_checkpoint(
    run_tiny, straight, capsys, how
):
    patience = {"patience": 2.0} if how == "hang_once" else {}
    work_dir = run_tiny(trials=4, final_seeds=0, rung_trials=0, **patience, options__fake__fail=how)
    assert outcome(work_dir) == straight[:3]
    why = {
        "kill_once": "killed by signal 9",
        "hang_once": "it gave no sign of life for 2 s",
        "lose_once": "stopped from outside (LostWorkerError: a data loader's worker died)",
    }[how]
    lines = [line for line in capsys.readouterr().out.splitlines() if why in line]
    assert len(lines) == 4
    assert all(line.endswith("; going on from its last checkpoint") for line in lines)
    for run in run_dirs(work_dir).values():
        assert executed(run) == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]


def test_a_server_that_hangs_is_ended_too(start_cli, straight, tmp_path):
    keys = ("final_seeds=0", "rung_trials=0", "trials=4", "options.fake.sleep=0.03")
    process = start_cli("--set", "patience=3.0", *keys)
    run = RunDir(tmp_path / "work" / "runs" / "trial_001")
    wait_for(lambda: (run.path / "executed.txt").exists() and len(executed(run)) >= 5, process)
    for child in psutil.Process(process.pid).children():
        child.suspend()  # the run goes on to its end, which nobody tells
    finish(process)
    assert outcome(tmp_path / "work") == straight[:3]
    assert executed(run) == list(range(1, 11))


def test_a_server_that_loads_is_no_run_that_hangs(run_tiny, study_file, tmp_path, capsys):
    """Its packages may take a minute; ``patience`` is that with a run whose process there is."""
    keys = {"trials": 3, "final_seeds": 0, "rung_trials": 0}
    work_dir = run_tiny(**keys)
    more = load_study(study_file, {**keys, "trials": 4, "patience": 0.7})
    slow = ("sh", "-c", 'sleep 3; exec "$@"', "sh", *FAKE)
    run_study(more, work_dir, executor=LocalExecutor(work_dir / "worker.log", command=slow))
    assert "no sign of life" not in capsys.readouterr().out
    assert [t.state.name for t in trials_of(work_dir)] == ["COMPLETE"] * 3


# Trying again


def test_failed_runs_are_tried_again_where_one_asks_for_it(run_tiny, study_file, tmp_path):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": -2.0}
    keys = {"trials": 4, "final_seeds": 1, "rung_trials": 0, **fail}
    with pytest.raises(StudyError, match="and --retry-failed tries these runs again"):
        run_tiny(**keys)
    work_dir = tmp_path / "work"
    failed = run_dirs(work_dir)
    (work_dir / "mended").touch()
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    trials = trials_of(work_dir)
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    again = [t.user_attrs.get("retry_of") for t in trials]
    assert again == [None, None, 0, 1, None]  # a trial of Optuna's cannot change once it ended
    assert trials[2].user_attrs["arm"] == "published"
    assert [t.params for t in trials[2:4]] == [t.params for t in trials[:2]]
    for name, run in failed.items():  # the same folder, from the checkpoint in it
        assert run.read_result().state == "complete", name
        assert executed(run) == [1, 2, 3, *range(3, 11)], name
    table = load_results(work_dir)
    assert set(table.state) == {"complete"}
    assert sorted(table[table.trial.notna()].trial) == [0, 1, 4]
    assert "of the trials failed" not in (work_dir / "report.html").read_text()
    before = outcome(work_dir)
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    assert outcome(work_dir) == before


def test_a_failed_final_run_is_tried_again(run_tiny, study_file, tmp_path):
    fail = {"options.fake.fail": "exception", "options.fake.fail_phase": "final"}
    keys = {"trials": 3, "final_seeds": 1, "rung_trials": 0, **fail}
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**keys)
    (tmp_path / "work" / "mended").touch()
    run_study(load_study(study_file, keys), tmp_path / "work", retry_failed=True)
    assert set(load_results(tmp_path / "work").state) == {"complete"}


# Stopping


def test_a_run_that_hangs_does_not_hold_up_ctrl_c(start_cli, tmp_path):
    process = start_cli("--set", "options.fake.fail=hang_once")
    run = RunDir(tmp_path / "work" / "runs" / "baseline_student_alone")
    wait_for((run.path / "once").exists, process)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    finish(process, code=130)
    assert time.monotonic() - start < 15
    assert run.last_checkpoint() == run.checkpoint(4)


def test_sigterm_to_all_processes_saves_the_live_run(start_cli, straight, tmp_path):
    """As Slurm at its time limit, systemd and a container's end send it."""
    keys = ("final_seeds=0", "rung_trials=0", "trials=4", "options.fake.sleep=0.03")
    process = start_cli("--set", *keys)
    run = RunDir(tmp_path / "work" / "runs" / "trial_001")
    wait_for(lambda: (run.path / "executed.txt").exists() and len(executed(run)) >= 3, process)
    start = time.monotonic()
    family = psutil.Process(process.pid).children(recursive=True)
    for member in [*family, psutil.Process(process.pid)]:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    finish(process, code=130)
    assert time.monotonic() - start < 10
    assert run.read_result().state == "stopped"
    finish(start_cli("--set", *keys))
    assert executed(run) == list(range(1, 11))  # nothing twice: it was saved where it was
    assert outcome(tmp_path / "work") == straight[:3]


def test_ctrl_c_stops_with_checkpoints_and_says_how_to_go_on(start_cli, straight, tmp_path):
    slow = ("--set", "final_seeds=0", "trials=4", "options.fake.sleep=0.03")
    run = RunDir(tmp_path / "work" / "runs" / "trial_001")
    process = start_cli(*slow, start_new_session=True)
    wait_for(lambda: (run.path / "executed.txt").exists() and len(executed(run)) >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = finish(process, code=130)
    assert "To go on: python sweeps/run.py study" in err
    assert run.read_result().state == "stopped"
    assert [t.state.name for t in trials_of(tmp_path / "work")] == ["COMPLETE", "RUNNING"]
    assert list(load_results(tmp_path / "work").state) == ["complete", "complete", "stopped"]
    assert UNFINISHED in (tmp_path / "work" / "report.html").read_text()
    finish(start_cli(*slow))
    assert sorted(executed(run)) == list(range(1, 11)) or len(executed(run)) <= 11
    assert outcome(tmp_path / "work") == straight[:3]


def test_a_second_ctrl_c_ends_at_once(start_cli, tmp_path):
    process = start_cli("--set", "options.fake.sleep=20")
    run = RunDir(tmp_path / "work" / "runs" / "baseline_student_alone")
    wait_for((run.path / "executed.txt").exists, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    finish(process, code=130)
    assert time.monotonic() - start < 10
    with run.lock():  # its child is gone too
        pass


# Failures


def test_three_failures_of_one_kind_stop_the_study(run_tiny, tmp_path):
    with pytest.raises(StudyError) as error:
        run_tiny(**{"options.fake.fail": "exception", "options.fake.fail_above": -2.0})
    assert "the last 3 runs failed in the same way (RuntimeError: boom)" in str(error.value)
    assert "run.log" in str(error.value)
    runs = run_dirs(tmp_path / "work")
    assert len(runs) == 3
    table = pd.read_csv(tmp_path / "work" / "results.csv")  # to be looked at
    assert list(table.state) == ["failed"] * 3
    assert UNFINISHED in (tmp_path / "work" / "report.html").read_text()
    trials = trials_of(tmp_path / "work")
    assert [t.state.name for t in trials] == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exception", "RuntimeError: boom"),
        (
            "exit",
            "Died: exited with code 3 and no result, 3 times without a checkpoint in between",
        ),
    ],
)
def test_a_failed_trial_is_a_row_and_the_study_goes_on(run_tiny, how, reason):
    work_dir = run_tiny(
        trials=6, final_seeds=1, **{"options.fake.fail": how, "options.fake.fail_above": 20.0}
    )
    trials = trials_of(work_dir)
    failed = [t for t in trials if t.state == STATES.FAIL]
    assert failed
    assert {t.user_attrs["reason"] for t in failed} == {reason}
    assert [t for t in trials if t.state == STATES.COMPLETE]
    assert (work_dir / "report.html").exists()


def test_bad_input_stops_the_study_and_is_tried_again(run_tiny, tmp_path):
    with pytest.raises(StudyError, match="baseline_student_alone cannot run .DataError: an image"):
        run_tiny(**{"options.fake.fail": "input", "options.fake.fail_above": -2.0})
    with pytest.raises(StudyError, match="baseline_student_alone cannot run"):
        run_tiny(**{"options.fake.fail": "input", "options.fake.fail_above": -2.0})


def test_a_full_disk_stops_the_study_which_goes_on_as_if_it_had_not(run_tiny, straight, tmp_path):
    full = {"options.fake.fail": "enospc", "final_seeds": 0}
    with pytest.raises(StudyError) as error:
        run_tiny(**full)
    assert "No space left on device); free some space, then run the same" in str(error.value)
    work_dir = tmp_path / "work"
    assert not [t for t in trials_of(work_dir) if t.state.is_finished()]
    (work_dir / "freed").touch()
    run_tiny(**full)
    assert outcome(work_dir) == straight


def test_a_wrong_metric_is_named_with_near_ones(run_tiny, tmp_path):
    with pytest.raises(StudyError) as error:
        run_tiny(metric="scroe")
    assert "got 'scroe'; did you mean 'score'?" in str(error.value)
    # Nothing was lost by that, so that the corrected study may take the folder.
    work_dir = run_tiny(final_seeds=0)
    assert (work_dir / "replaced_1" / "study.json").exists()
    assert len(trials_of(work_dir)) == 7


# Pruning


@pytest.mark.parametrize(("keys", "first"), [({}, 12), ({"prune_from": 0.3}, 6)])
def test_bad_trials_are_pruned_late_enough_and_arms_never(run_tiny, keys, first):
    """Any pruner has to wait for ``prune_from`` of the schedule: earlier values say little."""
    work_dir = run_tiny(
        trials=4,
        final_seeds=0,
        pruner={"type": "ThresholdPruner", "lower": 100.0},
        **keys,
        **{"options.fake.sleep": 0.1, "options.train_cfg.max_iters": 20},
    )
    trials = trials_of(work_dir)
    assert trials[0].user_attrs["arm"] == "published"
    assert trials[0].state == STATES.COMPLETE  # far below the threshold
    assert {t.state for t in trials[1:]} == {STATES.PRUNED}
    runs = run_dirs(work_dir)
    for trial in trials[1:]:
        run = runs[f"trial_{trial.number:03d}"]
        result = run.read_result()
        assert result.state == "pruned"
        assert result.reason.startswith("score ")
        assert result.reason.endswith(f" at iteration {first}")
        assert first <= len(executed(run)) < 20
        assert trial.value == trial.intermediate_values[trial.last_step]
        assert not runs[f"trial_{trial.number:03d}"].checkpoints.exists()
    assert runs["baseline_published"].last_checkpoint()


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_of_failed_trials_go_with_the_studys_end(run_tiny, tmp_path, keep):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": 20.0}
    work_dir = run_tiny(trials=3, final_seeds=0, keep_checkpoints=keep, **fail)
    (failed,) = [t for t in trials_of(work_dir) if t.state == STATES.FAIL]
    assert failed.user_attrs["arm"] == "published"
    runs = run_dirs(work_dir)
    assert (runs["baseline_published"].last_checkpoint() is not None) == keep
    assert runs["trial_001"].last_checkpoint() is not None


def test_checkpoints_of_failed_trials_stay_while_the_study_is_not_at_its_end(run_tiny, tmp_path):
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**{"options.fake.fail": "exception", "options.fake.fail_above": -2.0})
    assert all(run.last_checkpoint() for run in run_dirs(tmp_path / "work").values())


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "MedianPrunner"},
        {"type": "MedianPruner", "n_startup": 1},
        {"type": "MedianPruner", "n_startup_trials": -1},
        "median",
    ],
)
def test_a_bad_pruner_is_refused_before_anything_is_written(run_tiny, tmp_path, spec):
    with pytest.raises(ConfigError, match="prun|MedianPruner"):
        run_tiny(pruner=spec)
    assert not (tmp_path / "work").exists()


def test_a_search_of_several_trials_at_once_takes_the_same_steps_after_a_kill(
    start_cli, run_tiny, tmp_path
):
    keys = {"trials": 9, "final_seeds": 0, "rung_trials": 0, "jobs": 2, "trial_jobs": 2}
    expected = outcome(run_tiny("straight", **keys))
    told = ["--set", "options.fake.sleep=0.02", *(f"{key}={value}" for key, value in keys.items())]
    for name in ("trial_002", "trial_005"):
        process = start_cli(*told)
        ran = RunDir(tmp_path / "work" / "runs" / name).path / "executed.txt"
        wait_for(ran.exists, process)
        process.kill()
        process.wait()
    finish(start_cli(*told))
    assert outcome(tmp_path / "work") == expected


def test_failures_that_optuna_has_not_heard_of_are_tried_again_too(run_tiny, study_file, tmp_path):
    """Of two trials at once the results wait for each other; the study ends in between."""
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": -2.0}
    keys = {"trials": 4, "final_seeds": 0, "rung_trials": 0, "jobs": 2, "trial_jobs": 2, **fail}
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**keys)
    work_dir = tmp_path / "work"
    failed = [run for run in run_dirs(work_dir).values() if run.result.exists()]
    assert "RUNNING" in [trial.state.name for trial in trials_of(work_dir)]
    (work_dir / "mended").touch()
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    assert all(executed(run) == [1, 2, 3, *range(3, 11)] for run in failed)
    assert set(load_results(work_dir).state) == {"complete"}


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


# The work dir


def test_another_search_space_is_refused_and_nothing_is_lost(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=0)
    before = {p: p.read_bytes() for p in (work_dir / "optuna.log", work_dir / "study.json")}
    with pytest.raises(StudyError) as error:
        run_tiny(trials=3, final_seeds=0, **{f"space.{WEIGHT}": 3.0})
    assert "this work dir holds the study 'tiny', and space differs from it" in str(error.value)
    assert "choose another --work-dir or name" in str(error.value)
    assert {p: p.read_bytes() for p in before} == before


def test_one_process_at_a_time(start_cli, run_tiny, tmp_path):
    process = start_cli("--set", "options.fake.sleep=0.5")
    run = RunDir(tmp_path / "work" / "runs" / "baseline_student_alone")
    wait_for(run.request.exists, process)
    with pytest.raises(StudyError, match=f"process {process.pid} on .+ runs this one"):
        run_tiny()
    process.kill()
    process.wait()


def test_a_changed_reference_arm_is_noticed(run_tiny):
    run_tiny(trials=3, final_seeds=1)
    with pytest.raises(StudyError, match="was started with other options, got .'model.losses'"):
        run_tiny(trials=3, final_seeds=1, **{"reference_arms.feature_l2.model.losses": {}})


def test_jobs_share_the_cores(run_tiny):
    work_dir = run_tiny(trials=4, final_seeds=2, jobs=2, trial_jobs=2)
    assert all(t.state == STATES.COMPLETE for t in trials_of(work_dir))
    environment = json.loads((work_dir / "runs" / "trial_001" / "env.json").read_text())
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert environment["OMP_NUM_THREADS"] == str(share)


def test_the_time_of_an_interrupted_session_is_kept(start_cli, tmp_path):
    process = start_cli("--set", "final_seeds=0", "trials=3", "options.fake.sleep=0.05")
    run = RunDir(tmp_path / "work" / "runs" / "trial_001")
    wait_for((run.path / "executed.txt").exists, process)
    process.send_signal(signal.SIGTERM)
    finish(process, code=130)
    first = json.loads((tmp_path / "work" / "study_time.json").read_text())["seconds"]
    finish(start_cli("--set", "final_seeds=0", "trials=3", "options.fake.sleep=0.05"))
    both = json.loads((tmp_path / "work" / "study_time.json").read_text())["seconds"]
    assert 0.5 < first["training"] < both["training"]


def test_a_start_point_outside_of_the_space_is_left_out_and_said(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=0, **{f"space.{WEIGHT}": 41.0})
    assert [t.user_attrs.get("start") for t in trials_of(work_dir)] == [None, None]
    assert (
        "The start point by_hand lies outside of the search space"
        in (work_dir / "report.html").read_text()
    )


BRANCHES = """
study["arms"] = dict(student_alone={"model.teacher": None, "model.losses": {}})
study["start_points"] = {}
study["space"] = {
    "loss": suggest.choice(
        plain=dict(weight=suggest.float(0, 1)),
        masked=dict(mask=suggest.choice(low=1, high=2), weight=suggest.float(0, 1)),
    )
}
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_every_branch_of_the_space_is_tried_first(study_file, tmp_path, seed):
    study_file.write_text(study_file.read_text() + BRANCHES)
    study = load_study(study_file, {"trials": 6, "final_seeds": 0, "seed": seed})
    for _ in range(2):  # a study that goes on enqueues nothing again
        run_study(study, tmp_path / "work")
        trials = trials_of(tmp_path / "work")
        assert len(trials) == 5
        taken = [(t.params["loss"], t.params.get("loss.masked.mask")) for t in trials[:3]]
        assert taken == [("plain", None), ("masked", "low"), ("masked", "high")]
        assert [trials[i].params[f"loss.{loss}.weight"] for i, (loss, _) in enumerate(taken)] == [
            0.5,
            0.5,
            0.5,
        ]


def test_equal_trials_are_one_run_and_a_used_up_space_ends_the_search(study_file, tmp_path):
    study_file.write_text(study_file.read_text() + BRANCHES)
    space = {"a": suggest.categorical([0, 1]), "b": suggest.choice(x=0, y=1)}
    study = load_study(study_file, {"trials": 9, "final_seeds": 1, "space": space, "trial_jobs": 2})
    for _ in range(2):
        run_study(study, tmp_path / "work")
        runs = [RunDir(p) for p in sorted((tmp_path / "work/runs").glob("trial_*"))]
        chosen = [str(run.read_request().parameters) for run in runs]
        assert len(set(chosen)) == len(chosen) == 4
        page = (tmp_path / "work/report.html").read_text()
        assert "The search ended after 4 of 8 trials: the space has no other point" in page
    repeats = len(trials_of(tmp_path / "work")) - 4
    assert (f"{repeats} proposals repeat an earlier trial" in page) == (repeats > 0)


def test_what_cannot_be_built_is_refused_before_anything_is_trained(study_file, tmp_path):
    late = {"late": {"fake.refuse": "no such loss, got 'FourierLos'"}}
    study = load_study(study_file, {"trials": 3, "final_seeds": 1, "reference_arms": late})
    words = "the reference arm late cannot be run: no such loss, got 'FourierLos'"
    for _ in range(2):
        with pytest.raises(StudyError, match=words):
            run_study(study, tmp_path / "work")
        assert not list((tmp_path / "work").glob("runs/*"))
        assert not list((tmp_path / "work").glob("check.json*"))
        assert load_results(tmp_path / "work").empty
    right = load_study(study_file, {"trials": 3, "final_seeds": 1, "reference_arms": {}})
    run_study(right, tmp_path / "work")  # the same folder
    assert load_results(tmp_path / "work")["state"].eq("complete").all()


def test_a_corrected_definition_goes_on_where_no_trial_has_a_value(study_file, tmp_path):
    every = {"options.fake.fail": "exception", "options.fake.fail_phase": "trial"}
    keys = {"trials": 5, "final_seeds": 0, "start_points": {}}
    alone = {"student_alone": {"model.teacher": None, "model.losses": {}}}
    wrong = load_study(study_file, {**keys, "arms": alone, **every})
    with pytest.raises(StudyError, match="the last 3 runs failed in the same way"):
        run_study(wrong, tmp_path / "work")
    assert (tmp_path / "work/runs/baseline_student_alone/result.json").exists()
    run_study(load_study(study_file, {**keys, "arms": alone}), tmp_path / "work")
    assert (tmp_path / "work/replaced_1/runs/baseline_student_alone").is_dir()
    with pytest.raises(StudyError, match="and options differs from it"):
        run_study(wrong, tmp_path / "work")


def test_an_edited_config_and_other_data_are_named(study_file, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.json").write_text("[1]")
    keys = {"trials": 3, "final_seeds": 0, "options.data_root": str(data)}
    work = tmp_path / "work"
    run_study(load_study(study_file, keys), work)
    (data / "train.json").write_text("[2]")
    with pytest.raises(StudyError, match="'tiny', and data differs from it, got"):
        run_study(load_study(study_file, keys), work)
    (data / "train.json").write_text("[1]")
    config = load_study(study_file, keys).config
    config.write_text(config.read_text() + "seed = 3\n")
    with pytest.raises(StudyError, match=rf"and config differs from it .in {config.name}., got"):
        run_study(load_study(study_file, keys), work)
