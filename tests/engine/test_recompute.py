"""Recomputed activations."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fourierkd.distill.distiller import Distiller
from fourierkd.engine.recompute import recompute_activations
from fourierkd.engine.run import run
from fourierkd.errors import ConfigError
from tests.engine.conftest import TEACHER
from tests.engine.test_run import assert_same, last_state


def toy_distiller() -> Distiller:
    import toy  # noqa: F401 - registers the model

    torch.manual_seed(0)
    return Distiller(
        student={"type": "ToyModel"},
        teacher={"model": {"type": "ToyModel", "width": 6}, "checkpoint": "random"},
        losses={
            "fourier": {
                "student_tap": "features",
                "teacher_tap": "features",
                "loss": {"type": "FourierLoss", "noise": False},
            }
        },
    )


@pytest.mark.parametrize("paths", [("features", "norm"), "norm", "features", ""])
def test_recomputed_activations_change_neither_gradients_nor_statistics(paths):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 12, 12, generator=generator)
    targets = [torch.randint(0, 2, (12, 12), generator=generator) for _ in range(3)]

    def step(model):
        model.train()
        losses = model(images, targets, mode="loss")
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters()}
        return losses, gradients, dict(model.named_buffers())

    plain = toy_distiller()
    recomputed = copy.deepcopy(plain)
    calls = []
    recomputed.student.norm.register_forward_hook(lambda *a: None)
    original = recomputed.student.norm.forward
    recomputed.student.norm.forward = lambda x: calls.append(1) or original(x)
    recompute_activations(recomputed, paths)
    expected = step(plain)
    got = step(recomputed)
    assert len(calls) == (2 if "norm" in paths else 1)  # else nothing was recomputed
    for a, b in zip(got, expected, strict=True):
        assert_same(dict(a), dict(b))
    assert plain.student.norm.num_batches_tracked == 1


def test_recomputed_modules_are_named():
    model = toy_distiller()
    with pytest.raises(ConfigError, match="modules of the student, got 'feature'.*'features'"):
        recompute_activations(model, ["feature"])
    model.student.parts = nn.ModuleList([nn.Conv2d(3, 3, 1)])
    with pytest.raises(ConfigError, match="that are called, got 'parts'; name its parts: parts.0"):
        recompute_activations(model, "parts")


def test_run_with_recomputed_activations_equals_the_plain_one_bitwise(make_run):
    plain, recomputed = (
        make_run("plain", TEACHER),
        make_run("recomputed", {**TEACHER, "activation_checkpointing": ["features", "norm"]}),
    )
    for run_dir in (plain, recomputed):
        run(run_dir, resume=False)
    assert_same(last_state(plain)["state_dict"], last_state(recomputed)["state_dict"])
