"""What the person sees: in flow starts, rows and ends of runs, out flow bars or plain lines.

One line for each ended run in both forms; the bars (runs done, best so far, time left; the state of
each live run) are drawn only on a terminal. ``status`` in another terminal is told by ``keep``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fourierkd.records import Metric, Phase
from fourierkd.run_dir import Row, RunDir
from sweeps.account import duration
from sweeps.fingerprint import literal
from sweeps.live import Count, Live, LiveRun
from sweeps.time_left import Going, Kind, Pace, time_left


@dataclass
class _Shown:
    """A live run: what ``keep`` is told of it, its pace, its last validation, its bar."""

    run: LiveRun
    pace: Pace = field(default_factory=Pace)
    heard: float = 0.0  # when its newest row came
    value: float | None = None
    bar: TaskID | None = None


class Display:
    """Progress of one study.

    Args:
        metric: what is tuned.
        console: where to print; a terminal gets bars.

    Attributes:
        keep: called with what is live whenever a run starts or ends.
    """

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        # A log has no width of its own, and a line that is broken cannot be searched for.
        self.console = console or Console(soft_wrap=True, highlight=False)
        self._metric = metric
        self._bars: Progress | None = None
        self._study: TaskID | None = None
        self._runs: dict[str, _Shown] = {}
        self._live = Live()
        self._best: tuple[float, str] | None = None
        self.keep: Callable[[Live], None] = lambda _: None

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
                refresh_per_second=4,
            )
            self._study = self._bars.add_task("study", total=None, text="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(escape(text))

    def asks(self, question: str) -> bool:
        """Whether the person at the terminal says yes; nobody there means no."""
        if not (self.console.is_terminal and sys.stdin.isatty()):
            return False
        if self._bars is not None:
            self._bars.stop()
        with suppress(EOFError):
            return self.console.input(escape(f"{question} [y/N] ")).strip().lower() in ("y", "yes")
        return False

    def plan(self, counts: Mapping[Phase, Count], jobs: Mapping[Kind, int]) -> None:
        """How many runs the study has, how many are over already, and how many are trained at once.

        Args:
            counts: by phase; arms count as trials.
            jobs: runs at once, by kind.
        """
        self._live = replace(self._live, counts=dict(counts), jobs=dict(jobs))
        self._change()

    def best(self, value: float, label: str) -> None:
        """Note a trial's value; the best one is shown."""
        if self._best is None or self._metric.better(value, than=self._best[0]):
            self._best = (value, label)
        self._update()

    def started(self, label: str, run_dir: RunDir, phase: Phase) -> None:
        """A run was handed to the executor, or handed to it again."""
        if label in self._runs:
            return
        folder, now = str(run_dir.path), time.time()
        shown = _Shown(LiveRun(label=label, run_dir=folder, phase=phase, since=now))
        if self._bars is not None:
            shown.bar = self._bars.add_task(label, total=None, text="starting")
        self._runs[label] = shown
        self._change()

    def waiting(self, label: str, why: str) -> None:
        """A run that was handed over has not begun."""
        shown = self._runs.get(label)
        if self._bars is not None and shown is not None and shown.bar is not None:
            self._bars.update(shown.bar, text=f"waits: {why}")

    def rows(self, label: str, run_dir: RunDir, rows: list[Row]) -> None:
        """New scalars of a live run."""
        if label not in self._runs or not rows:
            return
        shown = self._runs[label]
        if shown.pace.length is None:
            shown.pace.length = length(run_dir)
        shown.pace.add(rows)
        shown.heard = time.monotonic()
        unit, last = shown.pace.length or ("iter", 0)
        now = rows[-1].get(unit) or 0
        for value in (r.get(self._metric.key()) for r in rows):
            if value is not None:
                shown.value = value
        if self._bars is None or shown.bar is None:
            return
        text = f"{unit} {now}/{last}" if last else f"{unit} {now}"
        if shown.value is not None:
            text += f"  val {self._metric.name} {shown.value:.4g}"
        self._bars.update(shown.bar, total=last or None, completed=now, text=text)
        self._update()

    def ended(
        self,
        label: str,
        text: str,
        *,
        phase: Phase,
        seconds: float | None,
        failed: bool = False,
        counts: bool = True,
    ) -> None:
        """A run is over.

        Args:
            label: of the run.
            text: what came of it.
            phase: of the run.
            seconds: of its process; None: it was trained in an earlier session.
            failed: whether it did.
            counts: whether it is one of those that ``plan`` counts.
        """
        shown = self._runs.pop(label, None)
        if self._bars is not None and shown is not None and shown.bar is not None:
            self._bars.remove_task(shown.bar)
        took = f", {duration(seconds)}" if seconds is not None else ""
        line = f"{label}: {text}{took}"
        if counts:
            self._count(phase, seconds, failed)
            line = f"[{self._done}/{self._total}] {line}; {self._tail()}"
        self._change()
        self.say(line)

    def nothing_runs(self) -> None:
        """The study was stopped, and its live runs with it."""
        self._runs.clear()
        self._change()

    def _count(self, phase: Phase, seconds: float | None, failed: bool) -> None:
        live, kind = self._live, Kind.of(phase)
        phase = Phase.TRIAL if phase == Phase.BASELINE else phase
        count = live.counts.get(phase, Count(planned=0))
        count = replace(count, done=count.done + 1, failed=count.failed + failed)
        ended = {**live.ended}
        if seconds is not None and not failed:
            ended[kind] = [*ended.get(kind, []), seconds]
        self._live = replace(live, counts={**live.counts, phase: count}, ended=ended)

    @property
    def _done(self) -> int:
        return sum(count.done for count in self._live.counts.values())

    @property
    def _total(self) -> int:
        return sum(count.planned for count in self._live.counts.values())

    def _change(self) -> None:
        """Show and keep what is new."""
        self._live = replace(self._live, runs=[shown.run for shown in self._runs.values()])
        self.keep(self._live)
        self._update()

    def _tail(self) -> str:
        words = []
        if self._best is not None:
            value, label = self._best
            words.append(f"best trial: val {self._metric.name} {value:.4g} ({label})")
        if left := self._time_left():
            words.append(f"about {duration(left)} left")
        return ", ".join(words) or "no trial has ended"

    def _time_left(self) -> float | None:
        live, now = replace(self._live, runs=[s.run for s in self._runs.values()]), time.monotonic()
        going = [
            Going(
                Kind.of(shown.run.phase),
                shown.pace.elapsed(now - shown.heard),
                shown.pace.left(now - shown.heard),
            )
            for shown in self._runs.values()
            if shown.run.phase != Phase.TEACHER
        ]
        return time_left(live.waiting_kinds(), going, live.ended, live.jobs)

    def _update(self) -> None:
        if self._bars is not None and self._study is not None:
            self._bars.update(
                self._study,
                total=self._total or None,
                completed=self._done,
                text=f"{self._done}/{self._total} runs; {self._tail()}",
            )


def length(run_dir: RunDir) -> tuple[str, int] | None:
    """("iter" or "epoch", how many the run has), as far as its resolved config is written."""
    if not run_dir.config.exists():
        return None
    schedule = literal(run_dir.config, "train_cfg") or {}
    for unit in ("iter", "epoch"):
        if schedule.get(f"max_{unit}s"):
            return unit, int(schedule[f"max_{unit}s"])
    return None


def share_done(run_dir: RunDir, row: Row) -> float:
    """Share of the schedule that is done at ``row``, in [0, 1]; 0 where its length is unknown."""
    unit, last = length(run_dir) or ("iter", 0)
    return (row.get(unit) or 0) / last if last else 0.0
