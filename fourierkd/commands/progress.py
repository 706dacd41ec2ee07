"""Progress of one run on a terminal: in flow the rows of its folder, out flows a moving line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fourierkd.run_dir import Row, RunDir, read_json

POLL_SECONDS = 0.5


@contextmanager
def show_progress(run_dir: RunDir, terminal: TextIO, *, log: bool = False) -> Iterator[None]:
    """Follow the run from a thread while the body trains; a file gets a line a validation.

    What the run warns of at its start is a line of its own; ``log``: so is each of its ``run.log``.
    """
    console = Console(file=terminal)
    done = threading.Event()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    view = _View(run_dir, console, progress, log=log)

    def follow() -> None:
        last = False
        while not last:
            last = done.wait(POLL_SECONDS)
            view.update()

    thread = threading.Thread(target=follow, daemon=True)
    with progress:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            view.close()


class _View:
    """What is shown of a run so far; ``update`` reads what was added."""

    def __init__(self, run_dir: RunDir, console: Console, progress: Progress, *, log: bool) -> None:
        self._run_dir, self._console, self._progress = run_dir, console, progress
        self._offset = run_dir.scalars.stat().st_size if run_dir.scalars.exists() else 0
        self._task = progress.add_task("starting", total=None)
        self._loss = self._metrics = ""
        self._warned: set[str] = set()
        self._log = run_dir.log.open(encoding="utf-8", errors="replace") if log else None
        if self._log is not None:
            self._log.seek(0, os.SEEK_END)  # what an earlier process said was seen then

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def update(self) -> None:
        if self._log is not None and (text := self._log.read()):
            self._console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
        rows, self._offset = self._run_dir.tail(self._offset)
        facts = read_json(self._run_dir.environment) or {}
        self._warn(facts.get("warnings", []))
        for row in rows:
            self._read(row, facts.get("metric"))
        if rows:
            self._progress.update(
                self._task,
                description=self._loss + self._metrics,
                completed=rows[-1]["iter"],
                total=facts.get("max_iters"),
            )

    def _warn(self, warnings: Iterable[str]) -> None:
        for text in warnings:
            if text not in self._warned:
                line = f"warning: {text}"
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
                self._warned.add(text)

    def _read(self, row: Row, metric: str | None) -> None:
        if row.get("train/loss") is not None:
            self._loss = f"loss {row['train/loss']:.4g}  "
        value = row.get(f"val/{metric}")
        if value is not None:
            self._metrics = f"val {metric} {value:.4g}"
            if not self._console.is_terminal:
                self._console.print(f"iteration {row['iter']}: {self._loss}{self._metrics}")
