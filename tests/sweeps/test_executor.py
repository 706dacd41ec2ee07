import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_study import FAKE, executed

from fourierkd.errors import StudyError
from fourierkd.run_dir import RunDir
from sweeps.executor import Exit, LocalExecutor, gpus


@pytest.fixture
def executor(tmp_path):
    executor = LocalExecutor(tmp_path / "worker.log", command=FAKE)
    yield executor
    executor.close()


def make_run(path: Path, **options) -> RunDir:
    options = {key.replace("__", "."): value for key, value in options.items()}
    return RunDir(path).create({"options": options, "seed": 0, "test_split": None})


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
    assert all(run.read_result()["state"] == "complete" for run in runs)


def test_kill(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 2)
    executor.kill(run)
    (end,) = wait_exits(executor, 1)
    assert end.signal == signal.SIGKILL
    assert end.why() == "killed by signal 9 (out of memory?)"


def test_the_death_of_the_server_costs_no_run(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.05)
    executor.submit(run, resume=False)
    wait_iterations(run, 5)
    server_of().kill()
    (end,) = wait_exits(executor, 1)
    assert end.code == 0
    assert run.read_result()["state"] == "complete"
    assert sorted(set(executed(run))) == list(range(1, 11))
    assert len(executed(run)) < 15  # it went on from its checkpoint


def test_a_server_that_dies_again_and_again_is_given_up(executor, tmp_path):
    run = make_run(tmp_path / "a", fake__sleep=0.3)
    executor.submit(run, resume=False)
    exits: list[Exit] = []
    killed = 0
    while not exits:
        lines = len(executed(run)) if (run.path / "executed.txt").exists() else 0
        wait_iterations(run, lines + 1)
        server_of().kill()
        killed += 1
        end = time.monotonic() + 5
        while not exits and time.monotonic() < end and len(executed(run)) <= lines + 1:
            exits = executor.poll(0.05)
    assert killed == 3
    assert "server died" in exits[0].why()


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


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((sys.executable, "-c", "raise SystemExit('no torch here')"), "no torch here"),
        (("/no/such/program",), "cannot be started, got '/no/such/program'"),
    ],
)
def test_a_server_that_does_not_start_is_an_error(tmp_path, command, message):
    executor = LocalExecutor(tmp_path / "worker.log", command=command)
    with pytest.raises(StudyError, match=message):  # noqa: PT012 - either call may notice
        executor.submit(make_run(tmp_path / "a"), resume=False)
        wait_exits(executor, 1)
    executor.close()


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
