"""What a run folder says of its tracking: in flow run folders, out flow counts and one command.

Each run keeps a record inside its W&B folder, written when tracking starts and again when it ends::

    {"id": "1f2e3d4c",                      the run's id in W&B
     "project": "fourierkd", "entity": null,    where it goes; no entity: the account's own
     "segments": {"offline-run-...": false},  W&B's folders of the run: uploaded or not
     "tracked": {"rows": [48, 48], "pictures": [3, 4], "state": [1, 1], ...},  sent, of how many
     "reason": null}                        why tracking could not start

``tracked`` is null while a run is tracked, and stays so where its process died.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fourierkd.errors import RunError
from fourierkd.records import VAL
from fourierkd.run_dir import RunDir, read_json, write_atomic

_log = logging.getLogger("fourierkd.tracking")

NAME = "fourierkd.json"
SUMMARY = ("state", "best", "test")  # kinds of values that are sent with the summary, as no row


def read_record(run_dir: RunDir) -> dict[str, Any] | None:
    """The record; None where the run was never tracked.

    Raises:
        RunError: the file is damaged.
    """
    return read_json(run_dir.wandb / NAME)


def write_record(run_dir: RunDir, record: dict[str, Any]) -> None:
    """Replace the record."""
    write_atomic(run_dir.wandb / NAME, json.dumps(record) + "\n")


class Tally:
    """What W&B was given of a run and what it did not take, by kind (``rows``, ``pictures``).

    Args:
        sent: what it has already.
    """

    def __init__(self, sent: Mapping[str, int] | None = None) -> None:
        self.sent, self.lost = Counter(sent or {}), Counter[str]()

    def counts(self, there: Mapping[str, int], final: Iterable[str]) -> dict[str, list[int]]:
        """``tracked`` of the record.

        Args:
            there: what the run folder holds (``held``).
            final: keys of the summary, which was sent as a whole: ``state``, ``best/mIoU``.
        """
        counts = {}
        for kind in dict.fromkeys([*there, *self.sent, *self.lost]):
            sent = self.sent[kind]
            counts[kind] = [sent, max(sent + self.lost[kind], there.get(kind, 0))]
        for group, number in Counter(key.partition("/")[0] for key in final).items():
            counts[group] = [number, number]
        return counts


def held(run_dir: RunDir) -> dict[str, int]:
    """How many rows, pictures and rows of classes beside a row, and predictions a folder holds."""
    rows = [row for row in run_dir.rows() if "event" not in row]
    pictures, iterations = run_dir.saved_pictures(), {row["iter"] for row in rows}
    found = {"rows": len(rows)}
    found["pictures"] = sum(len(pictures[i]) for i in iterations & pictures.keys())
    of_classes = len(iterations & run_dir.class_rows(VAL).keys())
    beside = {"classes": of_classes, "predictions": len(run_dir.prediction_rows())}
    return found | {kind: number for kind, number in beside.items() if number}


def missing(run_dir: RunDir) -> str:
    """What W&B was not given of a run, in words; empty where it has the whole run."""
    try:
        record = read_record(run_dir)
    except RunError:
        return "its record is damaged"
    if record is None:
        return "tracking did not start"
    if record.get("reason"):
        return str(record["reason"])
    tracked = record.get("tracked")
    if tracked is None:
        return "its process died"
    gaps = [f"{of - sent} of {of} {what}" for what, (sent, of) in tracked.items() if sent < of]
    return ", ".join(gaps)


def logged(record: Mapping[str, Any]) -> int:
    """How many rows of its own W&B was given: one for each row, picture, table and so on."""
    tracked: Mapping[str, list[int]] = record["tracked"] or {}
    return sum(sent for kind, (sent, _) in tracked.items() if kind not in SUMMARY)


def uploaded(run_dir: RunDir) -> bool:
    """Whether all of the run so far was sent, and a server has it."""
    record = read_record(run_dir)
    return record is not None and not missing(run_dir) and not held_back(run_dir, record)


def tracking_line(runs: Sequence[RunDir]) -> str:
    """How many of the runs that want tracking are whole in W&B, and which are not and why."""
    runs = [run for run in runs if wanted(run)]
    gaps = {run.path.name: gap for run in runs if (gap := missing(run))}
    line = f"{len(runs) - len(gaps)} of {len(runs)} runs tracked whole"
    if gaps:
        line += "; not " + ", ".join(f"{name} ({gap})" for name, gap in gaps.items())
    return line


def wanted(run_dir: RunDir) -> bool:
    """Whether the run's request asks for tracking."""
    return run_dir.read_request().wandb.mode != "disabled"


def held_back(run_dir: RunDir, record: Mapping[str, Any]) -> list[Path]:
    """W&B's folders of the run that no server has."""
    folders = [run_dir.wandb / name for name, sent in record["segments"].items() if not sent]
    return [
        folder
        for folder in folders
        if any(folder.glob("*.wandb")) and not any(folder.glob("*.wandb.synced"))
    ]


def sync_command(paths: Iterable[str | os.PathLike[str]]) -> str:
    """The command that uploads what the runs in these folders hold back; empty for nothing.

    Args:
        paths: Run folders, and the study's work dir where it holds the report run.
    """
    offline: dict[Path, list[Path]] = {}  # parent of the run folders -> their W&B folders
    online: list[Path] = []
    exact: list[Path] = []
    for path in paths:
        run_dir = RunDir(path)
        try:
            record = read_record(run_dir) or {"segments": {}}
        except RunError as error:
            _log.warning("W&B: %s", error)
            continue
        for folder in held_back(run_dir, record):
            exact.append(folder)
            if folder.name.startswith("offline-"):
                parent = offline.setdefault(run_dir.path.parent, [])
                if run_dir.wandb not in parent:
                    parent.append(run_dir.wandb)
            else:
                online.append(folder)
    if not exact:
        return ""
    if online:
        return "wandb sync --include-online " + " ".join(
            shlex.quote(str(folder)) for folder in exact
        )
    words = [
        f"{shlex.quote(str(parent))}/*/{folders[0].name}"
        if len(folders) > 1
        else shlex.quote(str(folders[0]))
        for parent, folders in offline.items()
    ]
    return "wandb sync " + " ".join(words)
