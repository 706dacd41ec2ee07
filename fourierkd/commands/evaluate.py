"""Score a checkpoint: in flow a run config and a checkpoint, out flow the student's metrics."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from fourierkd.config.load import load_config
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.register import register_all
from fourierkd.distill.teacher import load_strictly
from fourierkd.engine.data_at_start import check_at_start
from fourierkd.engine.hooks.checkpoint import scoring, short_names
from fourierkd.engine.prepare import check_ends, prepared_data
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir

TRAINING = (
    "train_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "custom_hooks",
    "visualizer",
)


def evaluate(
    config: str | Path, checkpoint: str | Path, *, split: str, options: dict[str, Any] | None = None
) -> dict[str, float]:
    """Metrics of the student in ``checkpoint`` on ``split``; the teacher is not loaded.

    Args:
        config: the run config.
        checkpoint: of a run, or of the plain student.
        split: val or test.

    Raises:
        ConfigError: the config does not describe the split.
        DataError: its data are missing or wrong.
        CheckpointError: the checkpoint is missing, unsafe or of another architecture.
    """
    cfg = load_config(config, options)
    loader, evaluator = cfg.get(f"{split}_dataloader"), cfg.get(f"{split}_evaluator")
    if loader is None or evaluator is None:
        raise ConfigError(f"scoring on {split} needs {split}_dataloader and {split}_evaluator")
    scoring(evaluator)
    check_ends(f"{split}_dataloader", loader, "a validation or test")
    register_all()
    for key in (*TRAINING, "val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.model.update(teacher=None, inherit=(), pretrained=False)
    cfg.model["losses"] = {}  # `update` would merge it into what is there
    cfg.update(
        test_dataloader=loader,
        test_evaluator=evaluator,
        test_cfg={},
        default_hooks=dict.fromkeys(
            ("timer", "logger", "checkpoint", "param_scheduler", "sampler_seed")
        ),
    )
    reader = f"`fourierkd test` (process {os.getpid()})"
    with (
        prepared_data(cfg, reader=reader),
        tempfile.TemporaryDirectory() as folder,
        told_in_one_line(f"{split} cannot be scored", fix="correct the config or the data"),
    ):
        check_at_start(cfg)
        runner = KDRunner(cfg, RunDir(folder), seed=0)
        load_strictly(runner.bare_model.get_submodule("student"), str(checkpoint))
        return short_names(runner.test_loop.run(), cfg.get("metric"))
