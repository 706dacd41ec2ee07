"""What W&B's own files hold of a run, read by W&B's own reader."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def segments(wandb: Path) -> list[Path]:
    """W&B's folders of a run, in the order in which they were begun."""
    return sorted(wandb.glob("*run-*"))


def inspect(segment: Path) -> list[dict[str, Any]]:
    """All records of a segment, as `wandb leet inspect --json` prints them (here without a second
    Python, and without its telemetry)."""
    from wandb.util import get_core_path

    (log,) = segment.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
    command += ["--run-file", str(log)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def history(segment: Path) -> list[dict[str, Any]]:
    """The logged rows, without W&B's own keys."""
    rows = [record["history"]["item"] for record in inspect(segment) if record["type"] == "history"]
    return [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]


def summary(segment: Path) -> dict[str, Any]:
    """The run's summary."""
    merged: dict[str, Any] = {}
    for record in inspect(segment):
        if record["type"] == "summary":
            merged.update(record["summary"]["update"])
    return merged
