"""A fork server for runs: in flow JSON lines (what to train, what to kill), out flow events.

    {"run": "/abs/folder", "resume": false, "env": {"OMP_NUM_THREADS": "2"}}
    {"check": "/abs/file", "env": {}}   what can be built (dry_build); ends as a run of that name
    {"measure": "/abs/file", "env": {}}   what a step costs (costs); ends as a run of that name
    {"kill": "/abs/folder"}
    {"event": "ready"}
    {"event": "started", "run": "/abs/folder", "pid": 1}
    {"event": "exited", "run": "/abs/folder", "code": 0, "signal": null}

It loads torch and the MM packages once, so that a child trains at once. Children are process groups
of their own (Ctrl-C does not reach them) and die with the server; the server dies with its stdin.
What a child inherits is its own from ``disinherit`` on: no handler or folder is shared by siblings.
Exit codes of a child: 0 complete, pruned or stopped; 2 bad input or no disk space; 1 anything else.
Run it as ``python -m fourierkd.serving.server``.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import multiprocessing.util
import os
import select
import signal
import sys
import traceback
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PACKAGES = (
    "mmengine.runner",
    "mmseg.models",
    "mmseg.datasets",
    "mmseg.evaluation",
    "mmdet.models",
    "mmdet.datasets",
    "mmdet.evaluation",
    "matplotlib.pyplot",  # MMEngine's Visualizer
    "fourierkd.serving.costs",
    "fourierkd.serving.dry_build",
    "fourierkd.engine.run",
    "fourierkd.engine.hooks",
)


def main() -> None:
    """Serve until stdin ends."""
    # A stop is the coordinator's to ask for: the server stays while its children save.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    events = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no event
    load()
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake up
    server = Server(events, wake_read, wake_write)
    server.emit(event="ready")
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            with suppress(BlockingIOError):
                os.read(wake_read, 4096)
        server.reap()
        if 0 not in ready:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line.strip():
                server.obey(line)


class Server:
    """Its children, and what it tells of them.

    Args:
        events: descriptor that events are written to.
        others: further descriptors that no child keeps.
    """

    def __init__(self, events: int, *others: int) -> None:
        self._events, self._own = events, [events, *others]
        self._children: dict[int, str] = {}

    def emit(self, **event: Any) -> None:
        os.write(self._events, (json.dumps(event) + "\n").encode())

    def reap(self) -> None:
        """Tell which children have ended."""
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                died = -code if code < 0 else None
                run = self._children.pop(pid)
                self.emit(event="exited", run=run, code=None if died else code, signal=died)

    def obey(self, line: bytes) -> None:
        """Do what a message asks for; one that cannot be read is told on stderr."""
        try:
            message = json.loads(line)
            if "kill" in message:
                for pid, run in self._children.items():
                    if run == message["kill"]:
                        os.killpg(pid, signal.SIGKILL)
            else:
                pid = spawn(message, self._own)
                self._children[pid] = subject(message)
                self.emit(event="started", run=self._children[pid], pid=pid)
        except (ValueError, KeyError, TypeError, OSError):
            traceback.print_exc()
            print(f"not understood: {line!r}", file=sys.stderr, flush=True)


def load() -> None:
    """Import what runs need, and start nothing: no threads, no CUDA."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking CUDA would spoil the fork
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve busy machines
    import torch

    torch.set_num_threads(1)  # OpenMP's pool of threads would not survive the fork
    for package in PACKAGES:
        importlib.import_module(package)
    from fourierkd.distill.register import register_all
    from fourierkd.engine.environment import code
    from fourierkd.tracking.login import preload

    register_all(("mmseg", "mmdet"))
    preload()
    code()  # versions and commit, asked once
    gc.collect()
    gc.freeze()  # children share these pages


def subject(message: dict[str, Any]) -> str:
    """The run folder, or the file of requests, that a child is forked for."""
    path: str = message.get("run") or message.get("check") or message["measure"]
    return path


def spawn(message: dict[str, Any], inherited: list[int]) -> int:
    """Fork a child that trains ``message["run"]``, checks or measures; returns its process id."""
    path, server = Path(subject(message)), os.getpid()
    env = message.get("env") or {}
    pid = os.fork()
    if pid:
        with suppress(OSError):
            os.setpgid(pid, pid)  # before a kill can come; the child does it too
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it died before prctl
            os._exit(1)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in inherited:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        if "run" in message:
            code = train(path, resume=bool(message.get("resume")), env=env)
        else:
            code = tell(path, measure="measure" in message, env=env)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def disinherit() -> None:
    """Leave to the server what is the server's: exit handlers, finalizers, temporary folders.

    A library that was loaded before the fork deletes its temporary folder at the exit of any
    process that inherited it; the first child to end would take it from all others. So a child
    starts with the exit handlers that multiprocessing gives its own children, and each temporary
    folder (wandb's for pictures and artifacts) is a new one under the same object; it lies inside
    the server's, which takes along what a killed child left.

    Raises:
        OSError: no temporary folder can be made.
    """
    children: Any = multiprocessing.util
    finalize: Any = weakref.finalize
    atexit._clear()
    children._finalizer_registry.clear()
    atexit.register(children._exit_function)  # ends loader workers that are left
    owners = [inherited.detach() for inherited in list(finalize._registry)]
    finalize._registered_with_atexit = False  # the child's first own finalizer registers it again
    for owner, *_ in filter(None, owners):
        if isinstance(owner, TemporaryDirectory):
            shared = owner.name if os.path.isdir(owner.name) else None  # /tmp may be swept
            TemporaryDirectory.__init__(owner, dir=shared)


def train(run: Path, *, resume: bool, env: dict[str, str]) -> int:
    """Train a run in this process, its console in its ``run.log``; returns the exit code."""
    from fourierkd.engine.console import exit_code
    from fourierkd.engine.run import run_job
    from fourierkd.run_dir import RunDir

    use(env)
    run_dir = RunDir(run)

    def work() -> int:
        disinherit()
        run_job(run_dir, resume=resume)
        return 0

    return exit_code(work, run_dir.log)


def tell(requests: Path, *, measure: bool, env: dict[str, str]) -> int:
    """Answer which runs can be built, or what they cost, in this process; its console is the
    server's log.
    """
    from fourierkd.serving import costs, dry_build

    use(env)
    disinherit()
    (costs if measure else dry_build).answer(requests)
    return 0


def use(env: dict[str, str]) -> None:
    """Take a child's environment, and the threads it says."""
    import torch

    os.environ.update(env)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))


if __name__ == "__main__":
    main()
