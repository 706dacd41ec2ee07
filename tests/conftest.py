"""What tests of several folders share. Torch and MMEngine are imported by those that need them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def few_threads():
    """As OMP_NUM_THREADS says, else one: with tiny tensors they only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_scope():
    """``init_model``, ``init_detector`` and Runner set MMEngine's default scope."""
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    with DefaultScope.overwrite_default_scope("fourierkd"):
        yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
