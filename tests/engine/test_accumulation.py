"""Accumulated gradients, also over a checkpoint."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.engine.run import run
from tests.engine.conftest import ONE_CYCLE, TEACHER, without_the_hook
from tests.engine.test_run import Killed, act_at, assert_same, kill, last_state

STILL = {  # nothing random, BatchNorm by its running statistics
    "train_dataloader.dataset.augment": False,
    "model.student": {"type": "ToyModel", "norm_eval": True},
    "optim_wrapper.optimizer": {"type": "SGD", "lr": 0.5},
    "param_scheduler": None,
}


def test_accumulated_iterations_equal_one_larger_batch(make_run):
    small = {**STILL, "optim_wrapper.accumulative_counts": 2}
    large = {
        **STILL,
        "train_dataloader.batch_size": 6,
        "train_cfg.max_iters": 10,
    }
    ours, theirs = make_run("small", small), make_run("large", large)
    run(ours, resume=False)
    run(theirs, resume=False)
    a, b = last_state(ours)["state_dict"], last_state(theirs)["state_dict"]
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["OptimWrapper", "Bf16OptimWrapper"])
def test_resume_amid_an_accumulation_equals_the_whole_run_bitwise(make_run, kind):
    options = {
        **TEACHER,
        **ONE_CYCLE,
        "optim_wrapper.type": kind,
        "optim_wrapper.accumulative_counts": 3,
        "optim_wrapper.clip_grad": {"max_norm": 35},
    }
    whole = make_run("whole", options)
    run(whole, resume=False)
    cut = make_run("cut", {**options, **act_at(13, kill)})
    with pytest.raises(Killed):
        run(cut, resume=False)
    waiting = load_checkpoint(cut.last_checkpoint())["gradients"]
    assert cut.last_checkpoint().name == "iter_10.pth"  # one iteration after the third step
    assert any(g.abs().max() > 0 for g in waiting.values())
    without_the_hook(cut, options)
    run(cut, resume=True)
    a, b = last_state(whole), last_state(cut)
    for part in ("state_dict", "optimizer", "param_schedulers", "random_state"):
        assert_same(a[part], b[part], part)
    assert a["gradients"] == {}
    grad_norms = [r["train/grad_norm"] for r in whole.rows() if "train/loss" in r]
    assert len(grad_norms) == 2
