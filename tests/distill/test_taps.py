"""Taps give the maps of named modules, can end a forward, and a probe leaves no trace."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from fourierkd.distill.model_config import build_model
from fourierkd.distill.taps import Level, Taps, probe
from fourierkd.errors import ConfigError


def test_capture_equals_the_modules_own_output_and_leaves_no_hook(toy):
    model = build_model(toy(), role="student").eval()
    taps = Taps(model, ["stem", "neck", "neck"], role="student")
    image = torch.randn(2, 3, 8, 8)
    with taps.capture(model) as maps:
        model(image)
    assert [len(maps["stem"]), len(maps["neck"])] == [1, 2]
    expected = model.neck(model.act(model.stem(image)))
    assert all(torch.equal(a, b) for a, b in zip(maps["neck"], expected, strict=True))
    assert not model.neck._forward_hooks


def test_a_changed_map_goes_on_and_the_module_is_itself_again(toy):
    model = build_model(toy(), role="student").eval()
    taps = Taps(model, ["stem", "neck"], role="student")
    image, seen = torch.randn(2, 3, 8, 8), []

    def change(path, feature):
        seen.append((path, feature.shape[-1]))
        return feature * 0 if feature.shape[-1] == 4 else feature

    with taps.changed(model, change):
        first, second = model(image)
    assert seen == [("stem", 8), ("neck", 8), ("neck", 4)]
    own = model(image)
    assert torch.equal(first, own[0])
    assert not torch.equal(second, own[1])
    torch.testing.assert_close(second, model.head.bias.expand_as(second))
    assert not model.neck._forward_hooks


def test_stop_ends_the_forward_after_the_last_tap(toy):
    model = build_model(toy(), role="teacher").eval()
    taps = Taps(model, ["stem", "neck"], role="teacher")
    with taps.capture(model, stop=True) as maps:
        model(torch.zeros(1, 3, 8, 8))
        pytest.fail("the forward went on")
    assert model.calls == {"stem": 1, "head": 0}
    assert len(maps["neck"]) == 2


def test_a_module_shared_by_levels_is_waited_for(toy):
    model = build_model(toy(levels=3), role="teacher")
    taps = Taps(model, ["head"], role="teacher")
    assert len(probe(model, taps)["head"]) == 3
    model.eval()
    with taps.capture(model, stop=True) as maps:
        model(torch.zeros(1, 3, 8, 8))
    assert len(maps["head"]) == 3


def test_other_exceptions_pass_through(toy):
    model = build_model(toy(), role="teacher").eval()
    taps = Taps(model, ["neck"], role="teacher")
    with pytest.raises(RuntimeError, match=r"size|shape|channels"), taps.capture(model, stop=True):
        model(torch.zeros(1, 5, 8, 8))
    assert not model.neck._forward_hooks


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nek", "did you mean 'neck'"),
        ("backbone.layer4", "known: .*neck"),
        ("neck.convs.7", "neck.convs"),
    ],
)
def test_an_unknown_tap_names_what_is_near(toy, path, hint):
    with pytest.raises(ConfigError, match=rf"unknown student tap.*{hint}"):
        Taps(build_model(toy(), role="student"), [path], role="student")


def test_probe_reports_levels_and_leaves_no_trace(psp):
    model = build_model(psp(8), role="student")
    model.train()
    model.backbone.layer1.eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    levels = probe(model, Taps(model, ["backbone.layer4", "backbone"], role="student"))
    assert levels["backbone.layer4"] == [Level(64, (16, 16), True)]
    assert [level.channels for level in levels["backbone"]] == [8, 16, 32, 64]
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    assert all(p.grad is None for p in model.parameters())


def test_probe_reaches_into_heads_but_not_modules_that_are_never_called(psp):
    model = build_model(psp(8), role="student")
    levels = probe(model, Taps(model, ["decode_head.bottleneck"], role="student"))
    assert levels["decode_head.bottleneck"] == [Level(16, (16, 16), True)]
    with pytest.raises(ConfigError, match=r"never called.*'decode_head'.*bottleneck"):
        probe(model, Taps(model, ["decode_head"], role="student"))


def test_probe_refuses_what_is_not_a_map_or_is_overwritten(toy):
    model = build_model(toy(), role="student")
    with pytest.raises(ConfigError, match=r"overwritten in place.*'stem'"):
        probe(model, Taps(model, ["stem"], role="student"))
    model.head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    model.forward = lambda *a, **k: model.head(model.stem(a[0]))
    with pytest.raises(ConfigError, match=r"must give maps \(N, C, H, W\).*\(1, 4\)"):
        probe(model, Taps(model, ["head"], role="student"))


def test_probe_of_a_two_stage_detector():
    spec = {
        "config": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        "overrides": {
            "backbone.init_cfg": None,
            "backbone.base_channels": 8,
            "neck.in_channels": [32, 64, 128, 256],
            "backbone.stem_channels": 8,
        },
    }
    model = build_model(spec, role="student")
    levels = probe(model, Taps(model, ["neck", "rpn_head.rpn_conv"], role="student"))
    assert [level.channels for level in levels["neck"]] == [256] * 5
    assert len(levels["rpn_head.rpn_conv"]) == 5
