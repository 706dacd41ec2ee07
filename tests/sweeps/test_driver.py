"""The queue of a study, on an executor in this process: what is sent off when, and what waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_worker import check, measure, train
from tiny_study import outcome

from fourierkd.records import Metric, Request, State
from fourierkd.run_dir import RunDir
from sweeps.account import Account
from sweeps.coordinator import run_study
from sweeps.driver import Driver
from sweeps.executors.base import Executor, Exit
from sweeps.progress import Display
from sweeps.runs import Run
from sweeps.study_file import load_study


class InProcess:
    """Trains the oldest run that was sent off whenever it is asked what ended."""

    def __init__(self) -> None:
        self.jobs = 1
        self.waiting: list[RunDir] = []
        self.asked: list[tuple[Callable[[Path], None], Path]] = []
        self.log: list[tuple[str, str, int]] = []  # what, which run, places at once
        self.most = 0

    def start(self) -> None:
        pass

    def submit(self, run_dir: RunDir, *, resume: bool) -> None:
        self.waiting.append(run_dir)
        self.most = max(self.most, len(self.waiting))
        self.log.append(("sent", run_dir.path.name, self.jobs))

    def check(self, requests: Path) -> None:
        self.asked.append((check, requests))

    def measure(self, requests: Path) -> None:
        self.asked.append((measure, requests))

    def has_begun(self, run_dir: RunDir) -> bool:
        return True

    def poll(self, timeout: float) -> list[Exit]:
        if self.asked:
            answer, requests = self.asked.pop()
            answer(requests)
            return [Exit(requests, 0, None)]
        if not self.waiting:
            return []
        run_dir = self.waiting.pop(0)
        train(run_dir, resume=False)
        self.log.append(("ended", run_dir.path.name, self.jobs))
        return [Exit(run_dir.path, 0, None)]

    def kill(self, run_dir: RunDir) -> None:
        raise AssertionError("nothing hangs here")

    def close(self) -> None:
        self.waiting.clear()


class OutOfOrder(InProcess):
    """Trains any of the runs next: they end in another order than they were sent off."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(0)

    def poll(self, timeout: float) -> list[Exit]:
        self.random.shuffle(self.waiting)
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
