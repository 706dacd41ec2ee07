"""Switches of a training: in flow a config and flags, out flow options, checks and small wrappers.

Mixed precision, gradient accumulation, learning rates scaled to the batch, activation
recomputation, and the student's normalisation layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fourierkd.distill.registry import OPTIM_WRAPPERS
from fourierkd.engine.schedules import ONE_CYCLE, schedules_of
from fourierkd.errors import ConfigError, near

AMP = {"fp16": "AmpOptimWrapper", "bf16": "Bf16OptimWrapper"}
BatchNorm = nn.modules.batchnorm._BatchNorm  # of any dimension, SyncBN included


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16 on CPU and CUDA; no loss is scaled, as bfloat16 has float32's range.

    The Fourier loss computes in float32 all the same; validation runs in float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around an iteration's forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


def switch_options(
    config: Mapping[str, Any],
    *,
    amp: str | None = None,
    accumulate: int | None = None,
    auto_scale_lr: bool = False,
) -> dict[str, Any]:
    """The command line's flags as dotted options of the run config.

    Args:
        config: as loaded without them.
        amp: "fp16" or "bf16".
        accumulate: iterations whose gradients are added up before a step of the optimizer.
        auto_scale_lr: scale the learning rate to the real batch size.

    Raises:
        ConfigError: a flag does not fit the config or the device.
    """
    options: dict[str, Any] = {}
    wrapper = config.get("optim_wrapper") or {}
    if amp is not None:
        if wrapper.get("type", "OptimWrapper") not in ("OptimWrapper", *AMP.values()):
            raise ConfigError(
                "--amp replaces MMEngine's OptimWrapper, and the config has another",
                value=wrapper["type"],
                fix="leave --amp out, or the config's optim_wrapper.type",
            )
        options["optim_wrapper.type"] = AMP[amp]
    if accumulate is not None:
        if accumulate < 1:
            raise ConfigError("--accumulate is a number of iterations from 1 on", value=accumulate)
        options["optim_wrapper.accumulative_counts"] = accumulate
    if auto_scale_lr:
        if not config.get("auto_scale_lr"):
            raise ConfigError(
                "--auto-scale-lr needs the batch size that the learning rate is meant for",
                fix="set auto_scale_lr=dict(base_batch_size=16) in the config",
            )
        options["auto_scale_lr.enable"] = True
    return options


def check_switches(config: Mapping[str, Any]) -> None:
    """Refuse switches of a whole config that cannot work here.

    Raises:
        ConfigError: fp16 without CUDA; learning rates that cannot be scaled; a bad number.
    """
    wrapper = config.get("optim_wrapper") or {}
    if wrapper.get("type") == AMP["fp16"] and not torch.cuda.is_available():
        raise ConfigError(
            "MMEngine's mixed precision needs a CUDA device",
            value=f"optim_wrapper.type={wrapper['type']}",
            fix=f"use --amp bf16 ({AMP['bf16']}, without dtype), or leave it out",
        )
    scaled_lr(config)


def scaled_lr(config: Mapping[str, Any]) -> tuple[float, float, int] | None:
    """Old and new learning rate and the real batch size; None where none is scaled.

    As MMEngine scales: lr * (ranks * batch of a rank) / base_batch_size, for every parameter group.
    Accumulated iterations do not count, as in MMEngine.

    Raises:
        ConfigError: no base batch size, or a schedule that sets the learning rate itself.
    """
    scale = config.get("auto_scale_lr") or {}
    if not scale.get("enable"):
        return None
    base = scale.get("base_batch_size")
    if not isinstance(base, int) or base < 1:
        raise ConfigError(
            "auto_scale_lr needs base_batch_size, the batch size that the lr is meant for",
            value=base,
            fix="set auto_scale_lr=dict(base_batch_size=16) in the config",
        )
    optimizer = config["optim_wrapper"].get("optimizer") or {}
    for name, value in (
        ("train_dataloader.batch_size", config["train_dataloader"].get("batch_size")),
        ("optim_wrapper.optimizer.lr", optimizer.get("lr")),
    ):
        if value is None:
            raise ConfigError(f"auto_scale_lr needs {name}", fix="set it, or leave scaling out")
    batch = get_world_size() * config["train_dataloader"]["batch_size"]
    for scheduler in schedules_of(config.get("param_scheduler")):
        if scheduler.get("type") in ONE_CYCLE:
            peak = scheduler.get("eta_max") or 0.0
            raise ConfigError(
                "auto_scale_lr scales the optimizer's learning rate, which OneCycleLR does not use",
                value=f"eta_max={peak}",
                fix=f"set its eta_max to {peak * batch / base:g} yourself, for a batch of {batch}",
            )
    return optimizer["lr"], optimizer["lr"] * batch / base, batch


def accumulated_gradients(model: nn.Module, optim_wrapper: Any) -> dict[str, Tensor]:
    """Gradients of iterations that wait for the optimizer's step; none after a step.

    The mean over ranks: DDP has not reduced them yet, and the mean of the ranks' sums is what it
    would make of them. Every rank takes part.
    """
    counts = getattr(optim_wrapper, "_accumulative_counts", 1)
    if counts == 1 or optim_wrapper.should_update():
        return {}
    waiting = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.detach().clone()
            all_reduce(gradient, op="mean")
            waiting[name] = gradient.cpu()
    return waiting


def restore_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Go on from ``accumulated_gradients``."""
    for name, gradient in gradients.items():
        parameter = model.get_parameter(name)
        parameter.grad = gradient.to(parameter.device, copy=True)


