"""The DDP wrapper, on a group of one rank: what it is given, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import distributed, nn

from fourierkd.engine.parallel import average_buffers, ddp_config
from fourierkd.engine.run import run
from fourierkd.errors import ConfigError
from tests.engine.conftest import TEACHER


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A process group with this process alone."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def test_unused_parameters_are_named_and_the_switch_takes_them(make_run, group):
    options = {**TEACHER, "model.student": {"type": "ToyModel", "unused": True}}
    with pytest.raises(
        ConfigError, match=r"reaches 2 of them, got 'student.idle.weight, student"
    ) as e:
        run(make_run("strict", options), resume=False)
    assert "find_unused_parameters=True" in str(e.value)
    run_dir = make_run("lenient", {**options, "find_unused_parameters": True})
    assert run(run_dir, resume=False).state == "complete"


PARTS = {"fusion": False, "predictor": False, "similarity": False, "normalize": False}


@pytest.mark.parametrize("parts", [{}, *({k: v} for k, v in PARTS.items()), PARTS], ids=str)
def test_every_parameter_of_a_fourier_loss_has_a_gradient_whatever_is_left_out(
    make_run, group, parts
):
    loss = {"type": "FourierLoss", "sphere_radius": None, **parts}
    run_dir = make_run(options={**TEACHER, "model.losses.l2.loss": loss, "train_cfg.max_iters": 2})
    assert run(run_dir, resume=False).state == "complete"


def test_nothing_of_a_distiller_is_unused_and_the_teacher_is_not_in_the_wrapper(make_run, group):
    from fourierkd.config.load import load_config
    from fourierkd.engine.runner import KDRunner

    run_dir = make_run(options=TEACHER)
    assert run(run_dir, resume=False).state == "complete"
    config = load_config(run_dir.read_request().config, TEACHER)
    for key in ("val", "test"):
        config[f"{key}_cfg"] = {}
    runner = KDRunner(config, run_dir, seed=0)
    assert isinstance(runner.model, MMDistributedDataParallel)
    assert not runner.model.find_unused_parameters
    teacher = {id(p) for p in runner.bare_model.teacher.model.parameters()}
    assert teacher
    assert not teacher & {id(p) for p in runner.model.parameters()}
    assert all(key.startswith("module.") for key in runner.model.state_dict())
    assert {k.split(".")[0] for k in runner.bare_model.state_dict()} == {
        "student",
        "losses",
        "connectors",
    }


def test_syncbn_needs_cuda(monkeypatch):
    plain, synced = nn.BatchNorm2d(2), nn.Sequential(nn.SyncBatchNorm(2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ddp_config(None, {}, plain)["device_ids"] is None
    with pytest.raises(ConfigError, match="SyncBN needs CUDA devices.*sync_bn="):
        ddp_config(None, {"sync_bn": "torch"}, plain)
    with pytest.raises(ConfigError, match="SyncBN needs CUDA devices, got '0'"):
        ddp_config(None, {}, synced)
    with pytest.raises(ConfigError, match="'torch' or 'mmcv', got 'troch'; did you mean 'torch'"):
        ddp_config(None, {"sync_bn": "troch"}, plain)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    own = ddp_config({"static_graph": True}, {"sync_bn": "torch"}, synced)
    assert own == {"static_graph": True}  # a config's own wrapper stays as it is


def test_buffers_become_their_mean(group, monkeypatch):
    norm = nn.BatchNorm1d(2)
    norm.running_mean += 3.0
    seen = []
    monkeypatch.setattr(
        "fourierkd.engine.parallel.all_reduce", lambda x, op: seen.append((op, x.shape))
    )
    average_buffers(norm)
    assert seen == [("mean", (2,)), ("mean", (2,))]  # not the count of batches
