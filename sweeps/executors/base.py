"""What a study asks of whatever trains its runs: in flow run folders, out flow their ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fourierkd.run_dir import RunDir


@dataclass(frozen=True)
class Exit:
    """A run's process ended: its exit code, or the signal that killed it, or the server's death."""

    run: Path
    code: int | None
    signal: int | None

    def why(self) -> str:
        """In words; only for a process that left no result."""
        if self.signal == signal.SIGKILL:
            return "killed by signal 9 (out of memory?)"
        if self.signal:
            return f"killed by signal {self.signal} ({signal.Signals(self.signal).name})"
        if self.code is None:
            return "the training server died under it (out of memory?)"
        return f"exited with code {self.code} and no result"


class Executor(Protocol):
    """Trains what run folders ask for; only their files and ``poll`` tell how it went.

    Attributes:
        jobs: how many runs there are at once, as the study sets it.
    """

    jobs: int

    def start(self) -> None:
        """Get ready while the study loads its own packages; ``submit`` does it where need be.

        Raises:
            StudyError: nothing can be trained here.
        """

    def submit(self, run_dir: RunDir, *, resume: bool) -> None:
        """Have a run trained that is not being trained.

        Raises:
            RunError: another process still trains it.
        """

    def check(self, requests: Path) -> None:
        """Try what can be built of a file of requests (``serving.dry_build``); it ends as a run
        would whose folder is that file.
        """

    def measure(self, requests: Path) -> None:
        """Measure what a step of each of a file of requests costs (``serving.costs``), with the
        threads of a run; it ends as ``check``.
        """

    def has_begun(self, run_dir: RunDir) -> bool:
        """Whether the run's process was started; before that it may wait for its place."""

    def poll(self, timeout: float) -> list[Exit]:
        """The runs that ended, after at most ``timeout`` seconds where none did.

        Raises:
            StudyError: nothing can be trained here any more.
        """

    def kill(self, run_dir: RunDir) -> None:
        """End the run's process at once; ``poll`` tells when it is gone."""

    def close(self) -> None:
        """End every run and what trains them; again it does nothing."""
