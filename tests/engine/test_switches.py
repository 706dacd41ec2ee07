"""Flags of the command line become options, or are refused."""

from __future__ import annotations

import pytest

from fourierkd.config.load import load_config
from fourierkd.engine.switches import switch_options
from fourierkd.errors import ConfigError
from tests.engine.conftest import HERE

TOY = HERE / "toy_config.py"


def test_flags_become_options():
    config = load_config(TOY, {"auto_scale_lr": {"base_batch_size": 16}})
    options = switch_options(config, amp="bf16", accumulate=4, auto_scale_lr=True)
    assert options == {
        "optim_wrapper.type": "Bf16OptimWrapper",
        "optim_wrapper.accumulative_counts": 4,
        "auto_scale_lr.enable": True,
    }
    assert switch_options(config, amp="fp16") == {"optim_wrapper.type": "AmpOptimWrapper"}
    assert switch_options(config) == {}
    with pytest.raises(ConfigError, match="from 1 on, got 0"):
        switch_options(config, accumulate=0)
    with pytest.raises(ConfigError, match="base_batch_size=16"):
        switch_options(load_config(TOY), auto_scale_lr=True)
    other = load_config(TOY, {"optim_wrapper.type": "ApexOptimWrapper"})
    with pytest.raises(ConfigError, match="the config has another, got 'ApexOptimWrapper'"):
        switch_options(other, amp="bf16")
