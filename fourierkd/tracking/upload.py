"""Upload of what runs hold back: in flow run folders, out flow what a server has of each.

W&B's own ``wandb sync`` sends, and marks what it has sent; a copy of a folder that was sent has no
such mark, so the server is asked how many rows it counts, before and after. A run that is still at
work is left for later.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fourierkd.errors import ConfigError, RunError, one_line
from fourierkd.run_dir import RunDir
from fourierkd.tracking.login import choose_mode, default_project
from fourierkd.tracking.mend import mend
from fourierkd.tracking.record import held_back, logged, missing, read_record, write_record

AT_ONCE = 16  # folders a call of `wandb sync`
ARRIVAL_SECONDS = 30.0  # until a server counts what it was sent


class Arrival(NamedTuple):
    """A run: what its server lacks of it, in words or empty, and whether it was sent now."""

    run: RunDir
    lacks: str
    sent: bool


def upload(
    runs: Iterable[RunDir], *, progress: Callable[[int, int], object] | None = None
) -> list[Arrival]:
    """Send what no server has of these runs, and ask their server what it has.

    Args:
        runs: folders with a record of tracking (others are left out), at work or ended.
        progress: called with the number of W&B's folders that were looked at, and of all.

    Raises:
        ConfigError: W&B cannot be used online.
        RunError: ``wandb sync`` fails, or the server does not say what it has.
    """
    mode, reason = choose_mode("online")
    if mode != "online":
        raise ConfigError(f"W&B must be reachable ({reason})", fix="`wandb login`, then again")
    runs = list(runs)
    mend(run for run in runs if run.request.exists())
    records = {run: record for run in runs if (record := read_record(run)) is not None}
    ended = {run: record for run, record in records.items() if not _at_work(run)}
    waiting = {run: folders for run in ended if (folders := held_back(run, ended[run]))}
    there = _counted({run: ended[run] for run in waiting})
    for run in there.keys() & waiting.keys():
        if there[run] >= logged(ended[run]):  # sent from another copy of its folder
            _mark(run, waiting.pop(run))
    folders = [folder for own in waiting.values() for folder in own]
    for start in range(0, len(folders), AT_ONCE):
        if progress is not None:
            progress(start, len(folders))
        _sync(folders[start : start + AT_ONCE])
    for run, own in waiting.items():
        _mark(run, [folder for folder in own if any(folder.glob("*.wandb.synced"))])
    there = _wait_for({run: record for run, record in ended.items() if not missing(run)})
    return [Arrival(run, _lacks(run, records[run], there), run in waiting) for run in records]


def _at_work(run: RunDir) -> bool:
    return run.request.exists() and run.read_result() is None


def _sync(folders: Sequence[Path]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it says nothing"]
        raise RunError(
            f"`wandb sync` ended with exit code {done.returncode} ({one_line(lines[-1])})",
            fix="what it had sent is marked; the same command goes on",
        )


def _mark(run: RunDir, folders: Iterable[Path]) -> None:
    """Note that a server has these folders of W&B's."""
    record = read_record(run)
    if record is not None:
        sent = dict.fromkeys((folder.name for folder in folders), True)
        write_record(run, {**record, "segments": {**record["segments"], **sent}})


def _wait_for(records: Mapping[RunDir, Mapping[str, Any]]) -> dict[RunDir, int]:
    """How many rows of each run its server counts, as soon as it has all or time is up."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        counted = _counted(records)
        there = all(counted.get(run, 0) >= logged(record) for run, record in records.items())
        if there or time.monotonic() > deadline:
            return counted
        time.sleep(1)


def _counted(records: Mapping[RunDir, Mapping[str, Any]]) -> dict[RunDir, int]:
    import wandb

    if not records:
        return {}
    places: dict[tuple[str | None, str], dict[str, RunDir]] = defaultdict(dict)
    for run, record in records.items():
        place = record.get("entity"), record.get("project") or default_project()
        places[place][record["id"]] = run
    found = {}
    try:
        api = wandb.Api()
        for (entity, project), own in places.items():
            path = f"{entity or api.default_entity}/{project}"
            for there in api.runs(path, filters={"name": {"$in": sorted(own)}}, per_page=100):
                found[own[there.id]] = int(there.history_line_count)
    except Exception as error:
        raise RunError(
            f"the W&B server does not say what it has ({one_line(error)})", fix="try again"
        ) from error
    return found


def _lacks(run: RunDir, record: Mapping[str, Any], counted: Mapping[RunDir, int]) -> str:
    if _at_work(run):
        return "still at work"
    if gap := missing(run):
        return gap
    there, all_of_it = counted.get(run), logged(record)
    if there is None:
        return "not there, though it was sent: to another server, or deleted"
    if there != all_of_it:
        return f"{there} rows in place of {all_of_it}"
    return ""
