"""Inheritance: what matches is copied, what does not is reported, nothing at all is an error."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.inherit import copy_modules, inherited_lines, match_modules
from fourierkd.distill.model_config import build_model
from fourierkd.errors import ConfigError

L2 = {"l2": {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FeatureL2"}}}


@pytest.fixture
def detectors(retina):
    """RetinaNets of equal necks, the teacher's backbone twice as wide."""
    return build_model(retina(8), role="student"), build_model(retina(16), role="teacher")


def test_equal_names_and_shapes_are_copied_and_the_rest_is_reported(detectors):
    student, teacher = detectors
    backbone = {k: v.clone() for k, v in student.backbone.state_dict().items()}
    laterals = [c.conv.weight.clone() for c in student.neck.lateral_convs]
    report = copy_modules(student, teacher, match_modules(student, teacher, ("neck", "bbox_head")))
    for ours, theirs in zip(
        student.bbox_head.parameters(), teacher.bbox_head.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    for level in range(3):  # P6 is a convolution of the backbone's last map
        ours, theirs = (m.neck.fpn_convs[level].conv.weight for m in (student, teacher))
        assert torch.equal(ours, theirs)
    for conv, before in zip(student.neck.lateral_convs, laterals, strict=True):
        assert torch.equal(conv.conv.weight, before)
    assert all(torch.equal(v, backbone[k]) for k, v in student.backbone.state_dict().items())
    skipped = report["neck"]["skipped"]
    assert skipped["lateral_convs.0.conv.weight"] == (
        "(16, 16, 1, 1) in the student, (16, 32, 1, 1) in the teacher"
    )
    assert report["bbox_head"]["skipped"] == {}
    head = list(student.bbox_head.state_dict().values())
    assert report["bbox_head"]["tensors"] == len(head)
    assert report["bbox_head"]["values"] == sum(v.numel() for v in head)
    lines = inherited_lines(report)
    assert lines[0].startswith("inherited neck: ")
    assert "lateral_convs.0.conv.weight: (16, 16, 1, 1) in the student" in lines[0]
    assert "not:" not in lines[1]


def test_the_copy_is_no_alias(detectors):
    student, teacher = detectors
    copy_modules(student, teacher, match_modules(student, teacher, ["bbox_head"]))
    before = teacher.bbox_head.retina_cls.weight.clone()
    with torch.no_grad():
        student.bbox_head.retina_cls.weight.add_(1)
    assert torch.equal(teacher.bbox_head.retina_cls.weight, before)


def test_wrong_modules_are_refused(detectors, psp):
    student, teacher = detectors
    with pytest.raises(
        ConfigError, match="student has no such module, got 'box_head'.*'bbox_head'"
    ):
        match_modules(student, teacher, ["box_head"])
    other = build_model(psp(8), role="teacher")
    with pytest.raises(ConfigError, match="teacher has no such module, got 'neck'"):
        match_modules(student, other, ["neck"])
    with pytest.raises(ConfigError, match="nothing in 'backbone.conv1'.*leave it out"):
        match_modules(student, teacher, ["backbone.conv1"])
    with pytest.raises(ConfigError, match="a list of module paths, got 'neck'"):
        match_modules(student, teacher, "neck")


def make(toy, **more) -> Distiller:
    teacher = {"model": toy(), "checkpoint": "random"}
    return Distiller(toy(), teacher, L2, **more)


def test_the_distiller_inherits_after_its_own_initialisation_only_if_asked(toy, monkeypatch):
    said = []
    monkeypatch.setattr("fourierkd.distill.distiller.print_log", lambda text, _: said.append(text))
    model = make(toy, inherit=("head", "neck"))
    assert not torch.equal(model.student.head.weight, model.teacher.model.head.weight)
    model.init_weights()  # the toy's own sets head.weight to 0.25
    assert torch.equal(model.student.head.weight, model.teacher.model.head.weight)
    assert list(model.inherited) == ["head", "neck"]
    assert said == inherited_lines(model.inherited)

    alone = make(toy)
    alone.init_weights()
    assert torch.equal(alone.student.head.weight, torch.full_like(alone.student.head.weight, 0.25))
    assert alone.inherited == {}


def test_wrong_use_is_refused_at_build(toy):
    with pytest.raises(ConfigError, match="inherit needs a teacher.*set it to"):
        Distiller(toy(), inherit=("neck",))
    with pytest.raises(ConfigError, match="no such module, got 'nekc'; did you mean 'neck'"):
        make(toy, inherit=("nekc",))
