"""Scalars: in flow losses of every iteration and metrics of every validation, out flow rows."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from mmengine.hooks import Hook
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.hooks.checkpoint import short_names
from fourierkd.engine.ranks import mean
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import RunError
from fourierkd.options import whole_number
from fourierkd.records import as_scores

PARTS = ("teacher", "student", "losses")


@HOOKS.register_module()
class ScalarsHook(Hook):
    """Write a row every ``interval`` iterations and after every validation; end a diverged run.

    A training row holds means over its iterations: ``train/<loss key>``, ``train/lr``,
    ``train/grad_norm`` (where gradients are clipped), ``time/<part>`` in seconds an iteration; and
    as they are now ``distill/<loss>/<scalar>`` (what the loss says of itself, such as FourierLoss's
    ``mix`` and ``sphere_radius``) and ``distill/<loss>/gradient_share`` (|g| / (|g| + |g of the
    rest|) at the student's taps, of one iteration).

    With several ranks ``train/<loss key>`` is the mean over ranks; times and the gradient share are
    those of rank 0.

    Cost: a few tens of microseconds an iteration; a row costs below a millisecond, of which the
    gradient share takes two norms over the tapped maps, and no extra backward pass.

    Raises:
        RunError: a loss is not finite.
    """

    priority = "NORMAL"

    def __init__(self, interval: int = 10) -> None:
        self.interval = whole_number("ScalarsHook.interval", interval, 1)
        self._sums: dict[str, Any] = defaultdict(float)
        self._count = 0
        self._clock = (0.0, 0.0)  # seconds of data and step at the last row

    def before_train(self, runner: KDRunner) -> None:
        """Rows count from here."""
        self._clock = (runner.clock.seconds["data"], runner.clock.seconds["step"])

    @override
    def before_train_iter(self, runner: KDRunner, batch_idx: int, data_batch: Any = None) -> None:
        """Ask for gradients where a row is due."""
        runner.bare_model.keep_gradients = (runner.iter + 1) % self.interval == 0

    @override
    def after_train_iter(
        self, runner: KDRunner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add the iteration up; write a row where one is due."""
        iteration = runner.iter + 1
        check_finite(outputs, iteration)
        for key, value in outputs.items():
            self._sums[f"train/{key}"] += value.detach()
        timers = getattr(runner.bare_model, "timers", {})
        for part in PARTS:
            seconds = timers.get(part, 0.0)
            self._sums[f"time/{part}"] += seconds
            runner.clock.seconds[part] += seconds
        self._count += 1
        if iteration % self.interval == 0:
            runner.write_row(self._row(runner), iteration=iteration)

    def after_val_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics."""
        values = short_names(metrics, runner.cfg.get("metric"))
        runner.write_row(as_scores(values), iteration=runner.iter)
        runner.logger.info(
            f"iter {runner.iter}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items())
        )

    def _row(self, runner: KDRunner) -> dict[str, float]:
        row = {key: float(value) / self._count for key, value in self._sums.items()}
        row |= mean({key: value for key, value in row.items() if key.startswith("train/")})
        data, step = runner.clock.seconds["data"], runner.clock.seconds["step"]
        row["time/data"] = (data - self._clock[0]) / self._count
        row["time/iter"] = row["time/data"] + (step - self._clock[1]) / self._count
        row["train/lr"] = float(runner.message_hub.get_scalar("train/lr").current())
        if "train/grad_norm" in runner.message_hub.log_scalars:
            row["train/grad_norm"] = float(
                runner.message_hub.get_scalar("train/grad_norm").current()
            )
        row.update(distillation_scalars(runner.bare_model))
        self._sums.clear()
        self._count = 0
        self._clock = (data, step)
        runner.logger.info(
            f"iter {runner.iter + 1}/{runner.max_iters}: loss {row['train/loss']:.4g}, "
            f"lr {row['train/lr']:.3g}, {row['time/iter']:.3f} s"
        )
        return row


def check_finite(outputs: dict[str, Any], iteration: int) -> None:
    """RunError, naming the loss, where the sum of the losses is NaN or infinite."""
    if math.isfinite(outputs["loss"].item()):
        return
    values = {k: v.item() for k, v in outputs.items()}
    bad = {k: v for k, v in values.items() if k != "loss" and not math.isfinite(v)}
    names = ", ".join(bad) or "the sum of all"
    raise RunError(
        f"loss is not finite at iter {iteration}: {names}",
        value=next(iter(bad.values()), values["loss"]),
        fix="lower its loss_weight or the learning rate, or clip gradients",
    )


@torch.no_grad()
def distillation_scalars(model: Any) -> dict[str, float]:
    """Each loss's own scalars and its gradient share; levels by suffix ``.<level>``."""
    values: dict[str, float] = {}
    losses: Any = getattr(model, "losses", {})
    for name, levels in losses.items():
        for index, loss in enumerate(levels):
            level = f".{index}" if len(levels) > 1 else ""
            for scalar, value in loss.scalars().items():
                values[f"distill/{name}/{scalar}{level}"] = value
    if getattr(model, "keep_gradients", False):
        for name, share in model.gradient_shares().items():
            values[f"distill/{name}/gradient_share"] = share
    return values
