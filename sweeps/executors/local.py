"""Runs on this machine: in flow run folders, out flow their ends.

``LocalExecutor`` feeds a warm fork server (``python -m fourierkd.serving.server``; JSON lines, see
``docs/design.md``), which has torch and the MM packages loaded, so that a child starts at once. The
server dies with this process and its children die with it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fourierkd.errors import StudyError
from fourierkd.records import Json
from fourierkd.run_dir import RunDir
from sweeps.executors.base import End, Needs, Question

WORKER = (sys.executable, "-m", "fourierkd.serving.server")
REPO = Path(__file__).resolve().parents[2]
FALSE_STARTS = 2  # servers in a row that die before they are ready
KILL_PATIENCE = 5.0  # seconds for the server to end a run, before it is ended itself
BEGIN_PATIENCE = 900.0  # seconds for it to load its packages and begin a run
CLOSE_PATIENCE = 2.0  # seconds for the server to end


def threads_of_a_run(needs: Needs, jobs: int) -> int:
    """Threads of each of ``jobs`` runs at once: as they need, else an equal share of the cores
    given to us.
    """
    return needs.cpus or max(1, len(os.sched_getaffinity(0)) // jobs)


class LocalExecutor:
    """Runs on this machine; where there are several GPUs and runs, each run has one of its own.

    Args:
        log: where the server's own messages go.
        command: the server; None: ``WORKER``.
    """

    interval, settle, outlives = 0.1, 0.0, False

    def __init__(self, log: Path, *, command: Sequence[str] | None = None) -> None:
        self._needs, self._jobs = Needs(), 1
        self._log, self._command = log, list(WORKER if command is None else command)
        self._server: subprocess.Popen[bytes] | None = None
        self._events: queue.Queue[Json] = queue.Queue()
        self._running: dict[Path, int] = {}  # run folder -> slot
        self._waiting: dict[Path, float] = {}  # those without a process: when they were sent
        self._killed: dict[Path, float] = {}  # when their end was asked for
        self._ready = False
        self._false_starts = 0
        self._log_start = 0  # where this server's own messages begin

    def start(self, needs: Needs, jobs: int) -> None:
        """Start the server, which loads its packages while this process goes on.

        Raises:
            StudyError: it cannot be started.
        """
        self._needs, self._jobs = needs, jobs
        self._serve()

    def _serve(self) -> None:
        if self._server is not None:
            return
        path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
        # The server may use all cores while it loads; each child is told its share.
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._log, "ab") as log:
                self._log_start = log.tell()
                self._server = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for this process, which asks runs to stop
                )
        except FileNotFoundError as error:
            raise StudyError(
                "the training server cannot be started", value=self._command[0]
            ) from error
        self._ready = False
        threading.Thread(target=self._listen, args=(self._server,), daemon=True).start()

    def alive(self, runs: Iterable[RunDir]) -> set[Path]:
        """Those that this process sent off: runs of an earlier one die with it, and what one of
        them still does is waited for by the process that trains its folder next.
        """
        return {run.path for run in runs} & self._running.keys()

    def submit(self, run: RunDir, *, resume: bool) -> None:
        """Have a run trained, unless it is."""
        self._serve()
        if run.path in self._running:
            return
        used = set(self._running.values())
        slot = min(s for s in range(len(used) + 1) if s not in used)
        self._running[run.path] = slot
        self._waiting[run.path] = time.monotonic()
        self._send({"run": str(run.path), "resume": resume, "env": self._environment(slot)})

    def poll(self, timeout: float) -> list[End]:
        """The runs that ended, after at most ``timeout`` seconds where none did.

        Raises:
            StudyError: the server died before it was ready, and so did the next.
        """
        self._end_a_server_that_hangs()
        ends: list[End] = []
        end = time.monotonic() + timeout
        while True:
            try:
                wait = 0.0 if ends else max(0.0, end - time.monotonic())
                event = self._events.get(timeout=wait) if wait else self._events.get_nowait()
            except queue.Empty:
                return ends
            if event["event"] == "ready":
                self._ready, self._false_starts = True, 0
            elif event["event"] == "started":
                self._waiting.pop(Path(event["run"]), None)
            elif event["event"] == "exited" and Path(event["run"]) in self._running:
                self._forget(Path(event["run"]))
                ends.append(_end(Path(event["run"]), event.get("code"), event.get("signal")))
            elif event["event"] == "dead" and event["server"] is self._server:
                ends += self._bury()

    def waiting(self) -> Mapping[Path, str]:
        """Runs without a process; before the first one the server loads its packages."""
        why = "the training server takes it" if self._ready else "the training server starts"
        return dict.fromkeys(self._waiting, why)

    def ask(self, question: Question, requests: Path) -> None:
        """Have a file of requests answered by a process of the server's."""
        self._serve()
        self._running[requests] = 0
        self._send({question: str(requests), "env": self._environment(0)})

    def kill(self, run: RunDir) -> None:
        """End the run's process at once."""
        if run.path in self._running:
            self._killed.setdefault(run.path, time.monotonic())
            self._send({"kill": str(run.path)})

    def _end_a_server_that_hangs(self) -> None:
        """One that does not end or begin a run; its other runs go on from a checkpoint."""
        now = time.monotonic()
        told = any(now - at > KILL_PATIENCE for at in self._killed.values())
        if told or any(now - at > BEGIN_PATIENCE for at in self._waiting.values()):
            self._killed.clear()
            self._waiting.clear()
            self._end_server()

    def _forget(self, run: Path) -> None:
        for kept in (self._running, self._killed, self._waiting):
            kept.pop(run, None)

    def _end_server(self) -> None:
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)

    def close(self, *, detach: bool = False) -> None:  # noqa: ARG002 - nothing outlives this process
        """End the server and all children."""
        server = self._server
        for run in list(self._running):
            self._forget(run)
        if server is None:
            return
        with suppress(OSError):
            if server.stdin is not None:
                server.stdin.close()
        try:
            server.wait(timeout=CLOSE_PATIENCE)
        except subprocess.TimeoutExpired:
            self._end_server()
            server.wait()
        self._server = None

    def _environment(self, slot: int) -> dict[str, str]:
        threads = str(threads_of_a_run(self._needs, self._jobs))
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        devices = gpus()
        if self._needs.gpus == 0:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        elif self._jobs > 1 and len(devices) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        return environment

    def _send(self, message: Json) -> None:
        server = self._server
        if server is not None and server.stdin is not None:
            with suppress(OSError):  # it died: poll sees that, and submits again
                server.stdin.write((json.dumps(message) + "\n").encode())
                server.stdin.flush()

    def _listen(self, server: subprocess.Popen[bytes]) -> None:
        if server.stdout is not None:
            for line in server.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # something a library printed
                if isinstance(event, dict) and "event" in event:
                    self._events.put(event)
        server.wait()
        self._events.put({"event": "dead", "server": server})

    def _bury(self) -> list[End]:
        """After the server's death its runs have ended too; the next ``submit`` starts another."""
        server, self._server = self._server, None
        if not self._ready:
            self._false_starts += 1
            if self._false_starts == FALSE_STARTS:
                code = server.returncode if server is not None else None
                raise StudyError(
                    f"the training server ended with code {code} before it was ready, "
                    f"{FALSE_STARTS} times: {_last_line(self._log, self._log_start)}",
                    fix=f"see {self._log}",
                )
        words = "the training server died under it (out of memory?)"
        lost = [End(run, "lost", words) for run in self._running]
        for end in lost:
            self._forget(end.run)
        return lost


def gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs this process may use, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    try:
        return [str(i) for i, _ in enumerate(os.listdir("/proc/driver/nvidia/gpus"))]
    except OSError:
        return []


def _end(run: Path, code: int | None, number: int | None) -> End:
    """Of a process that ended with an exit code, or by a signal."""
    if number == signal.SIGKILL:
        return End(run, "killed", "killed by signal 9 (out of memory?)")
    if number:
        return End(run, "killed", f"killed by signal {number} ({signal.Signals(number).name})")
    return End(run, "ended", f"exited with code {code} and no result")


def _last_line(path: Path, start: int) -> str:
    """The last line from byte ``start`` on."""
    try:
        lines = path.read_bytes()[start:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "no message"
    return lines[-1].strip()[:300] if lines else "no message"
