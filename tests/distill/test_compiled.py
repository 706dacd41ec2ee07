"""A compiled teacher gives the same maps at the same taps, and still stops at the last one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fourierkd.distill import compiled
from fourierkd.distill.compiled import compiled_paths
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import build_model
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.errors import ConfigError


@pytest.fixture
def graphs(monkeypatch):
    """Let Dynamo trace as ever, and run the graphs as they are; they are counted."""
    calls = []

    def backend(graph, inputs):
        def run(*args):
            calls.append(graph)
            return graph(*args)

        return run

    torch._dynamo.reset()
    monkeypatch.setattr(compiled.torch, "compile", partial(torch.compile, backend=backend))
    yield calls
    torch._dynamo.reset()


def test_the_largest_parts_without_a_tap_inside_are_compiled(psp, retina):
    model = build_model(psp(8), role="teacher")
    assert compiled_paths(model, ["backbone.layer4"]) == [
        *("backbone.stem", "backbone.layer1", "backbone.layer2", "backbone.layer3"),
        *("backbone.layer4", "decode_head"),
    ]
    assert compiled_paths(model, ["backbone"])[0] == "backbone"
    paths = compiled_paths(build_model(retina(8), role="teacher"), ["neck.fpn_convs.1"])
    assert "backbone" in paths
    assert {"neck.fpn_convs.0", "neck.fpn_convs.1", "neck.lateral_convs.0"} <= set(paths)
    assert not {"neck", "neck.fpn_convs", "data_preprocessor"} & set(paths)


@pytest.mark.parametrize(
    "taps", [["backbone.layer2", "backbone.layer4.1.conv1"], ["decode_head.bottleneck"]]
)
def test_compiled_taps_equal_the_plain_ones(psp, graphs, taps):
    torch.manual_seed(0)
    plain = FrozenTeacher(psp(8), "random", taps)
    fast = FrozenTeacher(psp(8), "random", taps, compile=True)
    fast.model.load_state_dict(plain.model.state_dict())
    later = []
    last = "decode_head.conv_seg" if "decode_head" in taps[-1] else "decode_head"
    fast.model.get_submodule(last).register_forward_hook(lambda *a: later.append(a))
    for size in (32, 64):  # another size is another graph
        image = torch.randn(2, 3, size, size)
        expected, got = plain(image), fast(image)
        assert got.keys() == expected.keys()
        for path in taps:
            (a,), (b,) = got[path], expected[path]
            torch.testing.assert_close(a, b)
            assert not a.requires_grad
    assert graphs
    assert not later  # the forward ends at the last tap


def test_a_distiller_compiles_its_teacher_at_the_first_step(psp, seg_batch, graphs):
    def losses(**teacher):
        torch.manual_seed(0)
        model = Distiller(
            psp(8),
            {"model": psp(8), "checkpoint": "random", **teacher},
            {
                "l2": {
                    "student_tap": "backbone.layer4",
                    "teacher_tap": "backbone.layer4",
                    "loss": {"type": "FeatureL2"},
                }
            },
        )
        assert not graphs  # the probe at build time runs as it is
        data = model.data_preprocessor(seg_batch(), training=True)
        return model(**data, mode="loss")

    expected = losses()
    got = losses(compile=True)
    assert graphs
    torch.testing.assert_close(got["distill.l2.loss"], expected["distill.l2.loss"])


def test_a_compiler_that_fails_is_one_line(psp, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no C++ compiler found")

    torch._dynamo.reset()
    monkeypatch.setattr(compiled.torch, "compile", partial(torch.compile, backend=backend))
    teacher = FrozenTeacher(psp(8), "random", ["backbone.layer1"], compile=True)
    with pytest.raises(ConfigError, match="torch.compile of the teacher failed.*no C") as caught:
        teacher(torch.randn(2, 3, 32, 32))
    assert "model.teacher.compile=False" in str(caught.value)
    torch._dynamo.reset()


def test_the_switch_is_true_or_false(psp):
    with pytest.raises(ConfigError, match="compile is True or False, got 'yes'"):
        Distiller(psp(8), {"model": psp(8), "checkpoint": "random", "compile": "yes"}, {"a": {}})


@pytest.mark.slow
def test_inductor_gives_the_same_maps(psp):
    taps = ["backbone.layer1", "backbone.layer4"]
    torch._dynamo.reset()
    plain = FrozenTeacher(psp(8), "random", taps)
    fast = FrozenTeacher(psp(8), "random", taps, compile=True)
    fast.model.load_state_dict(plain.model.state_dict())
    image = torch.randn(2, 3, 64, 64)
    expected, got = plain(image), fast(image)
    for path in taps:
        torch.testing.assert_close(got[path][0], expected[path][0], rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()
