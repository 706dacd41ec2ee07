"""The queue of a study: what is sent off when, what waits, what of a run that dies, fails or hangs,
and how all of it stops. The first tests have an executor in this process."""

from __future__ import annotations

import io
import os
import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from fake_worker import check, measure, train
from rich.console import Console
from tiny_study import FAKE, STATES, executed, finish, outcome, run_dirs, trials_of, wait_for

from fourierkd.analysis import load_results
from fourierkd.errors import StudyError
from fourierkd.records import Metric, Request, Result, State
from fourierkd.run_dir import RunDir
from sweeps.account import Account
from sweeps.coordinator import run_study
from sweeps.driver import Driver, Interrupted
from sweeps.executors.base import End, Executor, Needs, Question, Verdict
from sweeps.executors.local import LocalExecutor
from sweeps.progress import Display
from sweeps.runs import Run
from sweeps.study_file import load_study
from sweeps.tables import UNFINISHED


class InProcess:
    """Trains the oldest run that was sent off whenever it is asked what ended."""

    interval, settle, outlives = 0.0, 0.0, False

    def __init__(self) -> None:
        self.jobs = 1
        self.queue: list[RunDir] = []
        self.asked: list[tuple[Question, Path]] = []
        self.log: list[tuple[str, str, int]] = []  # what, which run, places at once
        self.most = 0

    def start(self, needs: Needs, jobs: int) -> None:
        self.jobs = jobs

    def alive(self, runs: Iterable[RunDir]) -> set[Path]:
        return {run.path for run in runs} & {run.path for run in self.queue}

    def submit(self, run: RunDir, *, resume: bool) -> None:
        self.queue.append(run)
        self.most = max(self.most, len(self.queue))
        self.log.append(("sent", run.path.name, self.jobs))

    def ask(self, question: Question, requests: Path) -> None:
        self.asked.append((question, requests))

    def poll(self, timeout: float) -> list[End]:
        if self.asked:
            question, requests = self.asked.pop()
            {"check": check, "measure": measure}[question](requests)
            return [End(requests, "ended", "")]
        if not self.queue:
            return []
        run = self.queue.pop(0)
        train(run, resume=False)
        self.log.append(("ended", run.path.name, self.jobs))
        return [End(run.path, "ended", "gone")]

    def waiting(self) -> dict[Path, str]:
        return {}

    def kill(self, run: RunDir) -> None:
        raise AssertionError("nothing hangs here")

    def close(self, *, detach: bool = False) -> None:
        self.queue.clear()


class OutOfOrder(InProcess):
    """Trains any of the runs next: they end in another order than they were sent off."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(0)

    def poll(self, timeout: float) -> list[End]:
        self.random.shuffle(self.queue)
        return super().poll(timeout)


def position(log, what: str, start: str) -> list[int]:
    return [i for i, (did, name, _) in enumerate(log) if did == what and name.startswith(start)]


@pytest.fixture
def study(study_file, tmp_path):
    def make(executor=None, **overrides):
        executor = executor or InProcess()
        config = load_study(study_file, {"trials": 6, "final_seeds": 2, **overrides})
        work_dir = tmp_path / f"work{len(list(tmp_path.glob('work*')))}"
        run_study(config, work_dir, executor=executor)
        return executor, work_dir

    return make


def test_final_runs_of_arms_take_the_places_that_the_search_leaves_free(study):
    executor, _ = study(jobs=2, trial_jobs=2)
    log = executor.log
    assert executor.most == 2
    finals = [n for did, n, _ in log if did == "sent" and n.startswith("final")]
    assert len(finals) == len(set(finals)) == 8  # student alone, published, plain L2, tuned
    # while the last trial and the last run of the rung are trained, no place is empty
    assert position(log, "sent", "final_")[0] < position(log, "ended", "trial_")[-1]
    assert position(log, "sent", "final_")[1] < position(log, "ended", "rung_")[-1]
    # but what the search chose waits for the rung
    assert position(log, "sent", "rung_")[0] > position(log, "ended", "trial_")[-1]
    assert position(log, "sent", "final_tuned")[0] > position(log, "ended", "rung_")[-1]
    assert all(jobs == 2 for _, _, jobs in log)


def test_phases_of_other_numbers_of_jobs_do_not_overlap(study):
    """With as many runs at once go as many threads a run, and with these a run's digits."""
    executor, _ = study(jobs=2, trial_jobs=1)
    log = executor.log
    assert position(log, "sent", "final_")[0] > position(log, "ended", "trial_")[-1]
    assert {jobs for _, name, jobs in log if name.startswith(("trial", "baseline"))} == {1}
    assert {jobs for _, name, jobs in log if name.startswith(("rung", "final"))} == {2}


