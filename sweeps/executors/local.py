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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fourierkd.errors import RunError, StudyError
from fourierkd.records import Json
from fourierkd.run_dir import RunDir
from sweeps.executors.base import Exit

WORKER = (sys.executable, "-m", "fourierkd.serving.server")
REPO = Path(__file__).resolve().parents[2]
FALSE_STARTS = 2  # servers in a row that die before they are ready
PATIENCE = 10.0  # seconds for a killed process to let go of its run folder
KILL_PATIENCE = 5.0  # seconds for the server to end a run, before it is ended itself
CLOSE_PATIENCE = 2.0  # seconds for the server to end


def threads_of_a_run(jobs: int) -> int:
    """Threads of each of ``jobs`` runs at once: an equal share of the cores given to us."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


class LocalExecutor:
    """Runs on this machine, ``jobs`` at once.

    Args:
        log: where the server's own messages go.
        jobs: children at once: each gets an equal share of the cores, and a GPU of its own where
            there are several.
        command: the server; None: ``WORKER``.
    """

    def __init__(self, log: Path, *, jobs: int = 1, command: Sequence[str] | None = None) -> None:
        self.jobs = jobs
        self._log, self._command = log, list(WORKER if command is None else command)
        self._server: subprocess.Popen[bytes] | None = None
        self._events: queue.Queue[Json] = queue.Queue()
        self._running: dict[Path, int] = {}  # run folder -> slot
        self._begun: set[Path] = set()  # those whose process there is
        self._killed: dict[Path, float] = {}  # when their end was asked for
        self._ready = False
        self._false_starts = 0
        self._log_start = 0  # where this server's own messages begin

    def start(self) -> None:
        """Start the server; it loads its packages while this process goes on.

        Raises:
            StudyError: it cannot be started.
        """
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

    def submit(self, run_dir: RunDir, *, resume: bool) -> None:
        """Train what ``run_dir.request`` asks for.

        Raises:
            RunError: another process still trains it.
        """
        _wait_until_free(run_dir)
        self.start()
        if run_dir.path not in self._running:
            used = set(self._running.values())
            self._running[run_dir.path] = min(s for s in range(len(used) + 1) if s not in used)
        slot = self._running[run_dir.path]
        self._begun.discard(run_dir.path)
        self._send({"run": str(run_dir.path), "resume": resume, "env": self._environment(slot)})

    def poll(self, timeout: float) -> list[Exit]:
        """The runs that ended, after at most ``timeout`` seconds where none did.

        Raises:
            StudyError: the server died before it was ready, and so did the next.
        """
        self._end_a_server_that_hangs()
        exits: list[Exit] = []
        end = time.monotonic() + timeout
        while True:
            try:
                wait = 0.0 if exits else max(0.0, end - time.monotonic())
                event = self._events.get(timeout=wait) if wait else self._events.get_nowait()
            except queue.Empty:
                return exits
            if event["event"] == "ready":
                self._ready, self._false_starts = True, 0
            elif event["event"] == "started":
                self._begun.add(Path(event["run"]))
            elif event["event"] == "exited" and Path(event["run"]) in self._running:
                del self._running[Path(event["run"])]
                self._killed.pop(Path(event["run"]), None)
                exits.append(Exit(Path(event["run"]), event.get("code"), event.get("signal")))
            elif event["event"] == "dead" and event["server"] is self._server:
                exits += self._bury()

    def has_begun(self, run_dir: RunDir) -> bool:
        """Whether the run's process was started; before that the server loads its packages."""
        return run_dir.path in self._begun

    def check(self, requests: Path) -> None:
        """Try what can be built of a file of requests (``serving.dry_build``); it ends as a run
        would whose folder is that file.
        """
        self._ask("check", requests)

    def measure(self, requests: Path) -> None:
        """Measure what a step of each of a file of requests costs (``serving.costs``), with the
        threads of a run; it ends as ``check``.
        """
        self._ask("measure", requests)

    def _ask(self, what: str, requests: Path) -> None:
        self.start()
        self._running[requests] = 0
        self._send({what: str(requests), "env": self._environment(0)})

    def kill(self, run_dir: RunDir) -> None:
        """End the run's process at once."""
        if run_dir.path in self._running:
            self._killed.setdefault(run_dir.path, time.monotonic())
            self._send({"kill": str(run_dir.path)})

    def _end_a_server_that_hangs(self) -> None:
        """One that was told to end a run and does not; its other runs go on from a checkpoint."""
        if any(time.monotonic() - at > KILL_PATIENCE for at in self._killed.values()):
            self._killed.clear()
            self._end_server()

    def _end_server(self) -> None:
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the server and all children."""
        server = self._server
        self._running.clear()
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
        threads = str(threads_of_a_run(self.jobs))
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        devices = gpus()
        if self.jobs > 1 and len(devices) > 1:
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

    def _bury(self) -> list[Exit]:
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
        lost = [Exit(run, None, None) for run in self._running]
        self._running.clear()
        self._killed.clear()
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


def _wait_until_free(run_dir: RunDir) -> None:
    """A killed process lets go of its folder a moment later than its parent ends."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with run_dir.lock():
                return
        except RunError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _last_line(path: Path, start: int) -> str:
    """The last line from byte ``start`` on."""
    try:
        lines = path.read_bytes()[start:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "no message"
    return lines[-1].strip()[:300] if lines else "no message"
