"""``activation_checkpointing``: in flow module paths, out flow modules that keep no activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fourierkd.config.norms import BatchNorm
from fourierkd.errors import ConfigError, near


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
