"""Run folders of toy runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the toy is named in a config, as a user's own module would be

ONE_CYCLE = {
    "param_scheduler": {
        "type": "OneCycleLR",
        "eta_max": 1e-2,
        "total_steps": 20,
        "by_epoch": False,
    }
}
TEACHER = {
    "model.teacher": {"model": {"type": "ToyModel", "width": 6}, "checkpoint": "random"},
    "model.losses": {
        "l2": {
            "student_tap": "features",
            "teacher_tap": "features",
            "loss": {"type": "NoisyL2", "loss_weight": 0.5},
        }
    },
}


@pytest.fixture(autouse=True)
def _few_threads(few_threads):
    """In every test of this folder."""


@pytest.fixture
def make_run(tmp_path):
    """Make the folder of a toy run; keyword arguments are entries of its request."""
    from fourierkd.records import single_request
    from fourierkd.run_dir import RunDir

    def make(name: str = "run", options: dict | None = None, **request):
        plain = single_request(HERE / "toy_config.py", options or {}, wandb_mode="disabled")
        return RunDir(tmp_path / name).create(replace(plain, **request))

    return make


def without_the_hook(run_dir, options):
    """Let a run that a hook of its config has cut go on without it, though its config differs."""
    run_dir.create(replace(run_dir.read_request(), options=options))
    for record in (run_dir.config, run_dir.environment):  # of what it was
        record.unlink()


def assert_same(a, b, path="") -> None:
    """Bitwise equality at any depth."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}.{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path
