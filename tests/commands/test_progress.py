"""A run's line shows the loss and the config's own metric, whatever else the evaluator gives."""

from __future__ import annotations

import io
import json
from pathlib import Path

from fourierkd.commands.progress import show_progress
from fourierkd.run_dir import RunDir, write_atomic


def test_the_metric_of_the_config_is_shown(tmp_path: Path) -> None:
    run_dir, terminal = RunDir(tmp_path), io.StringIO()
    with show_progress(run_dir, terminal):
        write_atomic(run_dir.environment, json.dumps({"metric": "mIoU", "max_iters": 20}))
        run_dir.append({"iter": 10, "train/loss": 1.5})
        run_dir.append({"iter": 10, "val/aAcc": 81.2, "val/mIoU": 23.4567, "val/mAcc": 30.0})
        run_dir.append({"iter": 20, "val/aAcc": 90.0, "val/mIoU": float("nan")})
    assert terminal.getvalue() == "iteration 10: loss 1.5  val mIoU 23.46\n"


def test_a_warning_is_said_once_and_at_once(tmp_path: Path) -> None:
    run_dir, terminal = RunDir(tmp_path), io.StringIO()
    facts = {"metric": "mIoU", "warnings": ["one image is [deep]"]}
    with show_progress(run_dir, terminal):
        write_atomic(run_dir.environment, json.dumps(facts))
        run_dir.append({"iter": 10, "train/loss": 1.5})
    assert terminal.getvalue() == "warning: one image is [deep]\n"
