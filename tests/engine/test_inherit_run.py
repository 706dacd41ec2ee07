"""A run whose student inherits: from the start, told in its folder, not again on a resume."""

from __future__ import annotations

import json

import torch

from fourierkd.commands.evaluate import evaluate
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import build_model
from fourierkd.engine.run import run
from tests.engine.conftest import TEACHER

STILL = {"optim_wrapper.optimizer.lr": 0.0, "train_cfg.max_iters": 4, "train_cfg.val_interval": 2}


def inheriting(tmp_path) -> dict:
    """Options of a toy pair of equal widths, whose student does not learn."""
    import toy  # noqa: F401 - registers the toy

    path = tmp_path / "teacher.pth"
    if not path.exists():
        model = build_model({"type": "ToyModel"}, role="teacher")
        torch.save({"state_dict": model.state_dict()}, path)
    teacher = {"model": {"type": "ToyModel"}, "checkpoint": str(path)}
    return {**TEACHER, **STILL, "model.teacher": teacher, "model.inherit": ["features"]}


def weights(path, prefix: str) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_the_student_starts_from_the_teacher_and_the_folder_says_so(make_run, tmp_path):
    options = inheriting(tmp_path)
    run_dir = make_run(options=options)
    result = run(run_dir, resume=False)
    taught = weights(tmp_path / "teacher.pth", "features.")
    trained = weights(run_dir.last_checkpoint(), "student.features.")
    assert {k for k in taught if "running" not in k} >= {"weight", "bias"}
    for key in ("weight", "bias"):
        assert torch.equal(trained[key], taught[key])
    report = json.loads(run_dir.inherited.read_text())
    assert list(report) == ["features"]
    assert result.parameters["inherited"] == report["features"]["values"] > 0
    metrics = evaluate(run_dir.config, run_dir.best_checkpoint(), split="test")
    assert metrics["acc"] >= 0

    alone = make_run("alone", {**options, "model.inherit": ()})
    assert "inherited" not in run(alone, resume=False).parameters
    assert not alone.inherited.exists()
    trained = weights(alone.last_checkpoint(), "student.features.")
    assert not torch.equal(trained["weight"], taught["weight"])


def test_a_resumed_run_initialises_nothing(make_run, tmp_path, monkeypatch):
    calls = []
    original = Distiller.init_weights
    monkeypatch.setattr(
        Distiller, "init_weights", lambda self: (calls.append(1), original(self))[1]
    )
    options = inheriting(tmp_path)
    cut = {"custom_hooks": [{"type": "StopAt", "at": 2}]}
    run_dir = make_run(options={**options, **cut})
    assert run(run_dir, resume=False).state == "stopped"
    result = run(run_dir, resume=True)
    assert (result.state, result.iters) == ("complete", 4)
    assert calls == [1]
    assert result.parameters["inherited"] > 0
