"""Progress of one run on a terminal: in flow the rows of its folder, out flows a moving line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fourierkd.run_dir import RunDir, read_json

POLL_SECONDS = 0.5


@contextmanager
def show_progress(run_dir: RunDir, terminal: TextIO) -> Iterator[None]:
    """Follow the run from a thread while the body trains; a file gets a line a validation.

    What the run warns of at its start is a line of its own.
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
    offset = run_dir.scalars.stat().st_size if run_dir.scalars.exists() else 0

    def follow() -> None:
        nonlocal offset
        task = progress.add_task("starting", total=None)
        loss = metrics = ""
        warned: set[str] = set()
        while True:
            last = done.wait(POLL_SECONDS)
            rows, offset = run_dir.tail(offset)
            facts = read_json(run_dir.environment) or {}
            for text in facts.get("warnings", []):
                if text not in warned:
                    console.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)
                    warned.add(text)
            metric = facts.get("metric")
            for row in rows:
                if row.get("train/loss") is not None:
                    loss = f"loss {row['train/loss']:.4g}  "
                value = row.get(f"val/{metric}")
                if value is not None:
                    metrics = f"val {metric} {value:.4g}"
                    if not console.is_terminal:
                        console.print(f"iteration {row['iter']}: {loss}{metrics}")
            if rows:
                progress.update(
                    task,
                    description=loss + metrics,
                    completed=rows[-1]["iter"],
                    total=facts.get("max_iters"),
                )
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    with progress:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
