"""Where a run's time goes: in flow the runner's hook events, out flow seconds by part."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = {"before_train_iter": "data", "after_train_iter": "step"} | {
    f"{when}_{part}{unit}": part
    for when in ("before", "after")
    for part in ("val", "test")
    for unit in ("", "_epoch", "_iter")
}


class Clock:
    """Seconds of a run by part.

    The time before a hook event belongs to the event's part (``data``, ``step``, ``val``, ``test``,
    else ``setup``), the time inside it to ``hooks``; so the parts add up to the total.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._start = self._mark = time.perf_counter()
        self._depth = 0

    def lap(self, part: str) -> None:
        """Book the time since the last lap on ``part``."""
        now = time.perf_counter()
        self.seconds[part] += now - self._mark
        self._mark = now

    @contextmanager
    def event(self, name: str) -> Iterator[None]:
        """Around the hooks of one event."""
        if self._depth == 0:
            self.lap(PARTS.get(name, "setup"))
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.lap("hooks")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Around something that is booked on ``name`` wherever it happens."""
        self.lap("hooks" if self._depth else "setup")
        try:
            yield
        finally:
            self.lap(name)

    @property
    def total(self) -> float:
        """Seconds of the run so far, those before a resume included."""
        return self.seconds["earlier"] + time.perf_counter() - self._start

    def state(self) -> dict[str, float]:
        """What a resumed run goes on from."""
        return {**self.seconds, "earlier": self.total}

    def restore(self, state: dict[str, float]) -> None:
        """Add what earlier processes of the run took."""
        for part, seconds in state.items():
            self.seconds[part] += seconds

    def report(self) -> dict[str, float]:
        """All parts, ``total``, and ``train``: data plus step."""
        parts = {k: round(v, 4) for k, v in self.seconds.items() if k != "earlier"}
        train = self.seconds["data"] + self.seconds["step"]
        return {"total": round(self.total, 4), "train": round(train, 4), **parts}
