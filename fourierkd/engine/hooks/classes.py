"""Classes: in flows the end of an evaluation, out flow the scores of each class and its arrays.

They are what the config's own metric had in its hands (``engine.class_scores``).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.class_scores import ClassScores, Watch, merged, watch
from fourierkd.engine.ranks import leads
from fourierkd.engine.runner import KDRunner
from fourierkd.records import TEST, VAL
from fourierkd.run_dir import write_atomic


@HOOKS.register_module()
class ClassesHook(Hook):
    """Write what every validation and the test say of each class, and the arrays of the best one.

    Rows of ``classes.jsonl``: ``iter`` (of the weights), ``split``, ``classes``, ``scores``. Arrays
    go to ``classes_<split>.npz``, of val where the validation is the best one so far.

    A run has it, whatever its config says: it changes nothing that the run does. An evaluator none
    of whose metrics is known leaves no file, and the log says so once.

    Cost: that of ``class_scores``, and a row and a small file.
    """

    priority = "LOWEST"  # the checkpoint hook says before what is best

    def __init__(self) -> None:
        self._watches: dict[str, list[Watch]] = {}

    def before_val_epoch(self, runner: KDRunner) -> None:
        """Watch the metrics, from the first validation on."""
        self._watch(runner, VAL, runner.val_loop.evaluator)

    def before_test_epoch(self, runner: KDRunner) -> None:
        """Watch those of the test."""
        self._watch(runner, TEST, runner.test_loop.evaluator)

    @override
    def after_val_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Write what a validation gave."""
        best = runner.best is None or runner.best["iter"] == runner.iter
        self._write(runner, VAL, runner.iter, arrays=best)

    @override
    def after_test_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Write what the test of the best checkpoint gave."""
        iteration = runner.iter if runner.best is None else runner.best["iter"]
        self._write(runner, TEST, iteration, arrays=True)

    def _watch(self, runner: KDRunner, split: str, evaluator: Any) -> None:
        if split in self._watches:
            return
        self._watches[split] = watch(evaluator.metrics)
        if not self._watches[split]:
            names = ", ".join(type(metric).__name__ for metric in evaluator.metrics)
            runner.logger.info(f"no scores of classes on {split}: {names} is not known to give any")

    def _write(self, runner: KDRunner, split: str, iteration: int, *, arrays: bool) -> None:
        found = merged(self._watches[split])
        if found is None or not leads():
            return
        row = {
            "iter": iteration,
            "epoch": runner.epoch,
            "split": split,
            "classes": found.classes,
            "scores": found.scores,
        }
        runner.run_dir.append_classes(row)
        if split == VAL and runner.tracker is not None:
            with runner.clock.part("tracking"):
                runner.tracker.classes(row)
        if arrays and found.arrays:
            write_atomic(runner.run_dir.class_arrays(split), _packed(found, iteration))


def _packed(found: ClassScores, iteration: int) -> bytes:
    """An ``.npz`` of numbers and names, which loads without pickles."""
    buffer = io.BytesIO()
    arrays = {"iter": np.array(iteration), "classes": np.array(found.classes), **found.arrays}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
