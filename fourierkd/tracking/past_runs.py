"""Runs that are in W&B read back: in flow ``.wandb`` files or a project, out flow their config,
summary and state.

A file is read by W&B's own reader, which needs no server and no account; nothing in it is run.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourierkd.errors import ConfigError, DataError, RunError, one_line
from fourierkd.tracking.login import logged_in

FINISHED = "finished"


@dataclass(frozen=True)
class PastRun:
    """One run of W&B.

    Attributes:
        id, name, project: in W&B.
        place: its file, or ``entity/project/id``.
        state: ``finished``, ``running``, ``crashed`` and other words of W&B.
        config, summary: what was kept of it; containers within stay containers.
    """

    id: str
    name: str
    project: str
    place: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]


def runs_in_files(paths: Iterable[Path]) -> list[PastRun]:
    """The runs of ``.wandb`` files, and of all such files below folders.

    The files of one run (W&B begins another where it is resumed) are one, in the order in which
    they were begun.

    Raises:
        DataError: there is no such file, or W&B cannot read it.
    """
    found: dict[str, PastRun] = {}
    for path in paths:
        files = sorted(path.rglob("*.wandb")) if path.is_dir() else [path]
        if not files or not path.exists():
            raise DataError(
                "runs of W&B are read from .wandb files, or folders of them",
                value=str(path),
                fix="check the path; a project of a server is named as wandb:ENTITY/PROJECT",
            )
        for run in sorted(map(_read, files), key=lambda run: str(run[0])):
            part = run[1]
            before = found.get(part.id)
            found[part.id] = part if before is None else _continued(before, part)
    return list(found.values())


def runs_of_project(path: str) -> list[PastRun]:
    """The runs of ``entity/project`` on the W&B server; without an entity the account's own.

    Raises:
        ConfigError: nobody is logged in.
        RunError: the server does not give them.
    """
    if not logged_in():
        raise ConfigError("runs of a server need a login", value=path, fix="run `wandb login`")
    import wandb

    try:
        runs = wandb.Api().runs(path, lazy=False, per_page=100)
        return [
            PastRun(
                id=run.id,
                name=run.name,
                project=run.project,
                place=f"{run.entity}/{run.project}/{run.id}",
                state=run.state,
                config=run.config,
                summary=run.summary_metrics,
            )
            for run in runs
        ]
    except Exception as error:
        raise RunError(
            f"the W&B server does not give the runs of {path} ({one_line(error)})",
            fix="check the entity and project",
        ) from error


def _read(path: Path) -> tuple[str, PastRun]:
    """When a file was begun, and its run."""
    from wandb.util import get_core_path

    command = [get_core_path(), "leet", "inspect", "--no-observability", "--summary", "--json"]
    command += ["--run-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        said = json.loads(done.stdout)
        run = PastRun(
            id=said["run_id"],
            name=said.get("name") or said["run_id"],
            project=said.get("project") or "",
            place=str(path),
            state=said["state"],
            config=said.get("config") or {},
            summary=said.get("summary") or {},
        )
        if not run.id:
            raise KeyError("run")  # an empty file
        return said.get("start_time") or "", run
    except (ValueError, KeyError) as error:
        lines = done.stderr.strip().splitlines() or [f"it holds no {error}"]
        raise DataError(
            f"W&B's reader must understand a .wandb file ({one_line(lines[-1])})",
            value=str(path),
            fix="leave it out",
        ) from error


def _continued(before: PastRun, part: PastRun) -> PastRun:
    return PastRun(
        id=part.id,
        name=part.name,
        project=part.project,
        place=part.place,
        state=part.state,
        config={**before.config, **part.config},
        summary={**before.summary, **part.summary},
    )
