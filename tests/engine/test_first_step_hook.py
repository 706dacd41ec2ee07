"""The first iteration refuses a training in vain, and one that its last batch would end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import nn
from torch.utils.data import DataLoader

from fourierkd.engine.hooks.first_step import FirstStepHook, last_batch
from fourierkd.engine.run import run
from fourierkd.errors import ConfigError


def loader(images: int, batch: int, *, sampler=DefaultSampler, drop_last: bool = False):
    data = list(range(images))
    return DataLoader(data, batch, sampler=sampler(data), drop_last=drop_last)


def step(model, inputs, data, *, losses=None):
    """One iteration, its hook included."""
    hook, runner = FirstStepHook(), SimpleNamespace(bare_model=model, train_dataloader=data)
    hook.before_train_iter(runner, 0)
    model(inputs)
    outputs = {key: torch.tensor(value) for key, value in (losses or {"loss": 1.0}).items()}
    hook.after_train_iter(runner, 0, outputs=outputs)
    return hook, runner


def test_the_size_of_the_last_batch():
    assert last_batch(loader(13, 4)) == 1
    assert last_batch(loader(12, 4)) == 0
    assert last_batch(loader(13, 4, drop_last=True)) == 0
    assert last_batch(loader(13, 4, sampler=InfiniteSampler)) == 0


def pooled():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))


def test_a_last_batch_of_one_image_is_refused_where_batchnorm_has_one_value():
    images = torch.rand(4, 3, 8, 8)
    with pytest.raises(ConfigError, match="BatchNorm.*got '13 images, batch_size 4'.*drop_last"):
        step(pooled(), images, loader(13, 4))
    step(pooled(), images, loader(14, 4))
    step(pooled(), images, loader(13, 4, drop_last=True))
    step(nn.BatchNorm2d(3), images, loader(13, 4))  # 64 values of one image
    step(pooled().eval(), images, loader(13, 4))
    with pytest.raises(ConfigError, match="BatchNorm.*batch_size 1'"):
        step(pooled(), images[:1], loader(12, 1))


def test_only_the_first_iteration_is_looked_at():
    model = pooled()
    hook, runner = step(model, torch.rand(4, 3, 8, 8), loader(14, 4))
    hook.before_train_iter(runner, 1)
    assert not any(m._forward_pre_hooks for m in model.modules())
    hook.after_train_iter(runner, 1, outputs={"loss": torch.tensor(0.0)})


def test_a_loss_of_0_is_refused_unless_something_is_distilled():
    inputs, data = torch.rand(4, 3, 8, 8), loader(12, 4)
    with pytest.raises(ConfigError, match="loss of the first iteration must not be 0.*num_classes"):
        step(pooled(), inputs, data, losses={"loss": 0.0, "loss_ce": 0.0})
    warming_up = {"loss": 0.0, "loss_ce": 0.0, "distill.fourier.loss": 0.0}
    step(pooled(), inputs, data, losses=warming_up)


def test_a_run_has_the_hook(make_run):
    run_dir = make_run(options={"model.student": {"type": "ToyModel", "zero": True}})
    with pytest.raises(ConfigError, match="loss of the first iteration must not be 0"):
        run(run_dir, resume=False)
    assert not run_dir.scalars.exists()
