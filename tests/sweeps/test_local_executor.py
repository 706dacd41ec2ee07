import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_study import FAKE, STATES, executed, trials_of

from fourierkd.errors import StudyError
from fourierkd.records import Request
from fourierkd.run_dir import RunDir
from sweeps.executors.base import End, Needs
from sweeps.executors.local import LocalExecutor, gpus


@pytest.fixture
def executor(tmp_path):
    executor = LocalExecutor(tmp_path / "worker.log", command=FAKE)
    yield executor
    executor.close()


def make_run(path: Path, **options) -> RunDir:
    options = {key.replace("__", "."): value for key, value in options.items()}
    return RunDir(path).create(Request(config="", options=options, seed=0))


def wait_ends(executor: LocalExecutor, count: int, seconds: float = 20.0) -> list[End]:
    ends: list[End] = []
    end = time.monotonic() + seconds
    while len(ends) < count:
        assert time.monotonic() < end
        ends += executor.poll(0.1)
    return ends


def wait_iterations(run: RunDir, count: int) -> None:
    end = time.monotonic() + 20
    while not (run.path / "executed.txt").exists() or len(executed(run)) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def server_of() -> psutil.Process:
    """The one server; a process just started shows its command line a moment later."""
    end = time.monotonic() + 20
    while True:
        children = psutil.Process().children()
        servers = [p for p in children if "fake_worker.py" in " ".join(p.cmdline())]
        if servers or time.monotonic() > end:
            (server,) = servers
            return server
        time.sleep(0.01)


def test_two_runs_side_by_side(executor, tmp_path):
    executor.start(Needs(), 2)
    runs = [make_run(tmp_path / name) for name in "ab"]
    for run in runs:
        executor.submit(run, resume=False)
    ends = wait_ends(executor, 2)
    assert {end.run for end in ends} == {run.path for run in runs}
    assert {end.verdict for end in ends} == {"ended"}
    assert all(run.read_result().state == "complete" for run in runs)


def test_kill(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 2)
    executor.kill(run)
    (end,) = wait_ends(executor, 1)
    assert (end.verdict, end.words) == ("killed", "killed by signal 9 (out of memory?)")


def test_after_the_death_of_the_server_another_one_takes_its_runs(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 5)
    server_of().kill()
    (end,) = wait_ends(executor, 1)
    assert end.verdict == "lost"
    assert "server died" in end.words
    executor.submit(run, resume=True)
    (end,) = wait_ends(executor, 1)
    assert (end.verdict, end.words) == ("ended", "exited with code 0 and no result")
    assert run.read_result().state == "complete"
    assert sorted(set(executed(run))) == list(range(1, 11))
    assert len(executed(run)) < 15  # it went on from its checkpoint


