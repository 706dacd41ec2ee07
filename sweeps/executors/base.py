"""What a study asks of whatever trains its runs: in flow run folders, out flow their ends.

How a run went, its folder says: an engine tells when its job is over, and why if it was not the run
that ended it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from fourierkd.run_dir import RunDir

LOG_NAME = "worker.log"  # of a work dir: what is said by whatever is not a run
Verdict = Literal["ended", "lost", "preempted", "timeout", "cancelled", "killed", "memory"]
Question = Literal["check", "measure"]


@dataclass(frozen=True)
class Needs:
    """What one run is given.

    Attributes:
        cpus: threads; None: an equal share of what there is.
        gpus: 0 or 1; None: one where there are several.
        memory: ``16G``, as Slurm writes it; None: what the engine gives. Nothing on this machine.
        hours: after which a job is ended; None: the engine's limit. Nothing on this machine.
    """

    cpus: int | None = None
    gpus: int | None = None
    memory: str | None = None
    hours: float | None = None


@dataclass(frozen=True)
class End:
    """A run's job is over.

    Attributes:
        run: its folder.
        verdict: how: it ``ended`` by itself; the machine was ``lost`` under it; another job needed
            its place (``preempted``), its time was up (``timeout``), a person ``cancelled`` it; it
            was ``killed``, or needed more ``memory`` than it was given.
        words: the same for people, for a run that left no result.
    """

    run: Path
    verdict: Verdict
    words: str


class Executor(Protocol):
    """Trains what run folders ask for.

    A job that ends is told once, and its run may be sent off again. What an engine does not answer
    is no end.

    Attributes:
        interval: seconds between two looks at the folder of a live run.
        settle: seconds for which a file that was written where runs are trained may stay unseen
            here.
        outlives: whether runs go on when this process ends.
    """

    interval: float
    settle: float
    outlives: bool

    def start(self, needs: Needs, jobs: int) -> None:
        """Get ready for runs of these needs, so many at once; again for others.

        Raises:
            StudyError: nothing can be trained here.
        """

    def alive(self, runs: Iterable[RunDir]) -> set[Path]:
        """Which runs wait or are trained, those of an earlier process of the study included.

        Raises:
            StudyError: that cannot be told.
        """

    def submit(self, run: RunDir, *, resume: bool) -> None:
        """Have a run trained; one that is alive is told of from here on, and nothing is sent.

        It neither waits for the run nor asks for its lock.
        """

    def ask(self, question: Question, requests: Path) -> None:
        """Have a file of requests answered, as a run whose folder is that file: ``check`` tries
        what can be built of them (``serving.dry_build``), ``measure`` what a step of each costs
        (``serving.costs``), with the threads of a run.
        """

    def poll(self, timeout: float) -> list[End]:
        """The jobs that ended, after at most ``timeout`` seconds where none did.

        Raises:
            StudyError: nothing can be trained here any more.
        """

    def waiting(self) -> Mapping[Path, str]:
        """The runs that were sent off and have not begun, each with why."""

    def kill(self, run: RunDir) -> None:
        """End a run's job at once; ``poll`` tells when it is gone."""

    def close(self, *, detach: bool = False) -> None:
        """End every run and what trains them; again it does nothing.

        Args:
            detach: where runs outlive this process, leave them to the next one.
        """
