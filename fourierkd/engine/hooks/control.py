"""Stopping: in flow ``control.json`` and signals, out flows an end from which the run can go on."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.ranks import first_wish, leads
from fourierkd.engine.runner import KDRunner
from fourierkd.records import State, Stop


class StopRun(Exception):  # noqa: N818 - not an error
    """Ends a run early: ``state`` is pruned or stopped."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


@HOOKS.register_module()
class ControlHook(Hook):
    """At every step: where a stop is asked for, save the last checkpoint and raise ``StopRun``.

    Training by epochs stops at once, and goes on from the last epoch's checkpoint. Several ranks
    agree, as a signal reaches them in different iterations.

    Cost: one look for a file an iteration (a few microseconds); with several ranks one all_reduce
    of a number on the CPU.
    """

    priority = "LOWEST"

    @override
    def after_train_iter(
        self,
        runner: KDRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Training by epochs: nothing to save in the middle of one."""
        if runner.by_epoch:
            self._stop_if_asked(runner)

    def after_step(self, runner: KDRunner, iteration: int, epoch: int) -> None:
        """Save what a resume needs, then stop."""
        last = runner.max_epochs if runner.by_epoch else runner.max_iters
        if (epoch if runner.by_epoch else iteration) < last:  # at its end a run is complete
            self._stop_if_asked(runner, save=(iteration, epoch))

    def _stop_if_asked(self, runner: KDRunner, save: tuple[int, int] | None = None) -> None:
        asked: Stop | None = None
        if runner.signals:
            asked = Stop(state=State.STOPPED, reason=f"signal {runner.signals[0]}")
        elif leads():
            asked = runner.run_dir.stop_asked()
        asked = first_wish(asked)
        if asked is None:
            return
        if save is not None:
            runner.save_last(*save)
        raise StopRun(asked.state, asked.reason)
