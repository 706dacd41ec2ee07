"""Runs as jobs of Slurm, one job a run: in flow run folders, out flow their ends.

A job is named by a hash of its run folder, so that a study that goes on finds its jobs, those that
wait included, without a file of its own. States come from one ``squeue`` for all jobs, as sites
without accounting tell of a lost node nowhere else. A thread asks and sends, since Slurm's commands
wait for minutes where its controller is away; what it hears is applied in ``poll``.
"""

from __future__ import annotations

import hashlib
import math
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from fourierkd.errors import ConfigError, StudyError, one_line
from fourierkd.run_dir import RunDir
from sweeps.executors.base import End, Needs, Question, Verdict

PROGRAM = (sys.executable, "-m", "fourierkd")
REPO = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds for a command of Slurm's, and for the first answer
CANCEL_AGAIN = 30.0  # seconds until a job that still lives is cancelled once more
# Options of sbatch that are set here, and some that would make other jobs of ours.
TAKEN = (
    "job-name", "output", "error", "open-mode", "parsable", "wrap", "requeue", "no-requeue",
    "export", "chdir", "cpus-per-task", "ntasks", "nodes", "array", "wait", "hold", "test-only",
)  # fmt: skip
_OPTION = re.compile(r"[a-z][a-z-]*")
# What ends a job; in COMPLETING it may still be queued again.
ENDS: dict[str, tuple[Verdict, str]] = {
    "COMPLETED": ("ended", "its job left no result"),
    "FAILED": ("ended", "its job failed and left no result"),
    "CANCELLED": ("cancelled", "its job was cancelled"),
    "TIMEOUT": ("timeout", "its job's time was up"),
    "DEADLINE": ("timeout", "its job's deadline had passed"),
    "NODE_FAIL": ("lost", "its node failed"),
    "BOOT_FAIL": ("lost", "its node did not start"),
    "REVOKED": ("lost", "its job was revoked"),
    "PREEMPTED": ("preempted", "another job took its place"),
    "OUT_OF_MEMORY": ("memory", "it needed more memory than its job had"),
}
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
# What sbatch says where the same job may be taken later.
_LATER = re.compile(
    r"contact slurm controller|timed out|connection|temporarily|zero bytes|MaxSubmit|try again",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Seen:
    """A job as squeue has it: its number, name, state, why it waits, and its nodes."""

    number: str
    name: str
    state: str
    reason: str
    nodes: str

    @property
    def adoptable(self) -> bool:
        """Whether it waits or runs; one in COMPLETING is about to be gone."""
        return self.state not in ENDS and self.state != "COMPLETING"


@dataclass(frozen=True)
class Answer:
    """Of squeue: when it was asked, and what it said."""

    asked: float
    jobs: tuple[Seen, ...]

    def called(self, name: str) -> Seen | None:
        """The job of that name that is not over; there is one at most."""
        return next((job for job in self.jobs if job.name == name and job.adoptable), None)


@dataclass
class Job:
    """One job of ours.

    Attributes:
        run: its run folder, or file of requests.
        name: in Slurm.
        command: that sends it.
        number, since: as Slurm counts it, and from when on squeue knows it; None: not sent yet.
        tried: when it was sent without an answer.
        seen: as squeue had it last.
        cancelled: when its end was asked for.
        late: why it is not sent yet.
    """

    run: Path
    name: str
    command: list[str] = field(default_factory=list)
    number: str | None = None
    since: float = math.inf
    tried: float | None = None
    seen: Seen | None = None
    cancelled: float | None = None
    late: str = "it is being sent"

    def where(self) -> str:
        """In words."""
        nodes = f" on {self.seen.nodes}" if self.seen is not None and self.seen.nodes else ""
        return f"(Slurm job {self.number}{nodes})"


class SlurmExecutor:
    """Runs as jobs of Slurm.

    Args:
        options: of sbatch, as ``options_of`` reads them; what a run needs goes before them.
        log: where answers to files of requests put their messages.
        program: what a job calls, with ``run FOLDER``; None: ``PROGRAM``.
        interval, settle: as ``Executor``; the latter as long as the file system between needs.
    """

    outlives = True

    def __init__(
        self,
        options: Mapping[str, str | None],
        *,
        log: Path,
        program: Sequence[str] | None = None,
        interval: float = 2.0,
        settle: float = 60.0,
    ) -> None:
        self.interval, self.settle = interval, settle
        self._options, self._log = dict(options), log
        self._program = list(PROGRAM if program is None else program)
        self._needs = Needs()
        self._jobs: dict[Path, Job] = {}
        self._answer: Answer | None = None
        self._silence = "no message"  # what squeue said in place of an answer
        self._ends: list[End] = []  # heard while something else was waited for
        self._events: queue.Queue[Callable[[], list[End]]] = queue.Queue()
        self._clerk: _Clerk | None = None

    def check_needs(self, needs: Needs) -> None:
        """Refuse needs that do not say how many threads a run has, or how long it may take.

        Raises:
            ConfigError: as said.
        """
        if needs.cpus is None:
            raise ConfigError(
                "runs in Slurm have as many threads as per_run.cpus says, which is not set",
                fix="--set per_run.cpus=4",
            )
        if needs.hours is None and "time" not in self._options:
            raise ConfigError(
                "a Slurm job needs a time limit",
                fix="--slurm time=480 (minutes), or --set per_run.hours=8",
            )

    def start(self, needs: Needs, jobs: int) -> None:  # noqa: ARG002 - Slurm shares its machines out
        """Note what runs need, and begin to ask how jobs stand.

        Raises:
            ConfigError: as ``check_needs``.
            StudyError: this machine has no Slurm.
        """
        self.check_needs(needs)
        self._needs = needs
        self._ask_on()

    def alive(self, runs: Iterable[RunDir]) -> set[Path]:
        """Those whose job waits or runs, whoever sent it.

        Raises:
            StudyError: Slurm does not answer.
        """
        self._ask_on()
        end = time.monotonic() + PATIENCE
        while self._answer is None:
            try:
                self._ends += self._events.get(timeout=max(0.0, end - time.monotonic()))()
            except queue.Empty:
                raise StudyError(
                    f"Slurm does not answer squeue within {PATIENCE:.0f} s ({self._silence})",
                    fix="see what `squeue --me` says, then run the same command",
                ) from None
        answer = self._answer
        return {
            run.path
            for run in runs
            if run.path in self._jobs or answer.called(job_name(run.path)) is not None
        }

    def submit(self, run: RunDir, *, resume: bool) -> None:
        """Send a job, or take one over that waits or runs."""
        if run.path in self._jobs:
            return
        name = job_name(run.path)
        found = self._answer.called(name) if self._answer is not None else None
        if found is not None and self._answer is not None:
            self._jobs[run.path] = Job(
                run.path, name, number=found.number, since=self._answer.asked, seen=found
            )
            return
        words = ["run", str(run.path), *(["--resume"] if resume else [])]
        self._send(run.path, name, [*self._program, *words], log=run.log)

    def ask(self, question: Question, requests: Path) -> None:
        """Have a file of requests answered by a job."""
        name = (
            f"{job_name(requests)}-{uuid4().hex[:8]}"  # an old one's answer is to an old question
        )
        words = ["run", str(requests), "--answer", question]
        self._send(requests, name, [*self._program, *words], log=self._log)

    def poll(self, timeout: float) -> list[End]:
        """The jobs that ended, after at most ``timeout`` seconds where none did.

        Raises:
            StudyError: Slurm refuses a job.
        """
        end = time.monotonic() + timeout
        ends, self._ends = self._ends, []
        while True:
            wait = 0.0 if ends else max(0.0, end - time.monotonic())
            try:
                event = self._events.get(timeout=wait) if wait else self._events.get_nowait()
            except queue.Empty:
                return ends
            ends += event()

    def waiting(self) -> Mapping[Path, str]:
        """The runs whose job waits, with Slurm's word for why."""
        found = {}
        for run, job in self._jobs.items():
            if job.seen is None:
                found[run] = job.late
            elif job.seen.state in WAITING:
                found[run] = job.seen.reason
        return found

    def kill(self, run: RunDir) -> None:
        """Cancel the run's job."""
        if run.path in self._jobs:
            self._cancel(self._jobs[run.path])

    def close(self, *, detach: bool = False) -> None:
        """Ask no more, and leave the jobs to the next process or cancel them."""
        if not detach:
            for job in self._jobs.values():
                self._cancel(job)
        self._jobs.clear()
        if self._clerk is not None:
            self._clerk.end()
            self._clerk = None

    def _ask_on(self) -> None:
        if self._clerk is None:
            if missing := [
                name for name in ("sbatch", "squeue", "scancel") if not shutil.which(name)
            ]:
                raise StudyError(
                    "--executor slurm needs Slurm's commands",
                    value=missing[0],
                    fix="run the study where jobs are sent from, such as a login node",
                )
            self._clerk = _Clerk(self, self._events, self.interval)

    def _send(self, run: Path, name: str, words: Sequence[str], *, log: Path) -> None:
        self._ask_on()
        job = Job(run, name, sbatch(name, words, log, self._needs, self._options))
        self._jobs[run] = job
        if self._clerk is not None:
            self._clerk.send(job)

    def _cancel(self, job: Job) -> None:
        job.cancelled = time.monotonic()
        if self._clerk is not None:
            self._clerk.cancel(job.name)

    # What the clerk tells; applied in ``poll``.

    def sent(self, job: Job, number: str, since: float) -> list[End]:
        """Slurm took a job, which it knows since then."""
        job.number, job.since = number, since
        if job.cancelled is not None:
            self._cancel(job)  # it was asked for before Slurm knew the job
        return []

    def late(self, job: Job, why: str) -> list[End]:
        """Slurm did not take a job yet."""
        job.late = why
        return []

    def refused(self, why: str) -> list[End]:
        """Slurm takes no such job."""
        raise StudyError(f"Slurm refuses a job ({why})", fix="correct --slurm or per_run")

    def unheard(self, why: str) -> list[End]:
        """How jobs stand is not told."""
        self._silence = why
        return []

    def heard(self, answer: Answer) -> list[End]:
        """How all jobs stand."""
        self._answer = answer
        by_number = {job.number: job for job in answer.jobs}
        ends = []
        for job in list(self._jobs.values()):
            if job.number is None or job.since > answer.asked:
                continue
            seen = by_number.get(job.number)
            job.seen = seen or job.seen
            if seen is None:
                ends.append(End(job.run, "ended", f"Slurm knows its job no more {job.where()}"))
            elif seen.state in ENDS:
                verdict, words = ENDS[seen.state]
                ends.append(End(job.run, verdict, f"{words} {job.where()}"))
            elif job.cancelled is not None and answer.asked - job.cancelled > CANCEL_AGAIN:
                self._cancel(job)
        for end in ends:
            del self._jobs[end.run]
        return ends


class _Clerk(threading.Thread):
    """Calls Slurm's commands, one after the other, and tells what they say.

    Args:
        tells: whose methods are put among the events.
        events: for its ``poll``.
        interval: seconds between two questions.
    """

    def __init__(
        self, tells: SlurmExecutor, events: queue.Queue[Callable[[], list[End]]], interval: float
    ) -> None:
        super().__init__(daemon=True)
        self._tells, self._events, self._interval = tells, events, interval
        self._outbox: queue.Queue[Job] = queue.Queue()
        self._cancels: queue.Queue[str] = queue.Queue()
        self._wake = threading.Event()
        self._over = False
        self._last: Answer | None = None
        self.start()

    def send(self, job: Job) -> None:
        """Send a job soon."""
        self._outbox.put(job)
        self._wake.set()

    def cancel(self, name: str) -> None:
        """Cancel the jobs of that name soon."""
        self._cancels.put(name)
        self._wake.set()

    def end(self) -> None:
        """Do what is to be done, and end; it is not waited for where Slurm is away."""
        self._over = True
        self._wake.set()
        self.join(timeout=5.0)

    def run(self) -> None:
        """Until the end: cancel, send, ask."""
        next_look = 0.0
        while True:
            over = self._over
            while not self._cancels.empty():
                _call(["scancel", "--me", "--name", self._cancels.get()])
            if over:
                return
            self._send_all()
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + self._interval
            self._wake.wait(max(0.0, next_look - time.monotonic()))
            self._wake.clear()

    def _look(self) -> None:
        asked = time.monotonic()
        done = _call(["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%N|%j"])
        if done is None or done.returncode:
            why = one_line(done.stderr) if done is not None else "no answer"
            self._events.put(partial(self._tells.unheard, why))
        else:
            jobs = (line.split("|", 4) for line in done.stdout.splitlines())
            self._last = Answer(asked, tuple(Seen(i, j, t, r, n) for i, t, r, n, j in jobs))
            self._events.put(partial(self._tells.heard, self._last))

    def _send_all(self) -> None:
        for _ in range(self._outbox.qsize()):
            job = self._outbox.get()
            if not self._send(job):
                self._outbox.put(job)

    def _send(self, job: Job) -> bool:
        """Whether it is with Slurm now, or never will be."""
        if job.tried is not None:
            # A call that had no answer may have sent it: squeue knows, when it answers again.
            answer = self._last
            if answer is None or answer.asked < job.tried:
                return False
            if (found := answer.called(job.name)) is not None:
                self._events.put(partial(self._tells.sent, job, found.number, answer.asked))
                return True
        done = _call(job.command)
        now = time.monotonic()
        if done is not None and done.returncode == 0:
            number = done.stdout.strip().split(";")[0]
            self._events.put(partial(self._tells.sent, job, number, now))
            return True
        why = one_line(done.stderr) if done is not None else "Slurm does not answer"
        if done is not None and not _LATER.search(why):
            self._events.put(partial(self._tells.refused, why))
            return True
        job.tried = now
        self._events.put(partial(self._tells.late, job, why))
        return False


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm's; None where it gave no answer.

    What a job of Slurm's, in which the study may run itself, has in its environment is no part of
    the jobs that it sends.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLURM_") or name == "SLURM_CONF"
    }
    path = os.pathsep.join(filter(None, [str(REPO), environment.get("PYTHONPATH")]))
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the coordinator
        )
    except (subprocess.TimeoutExpired, OSError):
        return None


