"""How a study stands: in flow the files of a work dir, out flow lines for a terminal.

Only reads, and takes no lock, so any number of these may look while the study runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fourierkd.errors import RunError
from fourierkd.locks import holder
from fourierkd.records import Metric, Parameters, Phase, Request, Result, State
from fourierkd.run_dir import RunDir
from sweeps.account import duration
from sweeps.live import Live, LiveRun, read_live
from sweeps.progress import length
from sweeps.storage import LOCK_NAME, RUNS_NAME
from sweeps.study_record import Told, read_study
from sweeps.time_left import Going, Kind, Pace, time_left

if TYPE_CHECKING:
    from rich.console import Console

REFRESH = 2.0  # seconds between two looks of ``watch``
WORDS = {Phase.TRIAL: "of the search", Phase.RUNG: "of the rung", Phase.FINAL: "final"}


@dataclass(frozen=True)
class Seen:
    """A live run as its folder shows it.

    Attributes:
        run: what the coordinator says of it.
        request: what was asked of it; None: not readable yet.
        pace: from its rows.
        silence: seconds since its newest row; since its start before the first.
        value: of its last validation.
    """

    run: LiveRun
    request: Request | None
    pace: Pace
    silence: float
    value: float | None

    def going(self) -> Going:
        """What ``time_left`` asks of it."""
        elapsed = self.pace.elapsed(self.silence)
        return Going(Kind.of(self.run.phase), elapsed, self.pace.left(self.silence))


@dataclass
class Scores:
    """What the search came to so far, all with its one seed.

    Attributes:
        baseline: value of the arm that differences are taken against.
        best: (value, name, parameters) of the best other arm or trial.
        parts: number of ended runs of the study by state.
    """

    baseline: float | None = None
    best: tuple[float, str, Parameters] | None = None
    parts: dict[State, int] = field(default_factory=dict)


def status(work_dir: Path) -> list[str]:
    """Lines that say how the study of a work dir stands.

    Raises:
        RunError: ``study.json`` is damaged.
    """
    recorded = read_study(work_dir)
    if recorded is None:
        return [f"{work_dir}: no study has begun here"]
    told, live = recorded.report, _live(work_dir)
    metric = told.metric or Metric("metric")
    held = holder(work_dir / LOCK_NAME)
    seen = [_look(run, metric) for run in live.runs]
    scores = _scores(work_dir, told, metric)
    lines = [
        f"{told.title or work_dir.name} ({work_dir}): {_state(told, live, held)}",
        _counts(live, scores),
    ]
    if told.command and not _runs(held) and not _finished(told, live):
        lines.append(f"to go on: {told.command}")
    lines += _best(scores, told, metric)
    if _runs(held):
        lines.append(_time_left(live, seen))
        for one in seen:
            lines += _run_lines(one, metric)
    return lines


def watch(work_dir: Path, console: Console) -> None:
    """Show ``status`` anew every ``REFRESH`` seconds, until Ctrl-C."""
    from rich.live import Live as Screen
    from rich.text import Text

    with suppress(KeyboardInterrupt), Screen(console=console, auto_refresh=False) as screen:
        while True:
            screen.update(Text("\n".join(status(work_dir))), refresh=True)
            time.sleep(REFRESH)


def _live(work_dir: Path) -> Live:
    """What the coordinator kept; a damaged file is of no consequence, and is replaced soon."""
    with suppress(RunError):
        return read_live(work_dir) or Live()
    return Live()


def _runs(held: tuple[str, bool | None] | None) -> bool:
    return held is not None and held[1] is not False


def _finished(told: Told, live: Live) -> bool:
    return told.finished and not live.runs


def _state(told: Told, live: Live, held: tuple[str, bool | None] | None) -> str:
    if held is not None and held[1]:
        return f"running, {held[0]}"
    if held is not None and held[1] is None and not told.finished:
        return f"running or killed; {held[0]} runs it, which is not seen from here"
    if _finished(told, live):
        return "finished"
    if live.runs:
        return f"was killed while {_number(len(live.runs), 'run')} trained"
    return "was stopped"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _counts(live: Live, scores: Scores) -> str:
    counts = live.counts.values()
    done, planned = sum(c.done for c in counts), sum(c.planned for c in counts)
    failed = sum(c.failed for c in counts)
    if not counts:  # it tries its configs or trains a teacher, or an older version ran it
        done, failed = sum(scores.parts.values()), scores.parts.get(State.FAILED, 0)
        return f"runs: {done} done, {failed} failed; how many there will be is not known"
    parts = [f"{number} {WORDS.get(p, p.value)}" for p, number in live.waiting().items()]
    waits = f"; waiting: {', '.join(parts)}" if parts else ""
    return f"runs: {done} of {planned} done, {failed} of them failed{waits}"


def _best(scores: Scores, told: Told, metric: Metric) -> list[str]:
    if scores.best is None:
        return []
    value, name, parameters = scores.best
    what = f"val {metric.name} {value:.4g} ({name})"
    baseline = told.baseline
    if scores.baseline is None:
        line = f"best trial: {what}; {baseline} has no value with this seed"
    elif metric.better(value, than=scores.baseline):
        gain = abs(value - scores.baseline)
        line = f"best trial: {what}, better than {baseline} ({scores.baseline:.4g}) by {gain:.3g}"
        line += ", with one seed each"
    else:
        line = f"no trial beats {baseline} ({scores.baseline:.4g}) yet; best trial: {what}"
    return [line, *([f"  {_parameters(parameters)}"] if parameters else [])]


def _time_left(live: Live, seen: list[Seen]) -> str:
    teachers = [one for one in seen if one.run.phase == Phase.TEACHER]
    going = [one.going() for one in seen if one not in teachers]
    left = time_left(live.waiting_kinds(), going, live.ended, live.jobs)
    if teachers or not live.counts or left is None:
        return "time left: known once runs of the study have trained for a while"
    return f"time left: about {duration(left)}"


def _run_lines(one: Seen, metric: Metric) -> list[str]:
    unit, total = one.pace.length or ("iter", 0)
    now = (one.pace.last or {}).get(unit) or 0
    words = [f"{unit} {now}/{total}" if total else f"{unit} {now}"]
    if one.value is not None:
        words.append(f"val {metric.name} {one.value:.4g}")
    since = time.time() - one.run.since
    words.append(f"for {duration(max(since, 0.0))}")
    left = one.pace.left(one.silence)
    if left is not None:
        words.append(f"about {duration(left)} left")
    lines = [f"{one.run.label}: {', '.join(words)}"]
    if one.request is not None and one.request.parameters:
        lines.append(f"  {_parameters(one.request.parameters)}")
    return lines


def _parameters(parameters: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in parameters.items()
    )


def _look(run: LiveRun, metric: Metric) -> Seen:
    run_dir, request, pace = RunDir(run.run_dir), None, Pace()
    with suppress(RunError):
        request = run_dir.read_request()
    rows, _ = run_dir.tail()
    pace.length = length(run_dir)
    pace.add(rows)
    try:
        heard = run_dir.scalars.stat().st_mtime if rows else run.since
    except OSError:
        heard = run.since
    values = [row[metric.key()] for row in rows if row.get(metric.key()) is not None]
    silence = max(0.0, time.time() - heard)
    return Seen(run, request, pace, silence, values[-1] if values else None)


def _scores(work_dir: Path, told: Told, metric: Metric) -> Scores:
    found = Scores()
    for name, request, result in _ended(work_dir):
        found.parts[result.state] = found.parts.get(result.state, 0) + 1
        if Kind.of(request.phase) is not Kind.SEARCH or result.state != State.COMPLETE:
            continue
        value = result.value
        if value is None:
            continue
        if request.phase == Phase.BASELINE and request.method == told.baseline:
            found.baseline = value
        elif found.best is None or metric.better(value, than=found.best[0]):
            found.best = value, name, request.parameters
    return found


def _ended(work_dir: Path) -> Iterator[tuple[str, Request, Result]]:
    for folder in sorted((work_dir / RUNS_NAME).glob("*")):
        run_dir = RunDir(folder)
        with suppress(RunError):  # a damaged record, which the study's table names
            result = run_dir.read_result()
            if result is not None and result.state != State.STOPPED:
                yield folder.name, run_dir.read_request(), result
