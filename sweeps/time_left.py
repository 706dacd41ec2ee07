"""How long a study still takes: in flow ended and live runs, out flow seconds.

The live display and ``status`` ask here, so that both say the same. What is known of runs that have
ended counts first, else what the rows of live runs foretell; of runs that wait nothing else is
known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean

from fourierkd.records import Phase
from fourierkd.run_dir import Row


class Kind(str, Enum):
    """Runs of about equal length: those of a search may be shorter than the others."""

    SEARCH = "search"  # arms and trials
    FULL = "full"  # rung and final runs

    @classmethod
    def of(cls, phase: Phase) -> Kind:
        """Of a run's phase."""
        return cls.SEARCH if phase in (Phase.BASELINE, Phase.TRIAL) else cls.FULL


@dataclass
class Pace:
    """How far a live run has come, from its rows.

    Attributes:
        length: ("iter" or "epoch", how many it has); None: not known yet.
        last: its newest row that says when it was written.
    """

    length: tuple[str, int] | None = None
    last: Row | None = None
    _first: Row | None = field(default=None, repr=False)  # of its present process

    def add(self, rows: Iterable[Row]) -> None:
        """New rows, in their order; a resumed run has the pace of its present process."""
        for row in rows:
            if row.get("event") == "resume":
                self._first = None
            elif isinstance(row.get("seconds"), int | float):
                self._first = self._first or row
                self.last = row

    def elapsed(self, silence: float) -> float | None:
        """Seconds since its start, ``silence`` seconds after its newest row; None before one."""
        return None if self.last is None else float(self.last["seconds"]) + silence

    def left(self, silence: float) -> float | None:
        """Seconds that it still needs; None where that cannot be told yet."""
        if self.length is None or self.last is None or self._first is None:
            return None
        unit, total = self.length
        now, before = self.last.get(unit) or 0, self._first.get(unit) or 0
        if now <= before:
            return None
        took = float(self.last["seconds"]) - float(self._first["seconds"])
        rate = took / (now - before)
        return float(max(0.0, rate * (total - now) - silence))


@dataclass(frozen=True)
class Going:
    """One live run: its kind, seconds since its start, and seconds left as far as it tells."""

    kind: Kind
    elapsed: float | None
    left: float | None


def time_left(
    waiting: Mapping[Kind, int],
    going: Sequence[Going],
    ended: Mapping[Kind, Sequence[float]],
    jobs: Mapping[Kind, int],
) -> float | None:
    """Seconds until the last run ends.

    Args:
        waiting: how many runs have not begun, by kind.
        going: those that are trained now.
        ended: seconds of each run that was trained to its end or pruned, by kind.
        jobs: how many of a kind are trained at once; 1 where it is not named.

    Returns:
        The sum over kinds; None where the length of a run that is still to come is not known.
    """
    total = 0.0
    for kind in Kind:
        own = [run for run in going if run.kind is kind]
        if not own and not waiting.get(kind):
            continue
        expected = _expected(kind, going, ended)
        rest = [_rest(run, expected) for run in own]
        if (expected is None and waiting.get(kind)) or None in rest:
            return None
        known = [seconds for seconds in rest if seconds is not None]
        work = sum(known) + waiting.get(kind, 0) * (expected or 0.0)
        total += max([work / jobs.get(kind, 1), *known])
    return total


def _expected(
    kind: Kind, going: Sequence[Going], ended: Mapping[Kind, Sequence[float]]
) -> float | None:
    """Seconds of a run of ``kind``: of those that ended, else of live ones, else of the others."""
    for one in sorted(Kind, key=lambda other: other is not kind):
        foretold = [
            run.elapsed + run.left
            for run in going
            if run.kind is one and run.elapsed is not None and run.left is not None
        ]
        if known := list(ended.get(one) or foretold):
            return fmean(known)
    return None


def _rest(run: Going, expected: float | None) -> float | None:
    if run.left is not None:
        return run.left
    return None if expected is None else max(0.0, expected - (run.elapsed or 0.0))
