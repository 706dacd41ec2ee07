"""What is examined: in flows a run config, out flow the built model and one batch.

The model is built as a run builds it (same seed, same initial weights, same loader), in a temporary
folder. What the Distiller refuses at build time becomes the failure of the check that it is about.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor
from torch.utils.data import DataLoader

from fourierkd.config.load import RunConfig, load_config, require_distiller
from fourierkd.distill.checkpoint import load_state_dict
from fourierkd.distill.config_files import to_plain
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.refusals import refusals
from fourierkd.distill.register import register_all
from fourierkd.doctor.report import FAIL, Check
from fourierkd.engine.environment import find_device
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.engine.prepare import complete_config, prepared_data
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import CheckpointError, ConfigError, FourierKDError, first_line
from fourierkd.run_dir import RunDir

# Which check a refusal at build time belongs to: the function that raised it, and a phrase of it.
REFUSED_BY = (
    ("check_same_input", "", "same input"),
    ("pair_levels", "no gradient", "gradients"),
    ("pair_levels", "", "levels"),
    ("build_connector", "", "connectors"),
    ("build_loss", "", "losses"),
    ("build_head_loss", "", "losses"),
    ("pair_heads", "", "taps"),
    ("_check_loss", "", "losses"),
    ("load_strictly", "", "teacher weights"),
    ("build_model", "", "build"),
    ("FrozenTeacher.__init__", "", "teacher weights"),
    ("probe", "", "taps"),
    ("Taps.__init__", "", "taps"),
)
# What its runner adds unless told not to; nothing is trained here.
MMENGINE_HOOKS = ("timer", "logger", "checkpoint", "param_scheduler", "sampler_seed")

Batch = tuple[Tensor, Any]  # images (N, 3, H, W) and their data samples


class RefusedError(Exception):
    """The Distiller refuses to be built; ``check`` says why."""

    def __init__(self, check: Check) -> None:
        self.check = check
        super().__init__(check.value)


@dataclasses.dataclass
class Subject:
    """A built model, one training batch, and where they come from.

    Attributes:
        config: resolved run config.
        model: the Distiller on its device, in training mode.
        inputs: (N, 3, H, W), preprocessed as a training step does it.
        data_samples: what the student takes beside them.
        dataset: of training.
        batches: in an epoch of it.
        following: batches after this one, made when they are asked for.
        hooks: the config's own, none of which is built here.
        amp: dtype of the config's automatic mixed precision; None without.
        seed: of weights, data order and everything drawn here.
        checkpoint: the run's checkpoint that was loaded; None for a fresh student.
    """

    config: RunConfig
    model: Distiller
    inputs: Tensor
    data_samples: Any
    dataset: Any
    batches: int
    following: Iterator[Batch]
    hooks: list[Any]
    amp: torch.dtype | None
    seed: int
    checkpoint: Path | None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.inputs.device

    @property
    def iterations(self) -> int | None:
        """Of the whole run; None where its loop has another measure."""
        loop = self.config.train_cfg
        if loop.get("max_iters") is not None:
            return int(loop["max_iters"])
        epochs = loop.get("max_epochs")
        return None if epochs is None else int(epochs) * self.batches

    def training_batches(self, count: int) -> list[Batch]:
        """This batch and those that follow."""
        self.reseed()
        return [(self.inputs, self.samples()), *itertools.islice(self.following, count - 1)]

    def samples(self) -> Any:
        """A copy of the data samples: a head may write into them."""
        return copy.deepcopy(self.data_samples)

    def reseed(self) -> None:
        """Let everything that follows be drawn anew from the seed."""
        set_random_seed(self.seed)

    def full_weights(self) -> None:
        """Tell the losses that their warm-up is over."""
        losses = self.config.model.get("losses") or {}
        warmup = max((loss.get("warmup_iters", 0) for loss in losses.values()), default=0)
        MessageHub.get_current_instance().update_info("iter", warmup)


@contextmanager
def build_subject(
    config: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    device: str | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[Subject]:
    """Build what the config describes and take one batch; on leaving, MMEngine is as it was.

    Args:
        config: a run config.
        options: dotted options.
        seed: of weights, data order and augmentation.
        device: where to run, such as "cpu" or "cuda"; None as a run does.
        checkpoint: of a run of this config; None for freshly initialised weights.

    Raises:
        RefusedError: the Distiller cannot be built, or a checkpoint of its teacher not be loaded.
        FourierKDError: the config, the data, the device or the run's checkpoint is bad input.
    """
    cfg = load_config(config, options)
    require_distiller(cfg)
    complete_config(cfg, None)
    register_all()
    hooks = to_plain(cfg.get("custom_hooks")) or []
    cfg.default_hooks, cfg.custom_hooks = dict.fromkeys(MMENGINE_HOOKS), None
    scopes = dict(DefaultScope._instance_dict)
    try:
        reader = f"`fourierkd doctor` (process {os.getpid()})"
        with (
            prepared_data(cfg, reader=reader),
            tempfile.TemporaryDirectory() as folder,
            refusals(),
        ):
            runner = _build(cfg, RunDir(folder), seed)
            model: Any = runner.bare_model
            runner._init_model_weights()
            if checkpoint is not None:
                _load(model, Path(checkpoint))
            if device is not None:
                model.to(find_device(device))
            model.train()
            set_random_seed(seed)
            loader = build_loader(in_process(cfg.train_dataloader), seed=seed)
            # a batch augmentation, such as YOLOX's sizes, asks which iteration it is
            MessageHub.get_current_instance().update_info("iter", 0)
            following = _batches(loader, model.data_preprocessor)
            inputs, samples = next(following)
            yield Subject(
                config=cfg,
                model=model,
                inputs=inputs,
                data_samples=samples,
                dataset=loader.dataset,
                batches=len(loader),
                following=following,
                hooks=hooks,
                amp=amp_dtype(cfg.optim_wrapper, inputs.device),
                seed=seed,
                checkpoint=None if checkpoint is None else Path(checkpoint),
            )
    finally:
        DefaultScope._instance_dict.clear()
        DefaultScope._instance_dict.update(scopes)


def _batches(loader: DataLoader[Any], preprocessor: Any) -> Iterator[Batch]:
    """Training batches as a step sees them, over and over."""
    while True:
        for batch in loader:
            data = preprocessor(batch, True)
            inputs = data["inputs"]
            if not isinstance(inputs, Tensor):  # MMEngine's plain preprocessor leaves them apart
                inputs = torch.stack(list(inputs))
            yield inputs, data.get("data_samples")


def _build(config: RunConfig, run_dir: RunDir, seed: int) -> KDRunner:
    try:
        return KDRunner(config, run_dir, seed=seed)
    except FourierKDError as error:
        raise RefusedError(refused_check(error, error.__traceback__)) from error


def refused_check(error: FourierKDError, trace: TracebackType | None) -> Check:
    """The failed check that an error of the Distiller's constructor belongs to.

    The innermost function of REFUSED_BY on the traceback decides; "build" where there is none.
    """
    name = "build"
    while trace is not None:
        frame = trace.tb_frame
        function = frame.f_code.co_name
        if function == "__init__":
            function = f"{type(frame.f_locals.get('self')).__name__}.__init__"
        for raised_by, phrase, check in REFUSED_BY:
            if function == raised_by and phrase in error.rule:
                name = check
                break
        trace = trace.tb_next
    value = str(error)
    if error.fix:
        value = value.removesuffix(f"; {error.fix}")
    return Check(name, FAIL, value, error.fix, {"refused": str(error)})


def _load(model: Distiller, checkpoint: Path) -> None:
    try:
        model.load_state_dict(load_state_dict(checkpoint))
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint {checkpoint} is of another model ({first_line(error)})",
            fix="give a checkpoint of a run of this config",
        ) from error


def amp_dtype(optim_wrapper: Mapping[str, Any], device: torch.device) -> torch.dtype | None:
    """Dtype of the autocast that the config's optimizer wrapper opens; None without one.

    ``AmpOptimWrapper`` without a dtype takes float16 on CUDA and bfloat16 on the CPU.
    """
    kind, name = str(optim_wrapper.get("type", "")), optim_wrapper.get("dtype")
    if "Bf16" in kind:
        return torch.bfloat16
    if "Amp" not in kind:
        return None
    if name is None:
        return torch.float16 if device.type == "cuda" else torch.bfloat16
    dtype = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(
            "optim_wrapper.dtype is a floating dtype of torch", value=name, fix="e.g. 'bfloat16'"
        )
    return dtype
