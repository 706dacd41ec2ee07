"""Mixed precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fourierkd.config.load import load_config
from fourierkd.engine.amp import Bf16OptimWrapper
from fourierkd.engine.run import run
from fourierkd.engine.switches import check_switches
from fourierkd.errors import ConfigError
from fourierkd.losses.fourier import FourierLoss
from tests.engine.conftest import HERE, TEACHER

TOY = HERE / "toy_config.py"


def test_fp16_needs_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = load_config(TOY, {"optim_wrapper.type": "AmpOptimWrapper"})
    with pytest.raises(ConfigError, match="needs a CUDA device.*use --amp bf16"):
        check_switches(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_switches(config)


def test_bf16_reaches_the_model_and_not_the_loss():
    layer, loss = nn.Conv2d(3, 4, 3), FourierLoss(4, noise=False)
    wrapper = Bf16OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1))
    seen = []
    hook = loss.register_forward_hook(lambda m, args, out: seen.append(out.dtype))
    with wrapper.optim_context(layer):
        out = layer(torch.randn(2, 3, 8, 8))
        value = loss(out, torch.randn_like(out))
    hook.remove()
    assert out.dtype == torch.bfloat16
    assert seen == [torch.float32]
    wrapper.update_params(value)
    assert layer.weight.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_bf16_run_trains_and_differs_from_float32(make_run):
    states = []
    for kind in ("OptimWrapper", "Bf16OptimWrapper"):
        run_dir = make_run(kind, {**TEACHER, "optim_wrapper.type": kind})
        assert run(run_dir, resume=False).state == "complete"
        rows = [r["train/loss"] for r in run_dir.rows() if "train/loss" in r]
        states.append(rows)
    assert states[0] != states[1]
    assert states[0] == pytest.approx(states[1], rel=0.05)
