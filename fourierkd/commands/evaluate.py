"""Score a checkpoint: in flow a run config and a checkpoint, out flow the student's metrics, of all
classes together and of each.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fourierkd.config.load import RunConfig, load_config
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.register import register_all
from fourierkd.distill.teacher import load_strictly
from fourierkd.engine.data_at_start import check_at_start
from fourierkd.engine.hooks.checkpoint import scoring, short_names
from fourierkd.engine.hooks.classes import ClassesHook
from fourierkd.engine.prepare import check_ends, prepared_data
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import ConfigError
from fourierkd.records import TEST
from fourierkd.run_dir import Row, RunDir

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
    """Metrics of the student in ``checkpoint`` on ``split``; see ``evaluate_classes``."""
    return evaluate_classes(config, checkpoint, split=split, options=options)[0]


def evaluate_classes(
    config: str | Path, checkpoint: str | Path, *, split: str, options: dict[str, Any] | None = None
) -> tuple[dict[str, float], Row | None]:
    """Metrics of the student in ``checkpoint`` on ``split``; the teacher is not loaded.

    Args:
        config: the run config.
        checkpoint: of a run, or of the plain student.
        split: val or test.

    Returns:
        The metrics, and ``classes`` (names) with their ``scores`` (see ``RunDir.append_classes``);
        None where the config's evaluator knows none.

    Raises:
        ConfigError: the config does not describe the split.
        DataError: its data are missing or wrong.
        CheckpointError: the checkpoint is missing, unsafe or of another architecture.
    """
    cfg = load_config(config, options)
    cfg.model.update(teacher=None)
    cfg.model["losses"] = {}  # `update` would merge it into what is there
    with scoring_runner(cfg, checkpoint, split=split, command="test") as runner:
        runner.register_hook(ClassesHook())
        metrics = scores_now(runner)
        # whichever split it is, it is scored as a test
        return metrics, next(iter(runner.run_dir.class_rows(TEST).values()), None)


def print_classes(row: Row) -> None:
    """What ``evaluate_classes`` says of each class, as a table: a line a class, a dash for none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("class")
    for name in row["scores"]:
        table.add_column(name, justify="right")
    largest = max((v for own in row["scores"].values() for v in own if v is not None), default=0)
    digits = 3 if largest <= 1 else 2
    for i, name in enumerate(row["classes"]):
        values = [own[i] for own in row["scores"].values()]
        table.add_row(Text(name), *("–" if v is None else f"{v:.{digits}f}" for v in values))
    Console(highlight=False).print(table)


@contextmanager
def scoring_runner(
    cfg: RunConfig, checkpoint: str | Path, *, split: str, command: str, seed: int = 0
) -> Iterator[KDRunner]:
    """A runner that scores the student in ``checkpoint`` on ``split`` by ``scores_now``.

    Args:
        cfg: a loaded run config, which is changed; its training is left out.
        checkpoint: of a run, or of the plain student.
        split: val or test.
        command: by which others are told who reads the data.
        seed: of what the checkpoint does not hold: a teacher of random weights.

    Raises:
        ConfigError, DataError, CheckpointError: see ``evaluate``.
    """
    loader, evaluator = cfg.get(f"{split}_dataloader"), cfg.get(f"{split}_evaluator")
    if loader is None or evaluator is None:
        raise ConfigError(f"scoring on {split} needs {split}_dataloader and {split}_evaluator")
    scoring(evaluator)
    check_ends(f"{split}_dataloader", loader, "a validation or test")
    register_all()
    for key in (*TRAINING, "val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.model.update(inherit=(), pretrained=False)
    cfg.update(
        test_dataloader=loader,
        test_evaluator=evaluator,
        test_cfg={},
        default_hooks=dict.fromkeys(
            ("timer", "logger", "checkpoint", "param_scheduler", "sampler_seed")
        ),
    )
    reader = f"`fourierkd {command}` (process {os.getpid()})"
    with (
        prepared_data(cfg, reader=reader),
        tempfile.TemporaryDirectory() as folder,
        told_in_one_line(f"{split} cannot be scored", fix="correct the config or the data"),
    ):
        check_at_start(cfg)
        runner = KDRunner(cfg, RunDir(folder), seed=seed)
        load_strictly(runner.bare_model.get_submodule("student"), str(checkpoint))
        yield runner


def scores_now(runner: KDRunner) -> dict[str, float]:
    """The metrics of the runner's student as it answers now."""
    return short_names(runner.test_loop.run(), runner.cfg.get("metric"))
