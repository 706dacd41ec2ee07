"""What the person sees: in flow starts, rows and ends of runs, out flow bars or plain lines.

One line for each ended run in both forms; the bars (runs done, best so far, time left; the state of
each live run) are drawn only on a terminal.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fourierkd.records import Metric
from fourierkd.run_dir import Row, RunDir
from sweeps.account import duration
from sweeps.fingerprint import literal


class Display:
    """Progress of one study.

    Args:
        metric: what is tuned.
        console: where to print; a terminal gets bars.
    """

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        # A log has no width of its own, and a line that is broken cannot be searched for.
        self.console = console or Console(soft_wrap=True, highlight=False)
        self._metric = metric
        self._bars: Progress | None = None
        self._study: TaskID | None = None
        self._runs: dict[str, TaskID] = {}
        self._values: dict[str, float] = {}  # last validation of live runs
        self._lengths: dict[str, tuple[str, int] | None] = {}
        self._total = self._done = 0
        self._seconds: list[float] = []  # of the runs that were trained to their end
        self._best: tuple[float, str] | None = None
        self.jobs = 1

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

    def plan(self, total: int, done: int) -> None:
        """How many runs the study has, and how many are over already."""
        self._total, self._done = total, done
        self._update()

    def best(self, value: float, label: str) -> None:
        """Note a trial's value; the best one is shown."""
        if self._best is None or self._metric.better(value, than=self._best[0]):
            self._best = (value, label)
        self._update()

    def started(self, label: str) -> None:
        """A run was handed to the executor."""
        if self._bars is not None and label not in self._runs:
            self._runs[label] = self._bars.add_task(label, total=None, text="starting")

    def rows(self, label: str, run_dir: RunDir, rows: list[Row]) -> None:
        """New scalars of a live run."""
        if self._bars is None or label not in self._runs or not rows:
            return
        if self._lengths.get(label) is None:
            self._lengths[label] = length(run_dir)
        unit, last = self._lengths[label] or ("iter", 0)
        row = rows[-1]
        now = row.get(unit) or 0
        for value in (r.get(self._metric.key()) for r in rows):
            if value is not None:
                self._values[label] = value
        text = f"{unit} {now}/{last}" if last else f"{unit} {now}"
        if label in self._values:
            text += f"  val {self._metric.name} {self._values[label]:.4g}"
        self._bars.update(self._runs[label], total=last or None, completed=now, text=text)

    def ended(self, label: str, text: str, *, seconds: float | None, counts: bool = True) -> None:
        """A run is over; ``seconds`` of those trained in full to estimate the time left."""
        if seconds is not None and counts:
            self._seconds.append(seconds)
        self._done += counts
        if self._bars is not None and label in self._runs:
            self._bars.remove_task(self._runs.pop(label))
        self._lengths.pop(label, None)
        self._values.pop(label, None)
        took = f", {duration(seconds)}" if seconds is not None else ""
        line = f"{label}: {text}{took}"
        if counts:
            line = f"[{self._done}/{self._total}] {line}; {self._tail()}"
        self.say(line)
        self._update()

    def _tail(self) -> str:
        words = []
        if self._best is not None:
            value, label = self._best
            words.append(f"best trial: val {self._metric.name} {value:.4g} ({label})")
        if self._seconds and self._done < self._total:
            mean = sum(self._seconds) / len(self._seconds)
            words.append(f"about {duration(mean * (self._total - self._done) / self.jobs)} left")
        return ", ".join(words) or "no trial has ended"

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
