"""MMEngine's Runner with a short start-up and atomic checkpoints: out flows training.

Random streams: building the model, initialising its weights and the training loop each start from
the run's seed, so that a teacher or a loss shifts neither the student's initial weights nor the
data.

Beside MMEngine's hook events there is ``after_step(runner, iteration, epoch)``: the run may be cut
here and resumed bitwise; it comes after an iteration (iteration-based) or an epoch, and after its
validation where one is due.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_distributed, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed, weights_to_cpu
from mmengine.visualization import Visualizer
from torch import nn
from typing_extensions import override

from fourierkd.config.keys import RUNNER_KEYS
from fourierkd.config.load import RunConfig
from fourierkd.config.norms import check_student_norm
from fourierkd.config.schedules import check_iterations
from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.checkpoint import save as save_atomic
from fourierkd.distill.registry import SCOPE, register_scope
from fourierkd.engine.accumulation import accumulated_gradients, restore_gradients
from fourierkd.engine.clock import Clock
from fourierkd.engine.loaders import build_loader
from fourierkd.engine.optimizers import build_by_constructor
from fourierkd.engine.parallel import average_buffers, ddp_config
from fourierkd.engine.ranks import leads
from fourierkd.engine.recompute import recompute_activations
from fourierkd.errors import CheckpointError, first_line
from fourierkd.run_dir import RunDir, write_atomic

BEAT = 0.5  # seconds between two signs of life


class KDRunner(Runner):
    """Runner of one run folder.

    Args:
        config: what ``load_config`` gave; its ``default_hooks`` and ``custom_hooks`` are used as
        they are.
        run_dir: where everything is written.
        seed: of initial weights, data order and augmentation, from 0 on.
        tracker: W&B backend (``log``, ``classes``, ``image``, ``predictions``, ``table``,
            ``close``) or None.
        resume_from: checkpoint to go on from.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: RunDir,
        *,
        seed: int,
        clock: Clock | None = None,
        tracker: Any = None,
        resume_from: Path | None = None,
    ) -> None:
        self.run_dir, self.clock, self.tracker = run_dir, clock or Clock(), tracker
        self.best: dict[str, Any] | None = None  # iter, value, metrics
        self.signals: list[str] = []  # names of those that asked the run to stop
        self.saved_iteration = -1  # of the last checkpoint
        self.validated = False  # whether a validation was gone through, hooks and all
        self._beaten = 0.0  # when the last sign of life was given
        arguments = {k: v for k, v in config.items() if k in RUNNER_KEYS and v is not None}
        if resume_from is not None:
            arguments.update(resume=True, load_from=str(resume_from))
        arguments.update(
            launcher="pytorch" if is_distributed() else "none",  # the group stands already
            work_dir=str(run_dir.path),
            cfg=config,
            randomness={"seed": training_seed(seed), "deterministic": False},
            default_scope="fourierkd",
            # Loggers and hubs are looked up by this name, and must not be another run's.
            experiment_name=f"{run_dir.path.name}_{time.time_ns()}",
        )
        super().__init__(**arguments)
        with suppress(FileNotFoundError):  # another rank was first
            os.rmdir(self.log_dir)  # MMEngine makes a folder for its log; ours is run.log
        self._log_dir = str(run_dir.path)  # where hooks of the config may write

    # At start MMEngine spends seconds asking compilers for their versions and formatting configs.

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """environment.json has it."""

    def dump_config(self) -> None:
        """config.py is written before the runner exists."""

    def build_logger(self, log_level: int | str = "INFO", *_: Any, **__: Any) -> MMLogger:
        """Log to the console only: a run's console is its run.log."""
        return MMLogger.get_instance(self._experiment_name, log_level=log_level)

    def build_visualizer(self, visualizer: dict[str, Any] | None = None) -> Visualizer:
        """The config's, which writes into the run folder; by default one that writes nothing."""
        chosen = visualizer or {"type": "Visualizer", "vis_backends": []}
        scope, dot, _ = str(chosen.get("type")).partition(".")
        register_scope(scope if dot else SCOPE)  # the model, which imports its package, comes later
        # Hooks find it by its name, which two runs of one process must not share.
        return super().build_visualizer(
            {"save_dir": str(self.run_dir.path), **chosen, "name": self._experiment_name}
        )

    build_dataloader = staticmethod(build_loader)

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build from the seed, then recompute activations where the config asks for it."""
        set_random_seed(self.seed)
        built: nn.Module = super().build_model(model)
        check_student_norm(built, self.cfg)
        # popped: MMEngine's own way to do it loses the gradients of taps
        recompute_activations(built, self.cfg.pop("activation_checkpointing", None))
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """DDP under a launcher, on the CPU too."""
        if self.distributed:
            model_wrapper_cfg = ddp_config(model_wrapper_cfg, self.cfg, model)
        result: nn.Module = super().wrap_model(model_wrapper_cfg, model)
        return result

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """A constructor of a task package sees the student."""
        if isinstance(optim_wrapper, Mapping) and "constructor" in optim_wrapper:
            return build_by_constructor(self.model, optim_wrapper)
        return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Now that the data are built, a training by epochs has a length in iterations."""
        if self.by_epoch:
            iterations = self.max_epochs * len(self.train_dataloader)
            for line in check_iterations(self.cfg.to_dict(), iterations):
                self.logger.warning(line)
        return super().build_param_scheduler(scheduler)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Ranks' results meet in the process group, not in a folder that all nodes share."""
        built = super().build_evaluator(evaluator)
        if self.distributed:
            for metric in built.metrics:
                metric.collect_device = "gpu"  # MMEngine's word for all_gather, on any device
        return built

    def _init_model_weights(self) -> None:
        if self._resume:  # every weight comes from the checkpoint
            return
        set_random_seed(self.seed)
        super()._init_model_weights()
        inherited = getattr(self.bare_model, "inherited", None)
        if inherited and is_main_process():
            write_atomic(self.run_dir.inherited, json.dumps(inherited, indent=1) + "\n")

    @property
    def bare_model(self) -> nn.Module:
        """The model without a DDP wrapper."""
        result: nn.Module = self.model.module if is_model_wrapper(self.model) else self.model
        return result

    @property
    def by_epoch(self) -> bool:
        """Whether training goes by epochs; then a run can be cut between epochs only."""
        return isinstance(self.train_loop, EpochBasedTrainLoop)

    @property
    def iterations(self) -> int:
        """How many were trained, also while MMEngine has not counted the last one yet."""
        return max(getattr(self._train_loop, "_iter", 0), self.saved_iteration)

    def beat(self) -> None:
        """A sign of life, at most every half of a second."""
        if leads() and time.monotonic() - self._beaten > BEAT:
            self.run_dir.beat()
            self._beaten = time.monotonic()

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call an event's hooks, book their time, and announce ``after_step`` where it is one."""
        self.beat()
        if fn_name == "before_val":
            average_buffers(self.bare_model)
        with self.clock.event(fn_name):
            super().call_hook(fn_name, **kwargs)
            if fn_name == "after_val":
                super().call_hook("after_step", iteration=self.iter, epoch=self.epoch)
                self.validated = True
                return
            iteration, epoch = self.iter, self.epoch
            if fn_name == "after_train_iter" and not self.by_epoch:
                iteration = count = iteration + 1  # MMEngine counts it later
            elif fn_name == "after_train_epoch" and self.by_epoch:
                epoch = count = epoch + 1
            else:
                return
            if not self._validates_after(count):
                super().call_hook("after_step", iteration=iteration, epoch=epoch)

    def validation_follows(self, batch_idx: int) -> bool:
        """Whether the current iteration is the last one before a validation."""
        if not self.by_epoch:
            return self._validates_after(self.iter + 1)
        ends_epoch = batch_idx + 1 == len(self.train_dataloader)
        return ends_epoch and self._validates_after(self.epoch + 1)

    def _validates_after(self, count: int) -> bool:
        """As MMEngine's training loops decide it, for ``count`` iterations or epochs done."""
        last = self.max_epochs if self.by_epoch else self.max_iters
        return (
            self._val_loop is not None
            and count >= self.val_begin
            and (count % self.val_interval == 0 or count == last)
        )

    def write_row(self, values: dict[str, Any], *, iteration: int) -> dict[str, Any]:
        """Append one row to scalars.jsonl, send it to the tracker and to the back-ends that the
        config gives its visualizer, and return it; rank 0 writes.
        """
        row = {
            "iter": iteration,
            "epoch": self.epoch,
            "seconds": round(self.clock.total, 3),
            **values,
        }
        if leads():
            self.run_dir.append(row)
            numbers = {name: value for name, value in values.items() if value is not None}
            self.visualizer.add_scalars(numbers, step=iteration)
        if self.tracker is not None:
            with self.clock.part("tracking"):
                self.tracker.log(row)
        return row

    def save_last(self, iteration: int, epoch: int) -> None:
        """Save all that a resume needs, point ``last_checkpoint`` at it, drop the earlier one.

        Nothing happens where the last checkpoint is of this iteration already.
        """
        if self.saved_iteration == iteration:
            return
        path = self.run_dir.checkpoint(iteration)
        average_buffers(self.bare_model)
        self.save_checkpoint(str(path.parent), path.name, meta={"iter": iteration, "epoch": epoch})
        if leads():
            self.run_dir.keep_only(path)
        self.saved_iteration = iteration

    @override
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: Any = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: Any = None,
    ) -> None:
        """Write a whole checkpoint of tensors and plain values, which ``weights_only`` loads.

        Every rank takes part, rank 0 writes.
        """
        model = self.bare_model
        metainfo = getattr(self.train_dataloader.dataset, "metainfo", {})
        checkpoint: dict[str, Any] = {
            "meta": {
                "iter": self.iter,
                "epoch": self.epoch,
                "seed": self.seed,
                "seconds": self.clock.state(),
                "dataset_meta": plain(metainfo),
                "teacher_sha256": teacher_sha256(model),
                "ranks": self.world_size,
                **(meta or {}),
            },
            "state_dict": weights_to_cpu(model.state_dict()),
        }
        if save_optimizer:
            checkpoint["optimizer"] = self.optim_wrapper.state_dict()
            checkpoint["gradients"] = accumulated_gradients(model, self.optim_wrapper)
        if save_param_scheduler:
            checkpoint["param_schedulers"] = [  # OneCycleLR's holds a function, which is no state
                {k: v for k, v in s.state_dict().items() if not callable(v)}
                for s in self._schedulers()
            ]
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        if leads():
            save_atomic(checkpoint, Path(out_dir) / filename)

    def _schedulers(self) -> list[Any]:
        schedulers = self.param_schedulers or []
        if isinstance(schedulers, dict):
            return [s for group in schedulers.values() for s in group]
        return list(schedulers)

    def load_weights(self, checkpoint: dict[str, Any], *, resume: bool) -> None:
        """The model's weights out of a checkpoint of this run.

        Hooks that keep weights of their own (EMAHook) change ``state_dict`` first, as MMEngine has
        it: to train on they want the trained weights in the model, to score the averaged ones.
        """
        self._resume = resume
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.bare_model.load_state_dict(checkpoint["state_dict"])

    def resume(self, filename: str, *_: Any, **__: Any) -> None:
        """Take weights, optimizer, schedules, counts, clock and random states from a checkpoint.

        Raises:
            CheckpointError: it cannot be read, or belongs to another model or teacher.
        """
        checkpoint = load_checkpoint(filename)
        meta = checkpoint["meta"]
        teacher = teacher_sha256(self.bare_model)
        if meta["teacher_sha256"] != teacher:
            raise CheckpointError(
                f"a run is resumed with its own teacher (sha256 {meta['teacher_sha256']})",
                value=teacher,
                fix="restore that teacher or start another --work-dir",
            )
        ranks = meta.get("ranks", 1)
        if ranks != self.world_size:
            raise CheckpointError(
                f"a run is resumed with as many processes as it had ({ranks})",
                value=self.world_size,
                fix=f"start {ranks}, or begin another --work-dir",
            )
        try:
            self.load_weights(checkpoint, resume=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"checkpoint {filename} is of another model ({first_line(error)})",
                fix="resume with the config of the run",
            ) from error
        self.train_loop._epoch, self.train_loop._iter = meta["epoch"], meta["iter"]
        self.optim_wrapper.load_state_dict(checkpoint["optimizer"])
        restore_gradients(self.bare_model, checkpoint.get("gradients", {}))
        for scheduler, state in zip(
            self._schedulers(), checkpoint["param_schedulers"], strict=True
        ):
            scheduler.load_state_dict(state)
        self.clock.restore(meta["seconds"])
        self.saved_iteration = self.iter
        self._has_loaded = True
        self.logger.info(f"resumed {filename} at iteration {self.iter}")


def training_seed(seed: int) -> int:
    """What every generator takes for a seed, from 0 on: itself, or 31 bits drawn from a longer one.

    NumPy and the workers of a data loader want less than 2**32, and each rank adds its number.
    """
    if seed < 2**31:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 1


def teacher_sha256(model: nn.Module) -> str | None:
    """Of the frozen teacher's checkpoint; None without a teacher."""
    return getattr(getattr(model, "teacher", None), "sha256", None)


def plain(value: Any) -> Any:
    """Metainfo as plain Python, so that a checkpoint needs no code to load."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