def test_the_order_of_the_queue_changes_no_result(study):
    values = []
    for jobs in (1, 3):
        _, work_dir = study(jobs=jobs, trial_jobs=jobs, sampler_startup=100, patience=None)
        runs = sorted((work_dir / "runs").glob("final_[!t]*"))
        values.append({run.name: RunDir(run).read_result().metrics for run in runs})
    assert values[0] == values[1]
    assert len(values[0]) == 6


@pytest.mark.parametrize("at_once", [2, 3])
def test_a_search_does_not_depend_on_which_run_ends_first(study, at_once):
    keys = {"trials": 14, "sampler_startup": 4, "jobs": at_once, "trial_jobs": at_once}
    found = {}
    for executor in (InProcess(), OutOfOrder()):
        _, work_dir = study(executor, **keys)
        found[type(executor)] = outcome(work_dir)
        ended = [n for did, n, _ in executor.log if did == "ended" and n.startswith("trial")]
        assert (ended == sorted(ended)) == (type(executor) is InProcess)
        # while a trial is waited for, runs that wait for nothing take its neighbours' places
        assert executor.most == at_once
    assert found[InProcess] == found[OutOfOrder]
    assert len({str(parameters) for _, parameters, *_ in found[InProcess]}) == 13


def test_a_place_stays_empty_until_a_run_has_ended(tmp_path):
    executor = InProcess()
    driver = Driver(executor, Display(Metric("score")), Account())
    ended: list[str] = []

    def run(name: str) -> Run:
        request = Request(config="", seed=0)
        folder = RunDir(tmp_path / name)
        return Run(folder, request, name, lambda result: ended.append(name), metric="score")

    def runs():
        yield run("a")
        while "a" not in ended:
            yield None
        yield run("b")

    driver.drive(runs(), 2)
    assert ended == ["a", "b"]
    assert executor.most == 1
    assert RunDir(tmp_path / "b").read_result().state == State.COMPLETE


def test_the_double_is_an_executor():
    executor: Executor = InProcess()
    assert not executor.poll(0)


# Runs that live elsewhere


def drive(executor, *folders, report=lambda row, value: None) -> tuple[list[Result], str]:
    """Train these, and give their results and what the person saw."""
    ended: list[Result] = []
    display = Display(Metric("score"), Console(file=io.StringIO(), width=200))
    driver = Driver(executor, display, Account())
    request = Request(config="", seed=0)
    runs = [
        Run(RunDir(f), request, f.name, ended.append, metric="score", report=report)
        for f in folders
    ]
    driver.drive(iter(runs), len(runs))
    return ended, display.console.file.getvalue()


class Late(InProcess):
    """What a run writes at its end is seen here half a second later, or never."""

    interval = 0.02

    def __init__(self, settle: float, *, ever: bool = True) -> None:
        super().__init__()
        self.settle, self.ever = settle, ever
        self.hidden: dict[Path, float] = {}

    def poll(self, timeout: float) -> list[End]:
        time.sleep(timeout)
        for path, since in list(self.hidden.items()):
            if self.ever and time.monotonic() - since > 0.5:
                (path / "hidden").rename(path / "result.json")
                del self.hidden[path]
        ends = super().poll(timeout)
        for end in ends:
            RunDir(end.run).result.rename(end.run / "hidden")
            self.hidden[end.run] = time.monotonic()
        return ends


def test_a_result_that_is_seen_late_is_waited_for(tmp_path):
    executor = Late(settle=60.0)
    (result,), _ = drive(executor, tmp_path / "a")
    assert result.state == State.COMPLETE
    assert len(executor.log) == 2  # sent and ended once


