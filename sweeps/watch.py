"""Whether a live run still works: in flow looks at its folder, out flow seconds of silence.

A sign of life is anything that changes in the folder: a row, a line of the log, a checkpoint, or
the beat that every iteration of training, validation and test gives (``RunDir.beat``).
"""

from __future__ import annotations

import time

from fourierkd.run_dir import RunDir

FLOOR = 900.0  # seconds of silence that a start (data, downloads) or an evaluation may take
PAUSES = 10  # ... or so many of the longest pauses that the run has had
LOOK = 1.0  # most seconds that one look counts, or two ``every``: who was suspended saw nothing


class Pulse:
    """The silence of one run.

    Args:
        run_dir: its folder.
        every: seconds between two looks at it.

    Attributes:
        silent: seconds since its last sign of life, as far as somebody watched.
        pace: its longest pause between two signs since it wrote its first row.
    """

    def __init__(self, run_dir: RunDir, *, every: float = 0.0) -> None:
        self._run_dir, self._most = run_dir, max(LOOK, 2 * every)
        self.pace = 0.0
        self.begin()

    def begin(self) -> None:
        """Its process starts (again)."""
        self.silent = 0.0
        self._seen = self._run_dir.signs()
        self._rows, self._trains = self._seen[0], False
        self._looked = time.monotonic()

    def look(self) -> float:
        """Look at the folder; returns ``silent``."""
        now = time.monotonic()
        self.silent += min(now - self._looked, self._most)
        self._looked = now
        signs = self._run_dir.signs()
        if signs != self._seen:
            if self._trains:
                self.pace = max(self.pace, self.silent)
            self._seen, self.silent = signs, 0.0
            self._trains = self._trains or signs[0] != self._rows
        return self.silent

    def limit(self, patience: float | None) -> float:
        """Seconds of silence after which the run hangs; ``patience`` where somebody set it."""
        return max(FLOOR, PAUSES * self.pace) if patience is None else patience
