"""Checkpoints in the layouts of MMRazor and the official code, generated here by their names."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint
from torch import nn

from fourierkd.distill.checkpoint import load_state_dict, student_state_dict
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.foreign import (
    MMRAZOR,
    MMRAZOR_0,
    OURS,
    PLAIN,
    fourier_parameters,
    layout_of,
    load_connectors,
    load_fourier_losses,
)
from fourierkd.distill.model_config import build_model
from fourierkd.errors import CheckpointError, ConfigError

sys.path.insert(0, str(Path(__file__).parents[1] / "losses"))
from reference import full_spectrum_loss

LEVELS = 5
OFFICIAL_LOSS = {"type": "FourierLoss", "loss_weight": 7.0, "compat": "paper_code", "noise": False}


class OfficialFusion(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.sigma_tensor = nn.Parameter(torch.randn(channels))
        self.conv1x1 = nn.Sequential(nn.Conv2d(channels, channels, 1))
        self.conv1x1_b = nn.Sequential(nn.Conv2d(channels, channels, 1))


class OfficialLoss(nn.Module):
    """The attribute names of the official FourierLoss; its value is the reference's."""

    loss_weight = 7.0

    def __init__(self, channels):
        super().__init__()
        self.predictor = nn.Conv2d(channels, channels, 1)
        self.atfm = OfficialFusion(channels)

    def value(self, student, teacher):
        names = SimpleNamespace(
            mix_logit=self.atfm.sigma_tensor,
            student_conv=self.atfm.conv1x1,
            teacher_conv=self.atfm.conv1x1_b,
        )
        parts = SimpleNamespace(predictor=self.predictor, atfm=names, loss_weight=self.loss_weight)
        return full_spectrum_loss(student, teacher, parts, shift_all_axes=True)


class OfficialConnector(nn.Module):
    def __init__(self, student, teacher):
        super().__init__()
        self.conv_module = ConvModule(student, teacher, 1)


class OfficialAlgorithm(nn.Module):
    """What MMRazor saves: the student as ``architecture``, the teacher, the distiller."""

    def __init__(self, student, teacher, losses, connectors=None):
        super().__init__()
        self.architecture = build_model(student, role="student")
        self.distiller = nn.Module()
        self.distiller.distill_losses = nn.ModuleDict(losses)
        self.distiller.connectors = nn.ModuleDict(connectors or {})
        self.teacher = build_model(teacher, role="teacher")


def written(folder, model):
    """Save as MMEngine does: with a message hub whose buffers pickle functions."""
    hub = MessageHub.get_instance("foreign")
    hub.update_scalar("train/sigma", np.float32(0.5))
    path = folder / "official.pth"
    meta = {"dataset_meta": {"classes": ("a", "b", "c"), "palette": [(1, 2, 3)] * 3}, "iter": 9}
    content = {"meta": meta, "state_dict": model.state_dict(), "message_hub": hub.state_dict()}
    save_checkpoint(content, str(path))
    return path


@pytest.fixture
def official_det(tmp_path, retina):
    losses = {f"loss_fourier_fpn{i}": OfficialLoss(16) for i in range(LEVELS)}
    model = OfficialAlgorithm(retina(8), retina(16), losses)
    return model, written(tmp_path, model)


def same(state, expected):
    return state.keys() == expected.keys() and all(
        torch.equal(state[k], expected[k]) for k in state
    )


def test_layouts_are_told_by_their_keys():
    keys = ["backbone.conv1.weight", "head.bias"]
    assert layout_of(keys) == PLAIN
    assert layout_of([f"student.{k}" for k in keys] + ["losses.l2.0.w"]) == OURS
    assert layout_of([f"architecture.{k}" for k in keys] + ["teacher.a"]) == MMRAZOR
    assert layout_of([f"architecture.model.{k}" for k in keys]) == MMRAZOR_0
    fork = layout_of([f"student.{k}" for k in keys] + ["teacher.a"])
    assert fork.prefix == "student."
    assert fork != OURS


