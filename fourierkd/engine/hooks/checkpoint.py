"""Checkpoints: in flows the end of a step or validation, out flow ``iter_<k>.pth``, ``best.pth``.

MMEngine's hook deletes the earlier file before it writes the next and forgets the validation of the
iteration it resumes at. Here a file is written whole, then the earlier one goes, and a checkpoint
is taken after validation.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.registry import HOOKS
from fourierkd.engine.ranks import first_wish, leads
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import ConfigError, RunError, near
from fourierkd.options import whole_number
from fourierkd.records import MAXIMIZE, Metric, checked_direction

COCO_METRICS = [
    f"{kind}_mAP{part}"
    for kind in ("bbox", "segm")
    for part in ("", "_50", "_75", "_s", "_m", "_l")
]
# Where mmseg's IoUMetric and mmdet's CocoMetric are asked for something, and what they give then.
_ASKED = {"IoUMetric": ("iou_metrics", "mIoU"), "CocoMetric": ("metric", "bbox")}
_PREFIX = {"CocoMetric": "coco"}
_GIVEN = {
    "mIoU": ("aAcc", "mIoU", "mAcc"),
    "mDice": ("aAcc", "mDice", "mAcc"),
    "mFscore": ("aAcc", "mFscore", "mPrecision", "mRecall"),
    **{k: [m for m in COCO_METRICS if m.startswith(k)] for k in ("bbox", "segm")},
    "proposal": [*(f"AR@{n}" for n in (100, 300, 1000)), *(f"AR_{s}@1000" for s in "sml")],
    "proposal_fast": [f"AR@{n}" for n in (100, 300, 1000)],
}
# Precision and recall of COCO's evaluation lie in [0, 1]; -1 says that there was no such object.
_COCO_VALUE = re.compile(r"(bbox|segm|proposal)_(mAP|AR)")


@HOOKS.register_module()
class RunCheckpointHook(Hook):
    """Save the last checkpoint after every validation, every ten minutes and at the end, the best
    one by ``metric``.

    Args:
        metric: key of the validation metrics; None keeps no best checkpoint. A value that is not
            finite is none: that validation is passed over.
        direction: ``maximize`` or ``minimize``: which values of the metric are better.
        interval: save every so many iterations (epochs, where training goes by epochs) too; None
            for no more.
        minutes: save, at the next point where the run can be cut, what is so old; None: not by
            time.

    Raises:
        ConfigError: the evaluator gives no such metric.
        RunError: at the end of training, where no validation gave a value.

    Cost: a write of the student, with its optimizer for the last checkpoint, at each of these
    points; with several ranks one all_reduce of a number an iteration, as their clocks differ.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        metric: str | None = None,
        direction: str = MAXIMIZE,
        interval: int | None = None,
        minutes: float | None = 10.0,
    ) -> None:
        if interval is not None:
            whole_number("RunCheckpointHook.interval", interval, 1)
        self.metric = None if metric is None else Metric(metric, checked_direction(direction))
        self.interval = interval
        self.minutes = minutes
        self._saved = time.monotonic()
        self._validated = False
        self._no_value: float | None = None  # what a validation gave instead of one

    def before_train(self, runner: KDRunner) -> None:
        """After a resume, what is best is what ``best.pth`` says."""
        self._saved = time.monotonic()
        path = runner.run_dir.best_checkpoint()
        if runner.iter > 0 and path.exists():
            runner.best = load_checkpoint(path)["meta"]["best"]

    def after_val_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Keep the best checkpoint."""
        self._validated = True
        if self.metric is None:
            return
        name = self.metric.name
        values = short_names(metrics, name)
        if name not in values:
            raise ConfigError(
                "metric must be one that the evaluator gives",
                value=name,
                fix=near(name, values or COCO_METRICS),
            )
        value = values[name]
        if not math.isfinite(value):
            self._no_value = value
            runner.logger.warning(f"iter {runner.iter}: {name} is {value}, which is no value")
        elif runner.best is None or self.metric.better(value, than=runner.best["value"]):
            runner.best = {"iter": runner.iter, "value": value, "metrics": values}
            runner.save_checkpoint(
                str(runner.run_dir.checkpoints),
                runner.run_dir.best_checkpoint().name,
                save_optimizer=False,
                save_param_scheduler=False,
                meta={"best": runner.best},
            )

    def after_step(self, runner: KDRunner, iteration: int, epoch: int) -> None:
        """Save the last checkpoint where one is due."""
        count = epoch if runner.by_epoch else iteration
        due = self.interval is not None and count % self.interval == 0
        if self._validated or due or self._old():
            runner.save_last(iteration, epoch)
            self._saved = time.monotonic()
        self._validated = False

    def _old(self) -> bool:
        """Whether the last checkpoint is too old, by rank 0's clock."""
        if self.minutes is None:
            return False
        old = leads() and time.monotonic() - self._saved >= 60 * self.minutes
        return first_wish({} if old else None) is not None

    def after_train(self, runner: KDRunner) -> None:
        """Save the end."""
        runner.save_last(runner.iter, runner.epoch)
        if self.metric is not None and runner.best is None and self._no_value is not None:
            raise RunError(
                f"no validation gave a value of {self.metric.name}",
                value=self._no_value,
                fix="look whether the validation data hold objects of every class",
            )


