"""What of a study runs right now: in flow the coordinator's view, out flows ``live.json``.

The coordinator replaces the file whenever a run starts or ends; ``status`` reads it, and nothing
else does, so that a study never depends on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fourierkd.records import Phase, Record
from fourierkd.run_dir import read_json, write_atomic
from sweeps.storage import check_place
from sweeps.time_left import Kind

LIVE_NAME = "live.json"


@dataclass(frozen=True, kw_only=True)
class Count:
    """Runs of one phase: in all as far as they are known, those that ended, and failed ones."""

    planned: int
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """One run that was sent off: its name, folder, phase, and when, in seconds of the epoch."""

    label: str
    run_dir: str
    phase: Phase
    since: float


@dataclass(frozen=True, kw_only=True)
class Live(Record):
    """The state of one session.

    Attributes:
        counts: by phase; arms count as trials, and teachers do not count.
        runs: that are trained now.
        ended: seconds of the runs that ended in this session, by kind.
        jobs: runs at once, by kind.
    """

    what: ClassVar[str] = "a study's live runs"

    counts: dict[Phase, Count] = field(default_factory=dict)
    runs: list[LiveRun] = field(default_factory=list)
    ended: dict[Kind, list[float]] = field(default_factory=dict)
    jobs: dict[Kind, int] = field(default_factory=dict)

    def waiting(self) -> dict[Phase, int]:
        """How many runs of each phase have not begun."""
        going: list[Phase] = [
            Phase.TRIAL if run.phase == Phase.BASELINE else run.phase for run in self.runs
        ]
        left = {
            phase: count.planned - count.done - going.count(phase)
            for phase, count in self.counts.items()
        }
        return {phase: number for phase, number in left.items() if number > 0}

    def waiting_kinds(self) -> dict[Kind, int]:
        """The same by kind."""
        found: dict[Kind, int] = {}
        for phase, number in self.waiting().items():
            found[Kind.of(phase)] = found.get(Kind.of(phase), 0) + number
        return found


def write_live(work_dir: Path, live: Live) -> None:
    """Replace ``live.json``; StudyError where the work dir is no more."""
    check_place(work_dir)
    write_atomic(work_dir / LIVE_NAME, json.dumps(live.to_json()) + "\n")


def read_live(work_dir: Path) -> Live | None:
    """What ``live.json`` holds; None where there is no such file.

    Raises:
        RunError: it holds something else.
    """
    path = work_dir / LIVE_NAME
    value = read_json(path)
    return None if value is None else Live.from_json(value, path, "delete it")
