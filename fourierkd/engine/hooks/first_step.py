"""The first iteration: in flow its batch and losses, out flow refusals of a training in vain."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import ConfigError


@HOOKS.register_module()
class FirstStepHook(Hook):
    """Refuse what the first iteration shows to be in vain, or to fail at the end of an epoch.

    That is a loss of 0 where nothing is distilled, and BatchNorm over one value a channel, in this
    batch or in a last one of a single image.

    Cost: nothing after the first iteration.

    Raises:
        ConfigError: one of these.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._done = False
        self._handles: list[RemovableHandle] = []

    @override
    def before_train_iter(self, runner: KDRunner, batch_idx: int, data_batch: Any = None) -> None:
        """Look at what the first batch gives to BatchNorm."""
        if self._done:
            return
        loader = runner.train_dataloader
        single = last_batch(loader) == 1

        def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            images, channels = inputs[0].shape[:2]
            if (
                module.training
                and inputs[0].numel() == images * channels
                and (images == 1 or single)
            ):
                raise ConfigError(
                    "BatchNorm needs more than one value a channel, so no training batch must be "
                    "of one image",
                    value=f"{len(loader.dataset)} images, batch_size {loader.batch_size}",
                    fix="set train_dataloader.drop_last=True, or another batch_size",
                )

        layers = (m for m in runner.bare_model.modules() if isinstance(m, _BatchNorm))
        self._handles = [
            layer.register_forward_pre_hook(check)
            for layer in layers
            if not isinstance(layer, nn.SyncBatchNorm)  # it has the other ranks' images too
        ]

    @override
    def after_train_iter(
        self, runner: KDRunner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the first loss."""
        if self._done:
            return
        self._done = True
        for handle in self._handles:
            handle.remove()
        distilled = any(key.startswith("distill.") for key in outputs)  # it may be warming up
        if outputs["loss"].item() == 0 and not distilled:
            raise ConfigError(
                "the loss of the first iteration must not be 0, as of one class by softmax, or of "
                "labels that are all ignored",
                value=0,
                fix="see num_classes of the student's heads, and `fourierkd data check`",
            )


def last_batch(loader: DataLoader[Any]) -> int:
    """How many images the last batch of an epoch has; 0 where it is as the others."""
    if not isinstance(loader.sampler, DefaultSampler):  # endless, or of a custom batch sampler
        return 0
    if loader.drop_last or not loader.batch_size:
        return 0
    return len(loader.sampler) % loader.batch_size
