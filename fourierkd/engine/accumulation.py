"""Gradients that wait for the optimizer's step: in flows a model amid an accumulation, out flow its
gradients for a checkpoint, and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import all_reduce
from torch import Tensor, nn


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
