"""Where a study's time goes: in flow run ends and the coordinator's own work, out flow seconds.

Seconds are those of processes: while two runs train side by side, a second counts twice. What a
clock on the wall says of all sessions is ``clock``, and stands apart; so does the teacher, which is
trained once and cached.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fourierkd.errors import RunError
from fourierkd.records import Phase
from fourierkd.run_dir import read_json, write_atomic

TIME_NAME = "study_time.json"
CLOCK = "clock"  # of the wall, from the start to the end of each session
# Part of a run's own clock -> part of the account. The rest of its process's life is its start and
# end.
RUN_PARTS = {
    "train": "training",
    "setup": "start-up",
    "val": "evaluation",
    "test": "evaluation",
    "hooks": "hooks",
    "tracking": "tracking",
}


class Account:
    """Seconds of this session by part; ``training`` against everything else."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.runs = 0
        self._start = time.monotonic()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Book what happens inside on ``name``."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.parts[name] += time.monotonic() - start

    def add_run(self, phase: Phase, wall: float, seconds: Mapping[str, float | None]) -> None:
        """Book one run's process.

        Args:
            phase: of the run; a teacher is booked apart.
            wall: seconds from its start to its end in this session.
            seconds: of its result; a resumed run's include earlier sessions and are scaled down to
                ``wall``.
        """
        self.runs += 1
        if phase == Phase.TEACHER:
            self.parts["teacher"] += wall
            return
        own = {RUN_PARTS[k]: 0.0 for k in RUN_PARTS}
        for key, part in RUN_PARTS.items():
            own[part] += float(seconds.get(key) or 0.0)
        scale = min(1.0, wall / max(sum(own.values()), 1e-9))
        for part, value in own.items():
            self.parts[part] += value * scale
        self.parts["start-up"] += max(0.0, wall - scale * sum(own.values()))

    def merged(self, work_dir: Path) -> dict[str, float]:
        """Seconds by part, earlier sessions included, ``total`` of these; then, in none of them,
        ``teacher`` and ``clock``.
        """
        earlier: dict[str, Any] = (read_json(work_dir / TIME_NAME) or {}).get("seconds") or {}
        try:
            sums = {key: float(value) for key, value in earlier.items() if key != "total"}
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{work_dir / TIME_NAME} must hold seconds ({error})",
                fix="delete it; nothing else depends on it",
            ) from error
        if self.runs:
            for part, value in self.parts.items():
                sums[part] = sums.get(part, 0.0) + value
            sums[CLOCK] = sums.get(CLOCK, 0.0) + time.monotonic() - self._start
        ordered = dict(sorted(sums.items(), key=lambda item: (item[0] != "training", -item[1])))
        ordered = {key: round(value, 2) for key, value in ordered.items()}
        apart = {name: ordered.pop(name) for name in ("teacher", CLOCK) if name in ordered}
        return ordered | {"total": round(sum(ordered.values()), 2)} | apart

    def save(self, work_dir: Path) -> dict[str, float]:
        """Put ``merged`` into ``study_time.json`` and return it; without a run nothing changes."""
        seconds = self.merged(work_dir)
        if self.runs:
            share = overhead(seconds)
            facts = {"seconds": seconds, "not_training": None if share is None else round(share, 4)}
            write_atomic(work_dir / TIME_NAME, json.dumps(facts, indent=1) + "\n")
        return seconds


def overhead(seconds: Mapping[str, float]) -> float | None:
    """Share of ``total`` that is not training, in [0, 1]; None where nothing ran."""
    total = seconds.get("total") or 0.0
    return None if not total else 1.0 - seconds.get("training", 0.0) / total


def sentence(seconds: Mapping[str, float]) -> str:
    """The account in one line."""
    share = overhead(seconds)
    if share is None:
        return "process time: nothing was trained"
    total = seconds["total"]
    parts = ", ".join(
        f"{name} {100 * value / total:.1f} %"
        for name, value in seconds.items()
        if name not in ("total", "training", "teacher", CLOCK)
    )
    teacher = (
        f"; before that, the teacher took {duration(seconds['teacher'])}"
        if "teacher" in seconds
        else ""
    )
    clock = f"; by the clock {duration(seconds[CLOCK])}" if CLOCK in seconds else ""
    return (
        f"process time: {duration(total)}, of which training {100 - 100 * share:.1f} %, "
        f"everything else {100 * share:.1f} % ({parts}){teacher}{clock}"
    )


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