def check_metric(metric: str, evaluator: Any) -> None:
    """Refuse a metric that the evaluator will not give, as far as its class says so beforehand.

    Raises:
        ConfigError: every metric of the evaluator is of a known class, and none of them gives it;
            or the evaluator gives none.
    """
    given = _given(evaluator)
    known = None if given is None else {name.rpartition("/")[2] for name in given}
    if known is not None and metric.rpartition("/")[2] not in known:
        raise ConfigError(
            "metric must be one that the evaluator gives", value=metric, fix=near(metric, known)
        )


def check_monitor(key: str, monitor: Any, evaluator: Any) -> None:
    """Refuse what a hook or schedule watches and the evaluator will not give by that whole name.

    Raises:
        ConfigError: as ``check_metric``.
    """
    known = _given(evaluator)
    if known is not None and monitor not in known:
        raise ConfigError(
            f"{key} must be a metric that the evaluator gives",
            value=monitor,
            fix=near(str(monitor), known),
        )


def _given(evaluator: Any) -> set[str] | None:
    """Whole names of the metrics that an evaluator gives; None where its classes do not say."""
    given: set[str] = set()
    for part in scoring(evaluator):
        kind = part["type"].rpartition(".")[2] if isinstance(part["type"], str) else ""
        if kind not in _ASKED or part.get("classwise") or part.get("proposal_nums"):
            return None
        key, default = _ASKED[kind]
        names = part.get(key) or default
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or any(name not in _GIVEN for name in names):
            return None
        prefix = part.get("prefix") or _PREFIX.get(kind)
        before = f"{prefix}/" if prefix else ""
        given |= {before + metric for name in names for metric in _GIVEN[name]}
    return given


def scoring(evaluator: Any) -> list[Mapping[str, Any]]:
    """The metrics of an evaluator that score: with ``format_only`` one writes predictions alone.

    Raises:
        ConfigError: none does; that would come out as a detector that found nothing.
    """
    parts = [evaluator] if isinstance(evaluator, Mapping) else list(evaluator)
    scores = [part for part in parts if not part.get("format_only")]
    if parts and not scores:
        raise ConfigError(
            "an evaluator of format_only=True gives no metric",
            value=parts[0]["type"],
            fix="leave format_only out",
        )
    return scores


def short_names(metrics: dict[str, Any] | None, metric: str | None) -> dict[str, float]:
    """Metrics as floats under the names a researcher writes: ``coco/bbox_mAP`` is ``bbox_mAP``.

    No metrics at all is what MMDetection's CocoMetric gives where a detector found nothing in any
    image (early in training); its ``metric`` is 0 then. Any other ``metric`` stays absent. A -1 of
    COCO's evaluation, which found nothing to find, is NaN.
    """
    if not metrics:
        return {metric: 0.0} if metric in COCO_METRICS else {}
    short: dict[str, float] = {}
    for key, value in metrics.items():
        name = key.rpartition("/")[2]
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue  # a table or a list
        nothing = number == -1 and _COCO_VALUE.match(name) is not None
        short[key if name in short else name] = math.nan if nothing else number
    return short
