"""The model on several ranks: in flows a built model, out flow the arguments of its DDP wrapper.

The teacher is no submodule, so DDP never sees it: its weights are neither broadcast nor reduced;
every rank loads them from the checkpoint. Buffers are not broadcast in an iteration (MMEngine's
default): ``average_buffers`` makes them one before they are used or saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, nn

from fourierkd.distill.registry import MODEL_WRAPPERS
from fourierkd.errors import ConfigError, listed, near

SYNC_BN = ("torch", "mmcv")
SHOWN = 8  # names in a message


@MODEL_WRAPPERS.register_module()
class KDDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper, which names the parameters that no loss reaches.

    Without ``find_unused_parameters`` such a parameter stops DDP's reduction: the first iteration
    would be made of gradients that are not the mean over ranks, and the second would raise.

    Raises:
        ConfigError: after the first iteration, with the names.
    """

    _checked = False

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """One iteration; the first one is watched."""
        if self._checked or self.find_unused_parameters:
            try:
                values: dict[str, Tensor] = super().train_step(data, optim_wrapper)
                return values
            except RuntimeError as error:
                if "finished reduction in the prior iteration" not in str(error):
                    raise
                raise ConfigError(
                    "some parameters got no gradient in an earlier iteration of this rank",
                    fix="set find_unused_parameters=True in the config",
                ) from error
        with used_parameters(self.module) as used:
            values = super().train_step(data, optim_wrapper)
        self._checked = True
        unused = [
            name
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad and name not in used
        ]
        if unused:
            raise ConfigError(
                "several processes need a gradient at every trained parameter, and no loss reaches "
                f"{len(unused)} of them",
                value=listed(unused, SHOWN),
                fix="freeze or remove them, or set find_unused_parameters=True in the config "
                "(slower)",
            )
        return values


@contextmanager
def used_parameters(model: nn.Module) -> Iterator[set[str]]:
    """Yield a set that gets the names of the parameters which the body's backward passes reach."""
    used: set[str] = set()

    def recorder(name: str) -> Any:
        return lambda _: used.add(name)

    handles = [
        parameter.register_post_accumulate_grad_hook(recorder(name))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield used
    finally:
        for handle in handles:
            handle.remove()


def average_buffers(model: nn.Module) -> None:
    """Set BatchNorm's running statistics to their mean over ranks.

    Each rank gathers its own; so what is validated on all ranks is what rank 0 saves.
    """
    for buffer in model.buffers():
        if buffer.is_floating_point():
            all_reduce(buffer, op="mean")


def ddp_config(given: dict[str, Any] | None, config: Any, model: nn.Module) -> dict[str, Any]:
    """Arguments of the wrapper: ``given`` (the config's ``model_wrapper_cfg``), else the defaults.

    Raises:
        ConfigError: SyncBN is asked for and there is no CUDA device, or is of an unknown kind.
    """
    wanted = config.get("sync_bn")
    if wanted is not None and wanted not in SYNC_BN:
        raise ConfigError("sync_bn is 'torch' or 'mmcv'", value=wanted, fix=near(wanted, SYNC_BN))
    arguments = dict(given or {})
    if given is None:
        arguments.update(
            type=KDDistributedDataParallel,
            broadcast_buffers=False,
            find_unused_parameters=config.get("find_unused_parameters", False),
        )
    if torch.cuda.is_available():
        return arguments
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    if wanted is not None or layers:
        raise ConfigError(
            "SyncBN needs CUDA devices",
            value=f"sync_bn={wanted!r}" if wanted is not None else layers[0],
            fix="leave sync_bn out, set norm_cfg to BN in the student's overrides, or student_norm",
        )
    return {**arguments, "device_ids": None}