def job_name(folder: Path) -> str:
    """Name of the job of a run folder: the same for whoever asks."""
    digest = hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:16]
    return f"fourierkd-{digest}"


def sbatch(
    name: str, words: Sequence[str], log: Path, needs: Needs, options: Mapping[str, str | None]
) -> list[str]:
    """The command that sends ``words`` as a job; what they print goes to the end of ``log``."""
    threads = needs.cpus or 1
    own = {"cpus-per-task": threads, "gpus-per-node": needs.gpus or None, "mem": needs.memory}
    if needs.hours is not None:
        own["time"] = math.ceil(60 * needs.hours)  # minutes
    wanted = {**options, **{key: str(value) for key, value in own.items() if value is not None}}
    flags = [f"--{key}" if value is None else f"--{key}={value}" for key, value in wanted.items()]
    exported = ",".join(["ALL", f"OMP_NUM_THREADS={threads}", f"MKL_NUM_THREADS={threads}"])
    # As a step, since a job's own script is not told of its end.
    step = ["exec", "srun", "--ntasks=1", f"--cpus-per-task={threads}", *words]
    return [
        "sbatch",
        "--parsable",
        f"--job-name={name}",
        "--nodes=1",
        "--ntasks=1",
        "--requeue",
        "--open-mode=append",
        f"--output={log}",
        f"--export={exported}",
        f"--chdir={os.getcwd()}",
        *flags,
        f"--wrap={shlex.join(step)}",
    ]


def options_of(items: Iterable[str]) -> dict[str, str | None]:
    """Options of sbatch by their long names, of ``partition=gpu`` and ``exclusive``.

    Raises:
        ConfigError: one that is none, or is set by the study.
    """
    options: dict[str, str | None] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not _OPTION.fullmatch(key):
            raise ConfigError(
                "--slurm takes long options of sbatch",
                value=item,
                fix="e.g. partition=gpu time=480",
            )
        if key in TAKEN:
            raise ConfigError("--slurm: this option is set by the study itself", value=key)
        options[key] = value if equals else None
    return options
