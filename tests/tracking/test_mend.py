"""Runs whose process died are sent from their folders; all others are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fourierkd.records import Request, Result, State, Tracking
from fourierkd.run_dir import RunDir
from fourierkd.tracking.mend import mend
from fourierkd.tracking.record import missing
from fourierkd.tracking.wandb_backend import WandbBackend
from tests.wandb_files import history, inspect, segments, summary

ROWS = [{"iter": k, "epoch": 0, "seconds": 1.0, "val/acc": 10.0 * k} for k in range(3)]


def died(path: Path, **wandb: Any) -> RunDir:
    """A run that was killed before it could tell W&B anything."""
    tracking = Tracking(**{"mode": "offline", **wandb})
    run_dir = RunDir(path).create(Request(config="", seed=0, method="tuned", wandb=tracking))
    run_dir.config.write_text("metric = 'acc'\nmodel = {'type': 'Distiller', 'losses': [1]}\n")
    for row in ROWS:
        run_dir.append(row)
    return run_dir


def test_a_run_that_died_is_sent_with_its_rows_config_and_state(home: Path, tmp_path: Path) -> None:
    run_dir = died(tmp_path / "run")
    mend([run_dir])
    assert not run_dir.wandb.exists()  # it may be at work
    run_dir.write_result(Result(state=State.FAILED, metrics={"val/acc": 20.0}))
    mend([run_dir])
    assert missing(run_dir) == ""
    (segment,) = segments(run_dir.wandb)
    assert history(segment) == ROWS
    assert (summary(segment)["state"], summary(segment)["best/acc"]) == ("failed", 20.0)
    (config,) = [r["run"]["config"]["update"] for r in inspect(segment) if r["type"] == "run"]
    assert config["run"] == {"metric": "acc", "model": {"type": "Distiller", "losses": [1]}}
    mend([run_dir])
    assert segments(run_dir.wandb) == [segment]


def test_who_wants_no_tracking_gets_none(home: Path, tmp_path: Path) -> None:
    run_dir = died(tmp_path / "run", mode="disabled")
    run_dir.write_result(Result(state=State.FAILED))
    mend([run_dir])
    assert not run_dir.wandb.exists()


def test_where_wandb_does_not_start_it_is_tried_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no process can be started")

    monkeypatch.setattr(WandbBackend, "_init", fail)
    runs = [died(tmp_path / name) for name in "ab"]
    for run_dir in runs:
        run_dir.write_result(Result(state=State.FAILED))
    mend(runs)
    reasons = [missing(run_dir) for run_dir in runs]
    assert reasons == ["no process can be started", "tracking did not start"]


def test_a_damaged_config_costs_the_config_alone(home: Path, tmp_path: Path) -> None:
    run_dir = died(tmp_path / "run")
    run_dir.write_result(Result(state=State.FAILED))
    run_dir.config.write_text("a = (")
    mend([run_dir])
    assert not missing(run_dir)
