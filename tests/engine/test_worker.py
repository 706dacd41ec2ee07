"""The fork server: what the coordinator sends and sees, and who dies with whom."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONG = {"train_cfg.max_iters": 1_000_000, "param_scheduler": None}


class Server:
    """``python -m fourierkd.engine.worker`` in a session of its own."""

    def __init__(self, log: Path) -> None:
        path = os.pathsep.join([str(HERE.parent.parent), str(HERE)])
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fourierkd.engine.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        self.lines = b""

    def send(self, **message: object) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def event(self, timeout: float = 90.0) -> dict:
        end = time.monotonic() + timeout
        while b"\n" not in self.lines:
            ready, _, _ = select.select([self.process.stdout], [], [], end - time.monotonic())
            assert ready, "the server says nothing"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the server ended"
            self.lines += data
        line, _, self.lines = self.lines.partition(b"\n")
        return json.loads(line)

    def train(self, run_dir, *, threads: int = 1) -> int:
        """Start a run; returns its process id."""
        self.send(run=str(run_dir.path), resume=False, env={"OMP_NUM_THREADS": str(threads)})
        event = self.event()
        assert (event["event"], event["run"]) == ("started", str(run_dir.path))
        return event["pid"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "log")
    assert server.event() == {"event": "ready"}
    yield server
    server.process.kill()
    server.process.wait()


def wait_for_rows(run_dir) -> None:
    end = time.monotonic() + 60
    while not run_dir.rows():
        assert time.monotonic() < end, run_dir.log.read_text()
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(run_dir, code: int | None, number: int | None = None) -> dict:
    return {"event": "exited", "run": str(run_dir.path), "code": code, "signal": number}


def test_a_run_trains_in_a_child_with_its_environment(server, make_run):
    run_dir = make_run(test_split="val")
    server.train(run_dir, threads=2)
    assert server.event() == ended(run_dir, 0)
    assert run_dir.read_result()["state"] == "complete"
    assert run_dir.read_result()["metrics"]["test/acc"] == run_dir.read_result()["best"]["value"]
    assert json.loads(run_dir.environment.read_text())["threads"] == 2
    assert "iter 20/20" in run_dir.log.read_text()


def test_bad_input_is_code_2_and_one_line_in_the_log(server, make_run):
    run_dir = make_run(options={"metric": "mIoU"})
    server.train(run_dir)
    assert server.event() == ended(run_dir, 2)
    assert run_dir.read_result()["state"] == "failed"
    last = run_dir.log.read_text().splitlines()[-1]
    assert last.startswith("fourierkd: error: metric must be one")


def test_a_bug_is_code_1_with_its_traceback_in_the_log(server, make_run):
    run_dir = make_run(options={"optim_wrapper.optimizer.type": "NoSuchOptimizer"})
    server.train(run_dir)
    assert server.event() == ended(run_dir, 1)
    assert run_dir.read_result()["reason"].startswith("TypeError: ")
    assert "Traceback" in run_dir.log.read_text()


def test_kill_and_resume(server, make_run):
    run_dir = make_run(options=LONG)
    pid = server.train(run_dir)
    wait_for_rows(run_dir)
    assert os.getpgid(pid) == pid  # Ctrl-C in a terminal does not reach it
    server.send(kill=str(run_dir.path))
    assert server.event() == ended(run_dir, None, 9)
    assert run_dir.read_result() is None
    done = run_dir.rows()[-1]["iter"]
    run_dir.create(
        {**run_dir.read_request(), "options": {**LONG, "train_cfg.max_iters": done + 400}}
    )
    server.send(run=str(run_dir.path), resume=True, env={"OMP_NUM_THREADS": "1"})
    assert server.event()["event"] == "started"
    assert server.event() == ended(run_dir, 0)
    assert run_dir.read_result()["iters"] == done + 400


def test_stop_by_control_file_and_by_signal(server, make_run):
    runs = make_run("a", LONG), make_run("b", LONG)
    pids = [server.train(r) for r in runs]  # two at once
    for run_dir in runs:
        wait_for_rows(run_dir)
    runs[0].ask_stop("pruned", "behind")
    assert server.event() == ended(runs[0], 0)
    os.kill(pids[1], signal.SIGTERM)
    assert server.event() == ended(runs[1], 0)
    assert [r.read_result()["state"] for r in runs] == ["pruned", "stopped"]
    assert runs[1].read_result()["reason"] == "signal SIGTERM"


def test_nonsense_is_survived(server, make_run):
    server.process.stdin.write(b"nonsense\n{}\n\n")
    run_dir = make_run(options={"train_cfg.max_iters": 1})
    server.train(run_dir)
    assert server.event() == ended(run_dir, 0)


def test_missing_folder_is_code_2(server, tmp_path):
    server.send(run=str(tmp_path / "none"), resume=False)
    assert server.event()["event"] == "started"
    assert server.event()["code"] == 2


@pytest.mark.parametrize("how", ["stdin", "kill"])
def test_children_die_with_the_server(make_run, tmp_path, how):
    server = Server(tmp_path / "log")
    server.event()
    run_dir = make_run(options=LONG)
    pid = server.train(run_dir)
    wait_for_rows(run_dir)
    server.process.send_signal(signal.SIGINT)  # ignored: the coordinator decides
    time.sleep(0.2)
    assert server.process.poll() is None
    if how == "stdin":
        server.process.stdin.close()
    else:
        server.process.kill()
    server.process.wait(timeout=20)
    end = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    with run_dir.lock():  # the folder is free again
        pass
