"""The fork server: what the coordinator sends and sees, who dies with whom, what is inherited."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fourierkd.records import State
from tests.engine.conftest import HERE, TEACHER
from tests.wandb_files import history, segments, summary

LONG = {"train_cfg.max_iters": 1_000_000, "param_scheduler": None}
WORKERS = {"train_dataloader.num_workers": 2, "train_dataloader.persistent_workers": True}
SPECTRA = {"default_hooks": {"spectra": {"type": "SpectraHook", "every": 1}}}

# The server itself, which writes down what its children will inherit.
LISTED = """
import atexit, json, os, sys, weakref
handlers, forks = [], []
register = atexit.register

def record(function, *arguments, **keywords):
    name = getattr(function, "__qualname__", type(function).__qualname__)
    handlers.append(f"{getattr(function, '__module__', None)}.{name}")
    return register(function, *arguments, **keywords)

atexit.register = record
from fourierkd.serving import server
load = server.load

def load_and_list():
    load()
    import multiprocessing, multiprocessing.resource_tracker, torch
    finalizers = [f.peek()[1] for f in list(weakref.finalize._registry)]
    inherited = {
        "handlers": handlers,
        "finalizers": sorted({f"{f.__module__}.{f.__qualname__}" for f in finalizers}),
        "children": [str(child) for child in multiprocessing.active_children()],
        "tracker": multiprocessing.resource_tracker._resource_tracker._pid,
        "cuda": torch.cuda.is_initialized(),
        "service": os.environ.get("WANDB_SERVICE"),
    }
    with open(sys.argv[1], "w") as file:
        json.dump(inherited, file)

server.load = load_and_list
server.main()
"""
HARMLESS = {  # they end with the process whether they run or not
    "logging.shutdown",
    "torch.utils.data._utils._set_python_exit_flag",
    "torch._subclasses.fake_tensor.dump_cache_stats",
    "PIL._imaging.clear_cache",
    "matplotlib._pylab_helpers.Gcf.destroy_all",
    "certifi.core.exit_cacert_ctx",
}
MENDED = {  # what ``disinherit`` is for
    "multiprocessing.util._exit_function",
    "weakref.finalize._exitfunc",
    "tempfile.TemporaryDirectory.cleanup",
}


class Server:
    """``python -m fourierkd.serving.server`` in a session of its own."""

    def __init__(self, log: Path, *, inventory: Path | None = None, temporary: Path) -> None:
        path = os.pathsep.join([str(HERE.parent.parent), str(HERE)])
        how = ["-m", "fourierkd.serving.server"] if inventory is None else ["-c", LISTED, inventory]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        temporary.mkdir()
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *how],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**environment, "PYTHONPATH": path, "TMPDIR": str(temporary)},
                start_new_session=True,
            )
        self.temporary, self.inventory = temporary, inventory
        self.lines = b""

    def folders(self) -> list[Path]:
        """Its temporary folders for W&B."""
        return sorted(self.temporary.glob("tmp*wandb-*"))

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
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "log", inventory=folder / "inventory", temporary=folder / "tmp")
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
    assert run_dir.read_result().state == "complete"
    assert run_dir.read_result().metrics["test/acc"] == run_dir.read_result().best.value
    assert json.loads(run_dir.environment.read_text())["threads"] == 2
    assert "iter 20/20" in run_dir.log.read_text()


def test_bad_input_is_code_2_and_one_line_in_the_log(server, make_run):
    run_dir = make_run(options={"metric": "mIoU"})
    server.train(run_dir)
    assert server.event() == ended(run_dir, 2)
    assert run_dir.read_result().state == "failed"
    last = run_dir.log.read_text().splitlines()[-1]
    assert last.startswith("fourierkd: error: metric must be one")


def test_a_bug_is_code_1_with_its_traceback_in_the_log(server, make_run):
    no_number = {"type": "GivenValues", "values": [50, "boom"], "name": "acc"}
    run_dir = make_run(options={"val_evaluator": no_number})
    server.train(run_dir)
    assert server.event() == ended(run_dir, 1)
    assert run_dir.read_result().reason.startswith("ValueError: ")
    assert "Traceback" in run_dir.log.read_text()


def test_sigterm_to_server_and_child_saves_the_run_and_leaves_the_server(server, make_run):
    run_dir = make_run(options=LONG)
    pid = server.train(run_dir)
    wait_for_rows(run_dir)
    for number in (server.process.pid, pid):
        os.kill(number, signal.SIGTERM)
    assert server.event() == ended(run_dir, 0)
    result = run_dir.read_result()
    assert (result.state, result.reason) == ("stopped", "signal SIGTERM")
    assert run_dir.last_checkpoint() == run_dir.checkpoint(result.iters)
    assert server.process.poll() is None


def with_loader_workers(run_dir, server) -> tuple[int, list[psutil.Process]]:
    """Start a run whose samples come from processes; its id and theirs."""
    pid = server.train(run_dir)
    wait_for_rows(run_dir)
    workers = psutil.Process(pid).children()
    assert workers
    return pid, workers


def test_sigterm_to_loader_workers_too_saves_the_run_where_it_is(server, make_run):
    """Slurm, systemd and a container's end send it to every process there is."""
    run_dir = make_run(options=LONG | WORKERS)
    pid, workers = with_loader_workers(run_dir, server)
    for number in (*(worker.pid for worker in workers), pid):
        os.kill(number, signal.SIGTERM)
    assert server.event() == ended(run_dir, 0)
    result = run_dir.read_result()
    assert (result.state, result.reason) == ("stopped", "signal SIGTERM")
    assert run_dir.last_checkpoint() == run_dir.checkpoint(result.iters)
    assert not any(worker.is_running() for worker in workers)


