"""Random streams: in flows a seed or saved states, out flows a run whose resume equals the whole.

What draws random numbers at start differs between methods (a teacher, a loss) and between a first
start and a resume (a data loader's iterator draws one), so the states are set at the last moment
before the first batch.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.ranks import gather
from fourierkd.engine.runner import KDRunner

KEY = "random_state"


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Seed at the start of training; save and restore Python's, NumPy's, torch's and CUDA's states.

    Rank r starts from the seed + r, so that noise and augmentation differ between ranks; every
    rank's state is in the checkpoint.

    Bitwise equal on a CPU with ``num_workers=0``; workers of a data loader have states of their
    own, which start anew from the seed. Cost: about 20 kB in a checkpoint.
    """

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    @override
    def after_load_checkpoint(self, runner: KDRunner, checkpoint: dict[str, Any]) -> None:
        """Keep the states for the start of training."""
        states = checkpoint.get(KEY)
        self._restored = states[get_rank()] if isinstance(states, list) else states

    @override
    def before_save_checkpoint(self, runner: KDRunner, checkpoint: dict[str, Any]) -> None:
        """Add the states."""
        states = gather(get_state())
        checkpoint[KEY] = states if len(states) > 1 else states[0]

    def before_train_epoch(self, runner: KDRunner) -> None:
        """Bring the data to where it was, then set the states."""
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            if loop.iter and not loop.fast_forward_on_resume:
                loop.dataloader_iterator.skip_iter(loop.iter)
                loop.fast_forward_on_resume = True  # done: the loop need not
            if self._restored is None:
                set_random_seed(runner.seed, diff_rank_seed=True)
            loop.dataloader_iterator._ensure_iterator()  # draws a number, once a run
        elif self._restored is None and loop.iter == 0:
            set_random_seed(runner.seed, diff_rank_seed=True)
        if self._restored is not None:
            set_state(self._restored)
            self._restored = None


def get_state() -> dict[str, Any]:
    """The states as tensors and plain values."""
    name, keys, *numbers = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            *numbers,
        ),
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(),
    }


def _cuda_states() -> list[torch.Tensor]:
    """Of all devices; of a rank's own, as asking the others would claim memory on each of them."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_rng_state()] if is_distributed() else torch.cuda.get_rng_state_all()


def set_state(state: dict[str, Any]) -> None:
    """Set what ``get_state`` gave; CUDA's only where there are as many devices."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, *numbers = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *numbers))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and is_distributed():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
    elif state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
