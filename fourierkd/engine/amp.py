"""Mixed precision: in flow ``--amp`` and a config, out flow optimizer wrappers that cast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from fourierkd.distill.registry import OPTIM_WRAPPERS
from fourierkd.errors import ConfigError

AMP = {"fp16": "AmpOptimWrapper", "bf16": "Bf16OptimWrapper"}


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


def check_amp(config: Mapping[str, Any]) -> None:
    """Refuse a mixed precision that this machine cannot do.

    Raises:
        ConfigError: fp16 without CUDA.
    """
    wrapper = config.get("optim_wrapper") or {}
    if wrapper.get("type") == AMP["fp16"] and not torch.cuda.is_available():
        raise ConfigError(
            "MMEngine's mixed precision needs a CUDA device",
            value=f"optim_wrapper.type={wrapper['type']}",
            fix=f"use --amp bf16 ({AMP['bf16']}, without dtype), or leave it out",
        )