def test_a_result_that_is_not_seen_in_time_is_none(tmp_path):
    executor = Late(settle=0.1, ever=False)
    start = time.monotonic()
    (result,), said = drive(executor, tmp_path / "a")
    assert time.monotonic() - start > 0.3
    assert (result.state, len(executor.log)) == (State.FAILED, 6)
    assert result.reason == "Died: gone, 3 times without a checkpoint in between"
    assert said.count("gone; going on from its last checkpoint") == 2


class Elsewhere(InProcess):
    """A run of an earlier session that is trained on; it is told what its folder held then."""

    outlives = True

    def alive(self, runs: Iterable[RunDir]) -> set[Path]:
        return {run.path for run in runs}

    def submit(self, run: RunDir, *, resume: bool) -> None:
        self.found = run.stop_asked(), run.read_result(), run.request.stat().st_mtime_ns
        self.queue.append(run)


def test_the_folder_of_a_run_that_is_alive_is_not_touched(tmp_path):
    """It may write its result, or look for a stop, at any moment."""
    run_dir = RunDir(tmp_path / "a").create(Request(config="", seed=0))
    run_dir.ask_stop(State.PRUNED, "score 1 at iteration 2")
    run_dir.write_result(Result(state=State.STOPPED, reason="signal SIGTERM"))
    written = run_dir.request.stat().st_mtime_ns
    executor = Elsewhere()
    (result,), _ = drive(executor, run_dir.path)
    stop, stood, request = executor.found
    assert stop.state == State.PRUNED
    assert stood.reason == "signal SIGTERM"
    assert request == written
    assert result.state == State.COMPLETE


def test_a_run_that_is_not_alive_starts_from_a_clean_folder(tmp_path):
    run_dir = RunDir(tmp_path / "a").create(Request(config="", seed=0))
    run_dir.ask_stop(State.STOPPED, "interrupted")
    run_dir.write_result(Result(state=State.STOPPED, reason="interrupted"))
    executor = Elsewhere()
    executor.alive = lambda runs: set()
    drive(executor, run_dir.path)
    assert executor.found[:2] == (None, None)


def test_folders_are_looked_at_as_often_as_the_engine_says(tmp_path, monkeypatch):
    class Slow(InProcess):
        interval = 0.3

        def __init__(self) -> None:
            super().__init__()
            self.since = time.monotonic()

        def poll(self, timeout: float) -> list[End]:
            time.sleep(min(timeout, 0.01))  # something else ended
            return super().poll(timeout) if time.monotonic() - self.since > 1.0 else []

    looks: list[float] = []
    tail = RunDir.tail

    def counted(run_dir: RunDir, offset: int = 0):
        looks.append(time.monotonic())
        return tail(run_dir, offset)

    monkeypatch.setattr(RunDir, "tail", counted)
    rows: list[int] = []
    drive(Slow(), tmp_path / "a", report=lambda row, value: rows.append(row["iter"]))
    assert rows == [2, 4, 6, 8, 10]
    assert len(looks) <= 1 + 1.0 / 0.3 + 1  # the last one when it has ended


def test_what_a_run_waits_for_in_a_queue_is_no_time_of_its_own(tmp_path):
    class Queue(InProcess):
        interval, outlives = 0.02, True

        def start(self, needs: Needs, jobs: int) -> None:
            self.since = time.monotonic()

        def poll(self, timeout: float) -> list[End]:
            time.sleep(timeout)
            return super().poll(timeout) if time.monotonic() - self.since > 1.2 else []

        def waiting(self) -> dict[Path, str]:
            early = time.monotonic() - self.since < 1.0
            return {run.path: "Priority" for run in self.queue if early}

    account = Account()
    driver = Driver(Queue(), Display(Metric("score"), Console(file=io.StringIO())), account)
    run = Run(RunDir(tmp_path / "a"), Request(config="", seed=0), "a", lambda result: None)
    start = time.monotonic()
    driver.drive(iter([run]), 1)
    assert 0.1 < sum(account.parts.values()) < time.monotonic() - start - 0.9