def test_a_killed_loader_worker_stops_a_run_that_can_go_on(server, make_run):
    """As by the kernel's OOM killer: nothing is wrong with the run, so it has not failed."""
    run_dir = make_run(options=LONG | WORKERS)
    _, workers = with_loader_workers(run_dir, server)
    workers[0].kill()
    assert server.event() == ended(run_dir, 2)
    result = run_dir.read_result()
    assert result.state == "stopped"  # the study sends it off again
    assert result.reason.startswith("LostWorkerError: a data loader's worker died")


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
        replace(run_dir.read_request(), options={**LONG, "train_cfg.max_iters": done + 400})
    )
    run_dir.config.unlink()  # else it is refused as another one
    server.send(run=str(run_dir.path), resume=True, env={"OMP_NUM_THREADS": "1"})
    assert server.event()["event"] == "started"
    assert server.event() == ended(run_dir, 0)
    assert run_dir.read_result().iters == done + 400


def test_stop_by_control_file_and_by_signal(server, make_run):
    runs = make_run("a", LONG), make_run("b", LONG)
    pids = [server.train(r) for r in runs]  # two at once
    for run_dir in runs:
        wait_for_rows(run_dir)
    runs[0].ask_stop(State.PRUNED, "behind")
    assert server.event() == ended(runs[0], 0)
    os.kill(pids[1], signal.SIGTERM)
    assert server.event() == ended(runs[1], 0)
    assert [r.read_result().state for r in runs] == ["pruned", "stopped"]
    assert runs[1].read_result().reason == "signal SIGTERM"


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
    server = Server(tmp_path / "log", temporary=tmp_path / "tmp")
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
    if how == "stdin":
        assert not server.folders()  # with those of the child that was killed
    end = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
    with run_dir.lock():  # the folder is free again
        pass


def test_what_children_inherit_is_known(server):
    """An unknown name here is a new thing that all children share: see ``disinherit``."""
    inherited = json.loads(server.inventory.read_text())
    handlers = {name for name in inherited.pop("handlers") if "pybind11" not in name}
    assert MENDED <= handlers <= MENDED | HARMLESS
    assert inherited == {
        "finalizers": ["tempfile.TemporaryDirectory._cleanup", "torch.library._del_library"],
        "children": [],
        "tracker": None,
        "cuda": False,
        "service": None,
    }


