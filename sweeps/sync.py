"""``sweeps/run.py sync``: in flow a study's work dir, out flow lines on what W&B has of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fourierkd.errors import ConfigError, StudyError
from fourierkd.run_dir import RunDir
from sweeps.tables import stored_runs


def sync(work_dir: Path) -> tuple[list[str], bool]:
    """Upload what no server has of a study, and ask it what it has.

    Args:
        work_dir: of a study, at work or ended.

    Returns:
        Lines to print; and whether the server has all runs whole.

    Raises:
        ConfigError: W&B is not installed or cannot be used online.
        StudyError: the folder holds no study, or none of its runs was tracked.
        RunError: the upload fails, or the server does not say what it has.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError("sync needs W&B", fix="pip install wandb")
    from fourierkd.tracking.upload import upload

    tables = RunDir(work_dir.absolute())
    runs = [*stored_runs(tables.path), tables]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("upload to W&B", total=None)
        arrivals = upload(
            runs, progress=lambda done, of: progress.update(task, completed=done, total=of)
        )
    if not arrivals:
        raise StudyError("sync needs runs that were tracked", value=str(work_dir))
    whole = [arrival for arrival in arrivals if not arrival.lacks]
    sent = sum(arrival.sent for arrival in arrivals)
    lines = [f"{len(whole)} of {len(arrivals)} runs are whole in W&B, {sent} sent now"]
    lines += [
        f"  {'the tables' if run is tables else run.path.name}: {lacks}"
        for run, lacks, _ in arrivals
        if lacks
    ]
    return lines, len(whole) == len(arrivals)