def test_a_server_that_does_not_end_a_run_is_ended(executor, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.executors.local.KILL_PATIENCE", 0.2)
    run = make_run(tmp_path / "a", fake__sleep=5)
    executor.submit(run, resume=False)
    wait_iterations(run, 1)
    server_of().suspend()
    executor.kill(run)
    (end,) = wait_ends(executor, 1)
    assert "server died" in end.words
    with run.lock():  # the run ended with it
        pass


def test_the_server_stays_while_its_runs_save(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 3)
    for process in (server_of(), *server_of().children()):
        process.terminate()
    (end,) = wait_ends(executor, 1)
    assert (end.verdict, end.words) == ("ended", "exited with code 0 and no result")
    assert run.read_result().reason == "signal SIGTERM"
    assert server_of().is_running()


def test_no_process_outlives_the_executor(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=5)
    executor.submit(run, resume=False)
    wait_iterations(run, 1)
    family = [server_of(), *server_of().children()]
    assert len(family) == 2
    executor.close()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    with run.lock():
        pass


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    executor = LocalExecutor(tmp_path / "worker.log", command=("/no/such/program",))
    with pytest.raises(StudyError, match="cannot be started, got '/no/such/program'"):
        executor.submit(make_run(tmp_path / "a"), resume=False)


def test_a_server_that_dies_before_it_is_ready_is_started_once_more(tmp_path):
    """The reason that is told is its own, not what an earlier server left in the log."""
    log = tmp_path / "worker.log"
    log.write_text("BrokenPipeError: of yesterday\n")
    executor = LocalExecutor(log, command=(sys.executable, "-c", "raise SystemExit('no torch')"))
    run = make_run(tmp_path / "a")
    executor.submit(run, resume=False)
    (end,) = wait_ends(executor, 1)
    assert "server died" in end.words
    executor.submit(run, resume=True)
    with pytest.raises(StudyError, match="before it was ready, 2 times: no torch; see"):
        wait_ends(executor, 1)
    executor.close()
    silent = LocalExecutor(log, command=(sys.executable, "-c", "raise SystemExit(3)"))
    silent.submit(run, resume=True)
    wait_ends(silent, 1)
    silent.submit(run, resume=True)
    with pytest.raises(StudyError, match="code 3 before it was ready, 2 times: no message; see"):
        wait_ends(silent, 1)
    silent.close()


def test_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []


def test_each_job_has_a_gpu_of_its_own(executor, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    executor.start(Needs(), 2)
    runs = [make_run(tmp_path / name, fake__sleep=0.05) for name in "ab"]
    for run in runs:
        executor.submit(run, resume=False)
    wait_ends(executor, 2)
    seen = [(run.path / "env.json").read_text() for run in runs]
    assert '"CUDA_VISIBLE_DEVICES": "2"' in seen[0]
    assert '"CUDA_VISIBLE_DEVICES": "5"' in seen[1]


def test_ctrl_c_of_the_terminal_does_not_reach_the_server(executor, tmp_path):
    executor.submit(make_run(tmp_path / "a"), resume=False)
    assert os.getpgid(server_of().pid) != os.getpgid(0)
    wait_ends(executor, 1)


def test_jobs_share_the_cores(run_tiny):
    work_dir = run_tiny(trials=4, final_seeds=2, jobs=2, trial_jobs=2)
    assert all(t.state == STATES.COMPLETE for t in trials_of(work_dir))
    environment = json.loads((work_dir / "runs" / "trial_001" / "env.json").read_text())
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert environment["OMP_NUM_THREADS"] == str(share)


def test_a_run_takes_the_threads_that_it_needs(executor, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    executor.start(Needs(cpus=7, gpus=0), 2)
    run = make_run(tmp_path / "a")
    executor.submit(run, resume=False)
    wait_ends(executor, 1)
    environment = json.loads((run.path / "env.json").read_text())
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "7"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


def test_a_lock_that_somebody_holds_blocks_neither_the_study_nor_another_run(executor, tmp_path):
    """As a process that ends, or a lost machine's on a network's file system, holds it."""
    executor.start(Needs(), 2)
    held, free = (make_run(tmp_path / name) for name in "ab")
    with held.lock():
        start = time.monotonic()
        executor.submit(held, resume=False)
        assert time.monotonic() - start < 1
        executor.submit(free, resume=False)
        (end,) = wait_ends(executor, 1)
        assert end.run == free.path
        assert executor.alive([held, free]) == {held.path}
        assert not held.result.exists()
    wait_ends(executor, 1)
    assert held.read_result().state == "complete"


def test_a_run_that_is_alive_is_not_sent_twice(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    for _ in range(2):
        executor.submit(run, resume=False)
    wait_ends(executor, 1)
    assert executor.alive([run]) == set()
    assert executed(run) == list(range(1, 11))
    assert executor.poll(0.3) == []


def test_a_run_waits_until_its_process_is_there(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    assert executor.waiting() == {run.path: "the training server starts"}
    while executor.waiting():
        assert executor.poll(0.05) == []
    wait_ends(executor, 1)


def test_a_server_that_begins_no_run_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.executors.local.BEGIN_PATIENCE", 0.2)
    executor = LocalExecutor(tmp_path / "worker.log", command=("sleep", "100"))
    executor.submit(make_run(tmp_path / "a"), resume=False)
    (end,) = wait_ends(executor, 1)
    assert (end.verdict, executor.waiting()) == ("lost", {})
    executor.close()
