"""Constructors of the task packages see the student; the losses are trained beside it."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from fourierkd.engine.optimizers import build_by_constructor
from fourierkd.errors import ConfigError


class Backbone(nn.Module):
    """Parameters under BEiT's names."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(2, 2)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


class BEiTLike(Backbone):
    pass


class ConvNeXtLike(nn.Module):
    """Parameters under ConvNeXt's names."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
        self.stages = nn.ModuleList(nn.ModuleList([nn.Linear(2, 2)]) for _ in range(4))


def distiller(backbone: nn.Module) -> nn.Module:
    model, student = nn.Module(), nn.Module()
    student.backbone, student.decode_head = backbone, nn.Linear(2, 2)
    model.student = student
    model.connectors = nn.ModuleDict({"l2": nn.ModuleList([nn.Linear(2, 3)])})
    model.losses = nn.ModuleDict({"l2": nn.ModuleList([nn.Linear(3, 3)])})
    model.losses["l2"][0].bias.requires_grad_(False)
    return model


def config(constructor: str, **paramwise: object) -> dict[str, object]:
    return {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05},
        "constructor": constructor,
        "paramwise_cfg": {"decay_rate": 0.5, "decay_type": "layer_wise", **paramwise},
    }


def rates(model: nn.Module, wrapper) -> dict[str, float]:
    """Learning rate of each parameter by its name."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: g["lr"] for g in wrapper.optimizer.param_groups for p in g["params"]}


@pytest.fixture(autouse=True)
def _packages():
    for scope in ("mmdet", "mmseg"):
        importlib.import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)


@pytest.mark.parametrize(
    ("constructor", "backbone", "falling"),
    [
        (
            "mmseg.LearningRateDecayOptimizerConstructor",
            BEiTLike,
            ["layers.2", "layers.1", "layers.0", "patch_embed"],
        ),
        *(
            (
                f"{scope}.LearningRateDecayOptimizerConstructor",
                ConvNeXtLike,
                ["stages.3.0", "stages.2.0", "stages.1.0", "stages.0.0", "downsample_layers.0"],
            )
            for scope in ("mmseg", "mmdet")
        ),
    ],
)
def test_layer_wise_rates_fall_from_the_head_down(constructor, backbone, falling):
    model = distiller(backbone())
    found = rates(model, build_by_constructor(model, config(constructor, num_layers=4)))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(found) == trained  # connectors and losses too, each parameter once
    head = found["student.decode_head.weight"]
    layers = [found[f"student.backbone.{name}.weight"] for name in falling]
    assert head == 1.0
    assert layers == sorted(layers, reverse=True)
    assert layers[-1] < layers[0] < head
    assert found["connectors.l2.0.weight"] == found["losses.l2.0.weight"] == 1.0


def test_the_older_name_of_beits_decay():
    model = distiller(BEiTLike())
    old = config("mmseg.LayerDecayOptimizerConstructor")
    old["paramwise_cfg"] = {"layer_decay_rate": 0.5, "num_layers": 4}
    found = rates(model, build_by_constructor(model, old))
    assert found["student.backbone.patch_embed.weight"] == 0.5**5


def test_a_backbone_that_a_constructor_does_not_know_is_one_line():
    model = distiller(Backbone())
    with pytest.raises(ConfigError, match="does not know this backbone .* got 'Backbone'"):
        build_by_constructor(
            model, config("mmseg.LearningRateDecayOptimizerConstructor", num_layers=4)
        )


def test_other_constructors_see_the_whole_model():
    model = distiller(Backbone())
    plain = config("DefaultOptimWrapperConstructor")
    plain["paramwise_cfg"] = {"custom_keys": {"student.backbone": {"lr_mult": 0.1}}}
    found = rates(model, build_by_constructor(model, plain))
    assert found["student.backbone.layers.0.weight"] == pytest.approx(0.1)
    assert found["student.decode_head.weight"] == found["connectors.l2.0.weight"] == 1.0
    assert isinstance(build_by_constructor(model, plain).optimizer, torch.optim.AdamW)
