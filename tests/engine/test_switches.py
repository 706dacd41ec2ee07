"""Mixed precision, accumulation, scaled learning rates, recomputed activations, GroupNorm."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import build_model, student_config
from fourierkd.engine.config import load_config
from fourierkd.engine.run import run
from fourierkd.engine.switches import (
    Bf16OptimWrapper,
    check_switches,
    recompute_activations,
    scaled_lr,
    switch_options,
    with_student_norm,
)
from fourierkd.errors import ConfigError
from fourierkd.literals import config_text
from fourierkd.losses.fourier import FourierLoss
from tests.engine.conftest import HERE, TEACHER, without_the_hook
from tests.engine.test_run import Killed, act_at, assert_same, kill, last_state

TOY = HERE / "toy_config.py"
STILL = {  # nothing random, BatchNorm by its running statistics
    "train_dataloader.dataset.augment": False,
    "model.student": {"type": "ToyModel", "norm_eval": True},
    "optim_wrapper.optimizer": {"type": "SGD", "lr": 0.5},
    "param_scheduler": None,
}


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


ONE_CYCLE = {
    "param_scheduler": {
        "type": "OneCycleLR",
        "eta_max": 1e-2,
        "total_steps": 20,
        "by_epoch": False,
    }
}


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


def test_learning_rate_is_scaled_as_mmengine_does(make_run):
    options = {"auto_scale_lr": {"enable": True, "base_batch_size": 12}, "param_scheduler": None}
    assert scaled_lr(load_config(TOY, options)) == (1e-2, 1e-2 * 3 / 12, 3)
    run_dir = make_run(options=options)
    run(run_dir, resume=False)
    rates = [r["train/lr"] for r in run_dir.rows() if "train/lr" in r]
    assert rates == pytest.approx([1e-2 * 3 / 12] * 2)
    assert scaled_lr(load_config(TOY)) is None


def test_learning_rates_that_cannot_be_scaled_are_refused():
    on = {"auto_scale_lr": {"enable": True, "base_batch_size": 12}}
    with pytest.raises(ConfigError, match="OneCycleLR does not use.*eta_max to 0.0025 yourself"):
        scaled_lr(load_config(TOY, {**on, **ONE_CYCLE}))
    with pytest.raises(ConfigError, match="needs base_batch_size"):
        check_switches(load_config(TOY, {"auto_scale_lr": {"enable": True}}))


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


PSPNET = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"
GROUPS = {"type": "GN", "num_groups": 8}


def test_group_norm_replaces_batch_norm_also_in_the_exported_config(tmp_path):
    from mmengine.config import Config
    from mmseg.registry import MODELS

    overrides = {"pretrained": None}
    options = {"model.student": {"config": PSPNET, "overrides": overrides}, "student_norm": GROUPS}
    config = load_config(TOY, options)
    text = config_text(student_config(config.to_dict()))
    path = tmp_path / "student.py"
    path.write_text(text)
    plain = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(plain.model)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.GroupNorm) > 20
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    groups = {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {8}
    # a saved config is read again, as by `fourierkd export`
    saved = tmp_path / "config.py"
    saved.write_text(config.pretty_text)
    assert load_config(saved).model.student == config.model.student


def test_group_norm_trains(make_run):
    norm = {"model.student": {"type": "ToyModel", "norm_cfg": {"type": "BN"}}}
    run_dir = make_run(options={**norm, "student_norm": {"type": "GN", "num_groups": 2}})
    assert run(run_dir, resume=False).state == "complete"
    state = last_state(run_dir)["state_dict"]
    assert "student.norm.weight" in state
    assert "student.norm.running_mean" not in state


def test_group_norm_that_cannot_be_is_refused(make_run):
    with pytest.raises(ConfigError, match="it has none with BN"):
        with_student_norm({"type": "ToyModel"}, GROUPS)
    with pytest.raises(ConfigError, match="student_norm is a norm_cfg, got 'GN'"):
        with_student_norm({"type": "ToyModel"}, "GN")
    bn = {"type": "ToyModel", "norm_cfg": {"type": "SyncBN", "requires_grad": True}}
    assert with_student_norm(bn, GROUPS)["norm_cfg"] == GROUPS
    odd = {"type": "GN", "num_groups": 3}
    with pytest.raises(ConfigError, match="student cannot be built.*divisible"):
        run(make_run("odd", {"model.student": bn, "student_norm": odd}), resume=False)


def test_batch_norm_that_no_config_asks_for_is_named(make_run):
    from toy import ToyModel

    assert isinstance(build_model({"type": "ToyModel"}, role="student"), ToyModel)
    student = {"type": "ToyModel", "init_cfg": [{"norm_cfg": {"type": "BN"}}]}  # not the layer's
    options = {"model.student": student, "student_norm": GROUPS}
    with pytest.raises(ConfigError, match="leaves 1 BatchNorm layers.*got 'norm'"):
        run(make_run(options=options), resume=False)
