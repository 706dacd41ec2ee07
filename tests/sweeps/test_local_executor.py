import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_study import FAKE, STATES, executed, trials_of

from fourierkd.errors import StudyError
from fourierkd.records import Request
from fourierkd.run_dir import RunDir
from sweeps.executors.base import Exit
from sweeps.executors.local import LocalExecutor, gpus


@pytest.fixture
def executor(tmp_path):
    executor = LocalExecutor(tmp_path / "worker.log", command=FAKE)
    yield executor
    executor.close()


def make_run(path: Path, **options) -> RunDir:
    options = {key.replace("__", "."): value for key, value in options.items()}
    return RunDir(path).create(Request(config="", options=options, seed=0))


def wait_exits(executor: LocalExecutor, count: int, seconds: float = 20.0) -> list[Exit]:
    exits: list[Exit] = []
    end = time.monotonic() + seconds
    while len(exits) < count:
        assert time.monotonic() < end
        exits += executor.poll(0.1)
    return exits


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
    executor.jobs = 2
    runs = [make_run(tmp_path / name) for name in "ab"]
    for run in runs:
        executor.submit(run, resume=False)
    exits = wait_exits(executor, 2)
    assert {end.run for end in exits} == {run.path for run in runs}
    assert {(end.code, end.signal) for end in exits} == {(0, None)}
    assert all(run.read_result().state == "complete" for run in runs)


def test_kill(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 2)
    executor.kill(run)
    (end,) = wait_exits(executor, 1)
    assert end.signal == signal.SIGKILL
    assert end.why() == "killed by signal 9 (out of memory?)"


def test_after_the_death_of_the_server_another_one_takes_its_runs(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 5)
    server_of().kill()
    (end,) = wait_exits(executor, 1)
    assert (end.code, end.signal) == (None, None)
    assert "server died" in end.why()
    executor.submit(run, resume=True)
    (end,) = wait_exits(executor, 1)
    assert end.code == 0
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
    (end,) = wait_exits(executor, 1)
    assert "server died" in end.why()
    with run.lock():  # the run ended with it
        pass


def test_the_server_stays_while_its_runs_save(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 3)
    for process in (server_of(), *server_of().children()):
        process.terminate()
    (end,) = wait_exits(executor, 1)
    assert end.code == 0
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
    (end,) = wait_exits(executor, 1)
    assert "server died" in end.why()
    executor.submit(run, resume=True)
    with pytest.raises(StudyError, match="before it was ready, 2 times: no torch; see"):
        wait_exits(executor, 1)
    executor.close()
    silent = LocalExecutor(log, command=(sys.executable, "-c", "raise SystemExit(3)"))
    silent.submit(run, resume=True)
    wait_exits(silent, 1)
    silent.submit(run, resume=True)
    with pytest.raises(StudyError, match="code 3 before it was ready, 2 times: no message; see"):
        wait_exits(silent, 1)
    silent.close()


def test_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []


def test_each_job_has_a_gpu_of_its_own(executor, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    executor.jobs = 2
    runs = [make_run(tmp_path / name, fake__sleep=0.05) for name in "ab"]
    for run in runs:
        executor.submit(run, resume=False)
    wait_exits(executor, 2)
    seen = [(run.path / "env.json").read_text() for run in runs]
    assert '"CUDA_VISIBLE_DEVICES": "2"' in seen[0]
    assert '"CUDA_VISIBLE_DEVICES": "5"' in seen[1]


def test_ctrl_c_of_the_terminal_does_not_reach_the_server(executor, tmp_path):
    executor.submit(make_run(tmp_path / "a"), resume=False)
    assert os.getpgid(server_of().pid) != os.getpgid(0)
    wait_exits(executor, 1)


def test_jobs_share_the_cores(run_tiny):
    work_dir = run_tiny(trials=4, final_seeds=2, jobs=2, trial_jobs=2)
    assert all(t.state == STATES.COMPLETE for t in trials_of(work_dir))
    environment = json.loads((work_dir / "runs" / "trial_001" / "env.json").read_text())
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert environment["OMP_NUM_THREADS"] == str(share)