class Ends(InProcess):
    """Jobs end in these ways before one trains its run; ``saves``: after another checkpoint."""

    def __init__(self, *verdicts: Verdict, saves: bool = False) -> None:
        super().__init__()
        self.verdicts, self.saves = list(verdicts), saves

    def poll(self, timeout: float) -> list[End]:
        if not self.verdicts:
            return super().poll(timeout)
        run = self.queue.pop(0)
        if self.saves:
            run.checkpoints.mkdir(exist_ok=True)
            path = run.checkpoint(len(self.verdicts))
            path.write_text('{"iter": 0}')
            run.keep_only(path)
        return [End(run.path, self.verdicts.pop(0), f"no more (job {len(self.verdicts)})")]


@pytest.mark.parametrize("saves", [True, False])
def test_who_is_preempted_comes_back(tmp_path, saves):
    executor = Ends(*["preempted"] * 20, saves=saves)
    (result,), _ = drive(executor, tmp_path / "a")
    assert result.state == State.COMPLETE
    assert len([did for did, *_ in executor.log if did == "sent"]) == 21


def test_who_makes_progress_comes_back_and_who_makes_none_fails(tmp_path):
    (result,), _ = drive(Ends(*["lost"] * 10, saves=True), tmp_path / "a")
    assert result.state == State.COMPLETE
    (result,), _ = drive(Ends("preempted", "lost", "timeout", "memory"), tmp_path / "b")
    assert result.state == State.FAILED
    assert result.reason == "Died: no more (job 0), 4 times without a checkpoint in between"


def test_who_is_cancelled_by_a_person_does_not_come_back(tmp_path):
    executor = Ends("cancelled")
    (result,), _ = drive(executor, tmp_path / "a")
    assert (result.state, result.reason) == (State.FAILED, "Cancelled: no more (job 0)")
    assert len(executor.log) == 1


def test_three_jobs_that_end_alike_stop_the_study_whatever_their_numbers(tmp_path):
    with pytest.raises(StudyError, match=r"the last 3 runs failed in the same way \(Cancelled"):
        drive(Ends("cancelled", "cancelled", "cancelled"), *(tmp_path / name for name in "abc"))


@pytest.mark.parametrize("answer", ["no", "yes", None])
def test_ctrl_c_leaves_runs_that_outlive_it_unless_the_person_says_otherwise(
    study_file, tmp_path, monkeypatch, answer
):
    closed: list[bool] = []

    class Long(InProcess):
        outlives = True

        def poll(self, timeout: float) -> list[End]:
            if not self.queue:
                return super().poll(timeout)
            (run,) = self.queue
            if run.stop_asked() is None:
                number = signal.SIGTERM if answer is None else signal.SIGINT
                if not closed and not (run.path / "told").exists():
                    (run.path / "told").touch()
                    os.kill(os.getpid(), number)
                return []
            self.queue.clear()
            run.write_result(Result(state=State.STOPPED, reason="interrupted"))
            return [End(run.path, "ended", "")]

        def close(self, *, detach: bool = False) -> None:
            closed.append(detach)

    asked: list[str] = []
    monkeypatch.setattr(
        Display, "asks", lambda _, question: asked.append(question) or answer == "yes"
    )
    config = load_study(study_file, {"trials": 3})
    with pytest.raises(Interrupted):
        run_study(config, tmp_path / "work", executor=Long())
    assert closed[0] is True
    assert asked == ([] if answer is None else ["stop the 1 live runs too, which else go on?"])
    run = RunDir(tmp_path / "work/runs/baseline_student_alone")
    assert (run.read_result() is not None) == (answer == "yes")


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
    patience = {"patience": 5.0} if how == "hang_once" else {}
    work_dir = run_tiny(trials=4, final_seeds=0, rung_trials=0, **patience, options__fake__fail=how)
    assert outcome(work_dir) == straight[:3]
    why = {
        "kill_once": "killed by signal 9",
        "hang_once": "it gave no sign of life for 5 s",
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
    more = load_study(study_file, {**keys, "trials": 4, "patience": 4.0})
    slow = ("sh", "-c", 'sleep 8; exec "$@"', "sh", *FAKE)
    run_study(more, work_dir, executor=LocalExecutor(work_dir / "worker.log", command=slow))
    assert "no sign of life" not in capsys.readouterr().out
    assert [t.state.name for t in trials_of(work_dir)] == ["COMPLETE"] * 3


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