def recompute_activations(model: nn.Module, paths: str | Iterable[str] | None) -> None:
    """Let modules of the student keep no activations: the backward pass computes them again.

    Unlike MMEngine's, taps inside get their gradients, and the second pass leaves BatchNorm's
    running statistics alone.

    Args:
        model: a Distiller.
        paths: module paths of the student, as for taps (``backbone.layer3``).

    Raises:
        ConfigError: no such module.
    """
    if not paths:
        return
    student = getattr(model, "student", model)
    modules = dict(student.named_modules())
    for path in [paths] if isinstance(paths, str) else paths:
        if path not in modules:
            raise ConfigError(
                "activation_checkpointing names modules of the student",
                value=path,
                fix=near(path, [name for name in modules if name]),
            )
        module = modules[path]
        if type(module).forward is nn.Module.forward:  # a ModuleList is no function
            raise ConfigError(
                "activation_checkpointing names modules that are called",
                value=path,
                fix="name its parts: "
                + ", ".join(f"{path}.{name}" for name, _ in module.named_children()),
            )
        module.forward = _recomputed(module)


def _recomputed(module: nn.Module) -> Any:
    forward = module.forward

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _statistics_kept(module)

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return run


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within: training-mode BatchNorm leaves its running statistics alone."""
    layers: list[Any] = [m for m in module.modules() if isinstance(m, BatchNorm)]
    before = [
        (m.momentum, None if m.num_batches_tracked is None else m.num_batches_tracked.clone())
        for m in layers
    ]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, batches) in zip(layers, before, strict=True):
            layer.momentum = momentum
            if batches is not None:
                layer.num_batches_tracked.copy_(batches)


def with_student_norm(model: dict[str, Any], norm: Mapping[str, Any]) -> dict[str, Any]:
    """``model`` with every ``norm_cfg`` that asks for a BatchNorm replaced by ``norm``.

    In the config, not in the built model, so that plain mmdet and mmseg build the exported student
    with the same layers.

    Args:
        model: a resolved student.
        norm: such as ``dict(type="GN", num_groups=32)``.

    Raises:
        ConfigError: ``norm`` names no type, or there is nothing to replace.
    """
    if not isinstance(norm, Mapping) or not isinstance(norm.get("type"), str):
        raise ConfigError(
            "student_norm is a norm_cfg", value=norm, fix="e.g. dict(type='GN', num_groups=32)"
        )
    replaced = copy.deepcopy(model)
    if not _replace_norms(replaced, dict(norm)):
        raise ConfigError(
            "student_norm replaces the norm_cfg of the student, and it has none with BN",
            fix="set norm_cfg where the student's config takes one",
        )
    return replaced


def _replace_norms(node: Any, norm: dict[str, Any]) -> int:
    count = 0
    if isinstance(node, dict):
        for key, value in node.items():
            kind = value.get("type") if isinstance(value, dict) else None
            # its own type too: a saved config has been through this
            if (
                key == "norm_cfg"
                and isinstance(kind, str)
                and ("BN" in kind or kind == norm["type"])
            ):
                node[key] = dict(norm)
                count += 1
            else:
                count += _replace_norms(value, norm)
    elif isinstance(node, list | tuple):
        count += sum(_replace_norms(item, norm) for item in node)
    return count


def check_student_norm(model: Any, config: Mapping[str, Any]) -> None:
    """Refuse a student that kept BatchNorm where the config replaces it.

    Raises:
        ConfigError: some parts take BatchNorm by default, not by their config.
    """
    if config.get("student_norm") is None or not hasattr(model, "student"):
        return
    left = [name for name, m in model.student.named_modules() if isinstance(m, BatchNorm)]
    if left:
        raise ConfigError(
            f"student_norm leaves {len(left)} BatchNorm layers that no norm_cfg asks for",
            value=", ".join(left[:3]),
            fix="set the norm_cfg of that part in the student's overrides",
        )