def test_the_server_has_one_thread_and_no_socket(server):
    """So no lock is held, and no connection open, in the moment of a fork."""
    process = Path(f"/proc/{server.process.pid}")
    assert len(list((process / "task").iterdir())) == 1
    opened = sorted(os.readlink(path).split(":")[0] for path in (process / "fd").iterdir())
    log = os.readlink(process / "fd" / "2")
    assert opened == [log, log, "pipe", "pipe", "pipe", "pipe"]  # stdin, events, wake-up


def test_a_child_holds_no_descriptor_of_the_server(server, make_run):
    run_dir = make_run(options=LONG)
    pid = server.train(run_dir)
    wait_for_rows(run_dir)
    pipes = [
        {p for p in map(os.readlink, Path(f"/proc/{number}/fd").iterdir()) if p.startswith("pipe:")}
        for number in (server.process.pid, pid)
    ]
    assert not pipes[0] & pipes[1]
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    server.send(kill=str(run_dir.path))
    assert server.event() == ended(run_dir, None, 9)


def test_a_child_has_temporary_folders_of_its_own(server, make_run):
    own = server.folders()
    assert len(own) == 2

    def count():
        return [len(list(folder.iterdir())) for folder in own]

    killed = count()
    runs = make_run("a", LONG), make_run("b", LONG)
    for run_dir in runs:
        server.train(run_dir)
        wait_for_rows(run_dir)
    assert count() == [n + 2 for n in killed]
    for run_dir, left in zip(runs, (1, 0), strict=True):
        run_dir.ask_stop(State.STOPPED, "enough")
        assert server.event() == ended(run_dir, 0)
        assert count() == [n + left for n in killed]


def test_two_runs_at_once_have_their_own_classes(server, make_run):
    evaluator = {"type": "mmseg.IoUMetric", "iou_metrics": ["mIoU"]}
    options = {"metric": "mIoU", "val_evaluator": evaluator, "test_evaluator": evaluator}
    runs = [
        make_run(f"seed{seed}", options, seed=seed, test_split="test", wandb={"mode": "offline"})
        for seed in (0, 1)
    ]
    for run_dir in runs:
        server.train(run_dir)
    assert {server.event()["run"] for _ in runs} == {str(run_dir.path) for run_dir in runs}
    for run_dir in runs:
        rows = run_dir.class_rows("val")
        assert list(rows) == [5, 10, 15, 20]
        (segment,) = segments(run_dir.wandb)
        sent = [row for row in history(segment) if "val_class/on" in row]
        for row, (iteration, ours) in zip(sent, rows.items(), strict=True):
            assert row["iter"] == iteration
            assert [row["val_class/off"], row["val_class/on"]] == ours["scores"]["IoU"]
        tables = segment / "files" / "media" / "table" / "confusion"
        assert sorted(path.name.split("_")[0] for path in tables.iterdir()) == ["test", "val"]
    results = [run_dir.read_result() for run_dir in runs]
    assert results[0].classes["test"] != results[1].classes["test"]


def test_distilled_runs_one_after_another_are_tracked_whole(server, make_run):
    for name in ("first", "second"):
        run_dir = make_run(
            name, {**TEACHER, **SPECTRA}, test_split="test", wandb={"mode": "offline"}
        )
        server.train(run_dir)
        assert server.event() == ended(run_dir, 0)
        assert "W&B" not in run_dir.log.read_text()
        (segment,) = segments(run_dir.wandb)
        rows = history(segment)
        pictures = [row for row in rows if "spectra/l2._type" in row]
        scalars = [row for row in rows if row not in pictures]
        assert scalars == run_dir.rows()
        assert [row["iter"] for row in pictures] == [5, 10, 15, 20]
        assert len(list((segment / "files" / "media" / "images" / "spectra").iterdir())) == 4
        result, final = run_dir.read_result(), summary(segment)
        assert final["state"] == "complete"
        assert final["best/acc"] == result.best.value
        assert final["test/acc"] == result.metrics["test/acc"]
