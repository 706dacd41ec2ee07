"""What W&B's own files hold of a run, read by W&B's own reader, and the way to a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.tracking.wandb_loopback import FAKE_KEY


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


def sync(command: str, url: str) -> str:
    """Run the printed line as a user would, logged in to ``url``."""
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    environment |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": FAKE_KEY}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