def test_the_student_of_an_official_checkpoint_is_found(official_det):
    model, path = official_det
    state = load_state_dict(path)
    assert same(student_state_dict(state), model.architecture.state_dict())


def test_official_fourier_losses_compute_the_same_here(official_det, retina):
    """Per level: equal values, so also that no two levels are swapped."""
    model, path = official_det
    taps = {"student_tap": "neck", "teacher_tap": "neck"}
    teacher = {"model": retina(16), "checkpoint": "random"}
    ours = Distiller(retina(8), teacher, {"fourier": {**taps, "loss": OFFICIAL_LOSS}})
    pairs = load_fourier_losses(ours, load_state_dict(path))
    assert pairs == {f"loss_fourier_fpn{i}": f"fourier.{i}" for i in range(LEVELS)}
    generator = torch.Generator().manual_seed(0)
    for level in range(LEVELS):
        a, b = (torch.randn(3, 16, 6, 8, generator=generator) for _ in range(2))
        official = model.distiller.distill_losses[f"loss_fourier_fpn{level}"]
        expected = official.value(a, b)
        got = ours.losses["fourier"][level](a, b)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    assert not torch.isclose(ours.losses["fourier"][0](a, b), expected)  # levels do differ


def test_losses_of_other_classes_are_left_out():
    state = {"distiller.distill_losses.loss_cwd.conv.weight": torch.ones(1)}
    assert fourier_parameters(state) == {}


def test_a_damaged_official_loss_is_named():
    state = {
        f"distiller.distill_losses.loss_a.{key}": value
        for key, value in OfficialLoss(4).state_dict().items()
    }
    del state["distiller.distill_losses.loss_a.atfm.conv1x1_b.0.bias"]
    with pytest.raises(CheckpointError, match=r"seven parameters.*conv1x1_b\.0\.bias"):
        fourier_parameters(state)


def test_official_parameters_need_the_published_behaviour_and_equal_levels(psp):
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    teacher = {"model": psp(8), "checkpoint": "random"}

    def model(**loss):
        return Distiller(psp(8), teacher, {"a": {**taps, "loss": {**OFFICIAL_LOSS, **loss}}})

    def state(count, channels):
        losses = nn.ModuleDict({f"loss_{i}": OfficialLoss(channels) for i in range(count)})
        return {f"distiller.distill_losses.{k}": v for k, v in losses.state_dict().items()}

    with pytest.raises(ConfigError, match=r"compat='paper_code'.*got 'fixed'"):
        load_fourier_losses(model(compat="fixed"), state(1, 64))
    for part in ("fusion", "predictor"):
        with pytest.raises(ConfigError, match=f"the predictor and the fusion.*'{part}': False"):
            load_fourier_losses(model(**{part: False}), state(1, 64))
    with pytest.raises(CheckpointError, match=r"2 FourierLosses and the config 1 levels"):
        load_fourier_losses(model(), state(2, 64))
    with pytest.raises(CheckpointError, match=r"do not fit.*loss_0 -> a\.0.*\(32, 32, 1, 1\)"):
        load_fourier_losses(model(), state(1, 32))
    assert load_fourier_losses(model(), state(1, 64)) == {"loss_0": "a.0"}


def test_official_connectors_are_a_convolution_and_a_relu(psp):
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    teacher = {"model": psp(16), "checkpoint": "random"}
    official = OfficialAlgorithm(psp(8), psp(16), {}, {"channels": OfficialConnector(64, 128)})

    def model(connector):
        entry = {**taps, "loss": {"type": "FeatureL2"}, "connector": connector}
        return Distiller(psp(8), teacher, {"l2": entry})

    ours = model({"type": "ConvModule"})
    assert load_connectors(ours, official.state_dict()) == {"channels": "l2.0"}
    maps = torch.randn(2, 64, 4, 4)
    theirs = official.distiller.connectors["channels"].conv_module(maps)
    assert torch.equal(ours.connectors["l2"][0](maps), theirs)
    with pytest.raises(CheckpointError, match=r"a ReLU follows.*dict\(type='ConvModule'\)"):
        load_connectors(model("auto"), official.state_dict())
