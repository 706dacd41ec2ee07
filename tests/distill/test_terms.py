"""Pairing of levels: by stride, with what has no partner named."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.registry import MODELS
from fourierkd.distill.taps import PROBE_SIZE, Level
from fourierkd.distill.terms import Term, pair_levels
from fourierkd.errors import ConfigError
from fourierkd.losses.base import LOGITS, MapLoss

TERM = Term(("neck",), ("fpn",), 0)


def levels(*strides: int, channels: int = 4) -> list[Level]:
    return [Level(channels, (PROBE_SIZE // s, PROBE_SIZE // s), True) for s in strides]


def pair(student: list[Level], teacher: list[Level]):
    return pair_levels("l2", TERM, {"neck": student}, {"fpn": teacher})


def test_equal_pyramids_are_paired_level_by_level():
    pairing = pair(levels(4, 8, 8), levels(4, 8, 8))
    assert pairing.indices == [(0, 0), (1, 1), (2, 2)]
    assert pairing.left_out == []


def test_pyramids_are_paired_by_stride_and_the_rest_is_named():
    retina, faster = levels(8, 16, 32, 64, 128), levels(4, 8, 16, 32, 64)
    pairing = pair(retina, faster)
    assert pairing.indices == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert pairing.left_out == ["student neck stride 128", "teacher fpn stride 4"]
    for student, teacher in pairing.pairs:
        assert student.size == teacher.size


def test_single_maps_are_paired_whatever_their_strides():
    assert pair(levels(32), levels(8)).indices == [(0, 0)]


def test_a_map_that_lost_a_row_to_padding_keeps_its_stride():
    odd = [Level(4, (31, 31), True), Level(4, (5, 5), True)]
    assert [level.stride for level in odd] == [4, 32]
    assert pair(odd, levels(4, 32, 64)).indices == [(0, 0), (1, 1)]


def test_no_common_stride_and_an_ambiguous_one_are_refused():
    with pytest.raises(ConfigError, match=r"none is in common.*'student': \[8, 16\].*\[32, 64\]"):
        pair(levels(8, 16), levels(32, 64))
    with pytest.raises(ConfigError, match="several are at stride 8"):
        pair(levels(4, 8, 8), levels(4, 8))


def test_several_taps_count_their_maps_on():
    term = Term(("a", "b"), ("c", "d"), 0)
    ours = {"a": levels(4, 8), "b": levels(16)}
    theirs = {"c": levels(8, 16), "d": levels(16)}
    pairing = pair_levels("l2", term, ours, theirs)
    assert pairing.indices == [(1, 0), (2, 2)]
    assert pairing.left_out == ["student a stride 4", "teacher c stride 16"]


def test_a_distiller_compares_the_levels_of_equal_stride(toy, monkeypatch):
    said = []
    monkeypatch.setattr("fourierkd.distill.distiller.print_log", lambda text, _: said.append(text))
    loss = {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FeatureL2"}}
    teacher = {"model": toy(levels=2), "checkpoint": "random"}
    model = Distiller(toy(levels=3), teacher, {"l2": loss}).eval()
    assert model.left_out == {"l2": ["student neck stride 4"]}
    assert said == ["loss l2: no partner at its stride for student neck stride 4"]
    assert len(model.losses["l2"]) == 2
    model.keep_features = model.keep_gradients = True
    losses = model(torch.rand(1, 3, 8, 8), mode="loss")
    sizes = [(tuple(s.shape), tuple(t.shape)) for s, t in model.last_features["l2"]]
    assert sizes == [((1, 4, 8, 8),) * 2, ((1, 4, 4, 4),) * 2]
    losses["distill.l2.loss"].backward()
    assert model.student.neck.convs[1].weight.grad is not None
    assert model.student.neck.convs[2].weight.grad is None


@MODELS.register_module(force=True)
class ScoreLoss(MapLoss):
    """Compares class scores."""

    compares = LOGITS

    def distance(self, student, teacher):
        return (student - teacher).square().mean()


@MODELS.register_module(force=True)
class EnergyLoss(MapLoss):
    """Takes maps of unequal channels."""

    any_width = True

    def distance(self, student, teacher):
        return (student.square().mean() - teacher.square().mean()).abs()


@pytest.fixture
def unequal(toy):
    """A pair of unequal widths and equal classes, with one loss at one tap."""

    def make(tap, kind, **more):
        loss = {"type": kind, "loss_weight": 1.0}
        entry = {"student_tap": tap, "teacher_tap": tap, "loss": loss, **more}
        teacher = {"model": toy(width=6), "checkpoint": "random"}
        return Distiller(toy(), teacher, {"own": entry}).eval()

    return make


@pytest.mark.parametrize(("tap", "kind"), [("head", "ScoreLoss"), ("neck", "EnergyLoss")])
def test_class_scores_and_losses_of_any_width_have_no_connector(unequal, tap, kind):
    model = unequal(tap, kind)
    assert [type(c).__name__ for c in model.connectors["own"]] == ["Identity"] * 2
    assert not any(key.startswith("connectors") for key in model.state_dict())
    assert model.compared["own"][1] == f"student {tap}, stride 2, teacher {tap}, stride 2"
    model(torch.rand(1, 3, 8, 8), mode="loss")["distill.own.loss"].backward()
    assert model.student.neck.convs[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("connector", ["auto", "conv1x1", None])
def test_a_connector_at_class_scores_is_refused(unequal, connector):
    with pytest.raises(ConfigError, match=r"losses.own compares class scores.*leave connector out"):
        unequal("head", "ScoreLoss", connector=connector)


def test_class_scores_of_other_classes_are_refused(unequal):
    with pytest.raises(ConfigError, match=r"level 0: .*of the same classes, got \(4, 6\); take"):
        unequal("neck", "ScoreLoss")
