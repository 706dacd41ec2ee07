"""What tests of several folders share. Torch and MMEngine are imported by those that need them."""

from __future__ import annotations

import pytest


@pytest.fixture
def one_thread():
    """Tiny tensors: threads only wait for each other, above all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
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
