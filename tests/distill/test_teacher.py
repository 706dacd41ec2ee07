"""A teacher is exactly its checkpoint, and a wrong one is refused by name."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import build_model
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.fingerprint import file_sha256


@pytest.fixture
def saved(tmp_path, psp):
    model = build_model(psp(8), role="teacher")
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "t.pth")
    return model.eval(), str(tmp_path / "t.pth")


def test_it_gives_what_the_checkpoints_model_gives(psp, saved):
    model, path = saved
    teacher = FrozenTeacher(psp(8), path, ["backbone.layer4", "decode_head.bottleneck"])
    image = torch.randn(2, 3, 32, 32)
    maps = teacher(image)
    expected = model.backbone(image)
    assert torch.equal(maps["backbone.layer4"][0], expected[3])
    assert torch.equal(
        maps["decode_head.bottleneck"][0], model.decode_head._forward_feature(expected)
    )
    assert teacher.sha256 == file_sha256(path)
    assert not maps["backbone.layer4"][0].requires_grad


def test_a_distillers_checkpoint_gives_its_student(tmp_path, psp, saved):
    alone = Distiller(psp(8))
    torch.save(alone.state_dict(), tmp_path / "alone.pth")
    teacher = FrozenTeacher(psp(8), str(tmp_path / "alone.pth"), ["backbone.layer4"])
    weights = teacher.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in alone.student.state_dict().items())


def test_another_architecture_is_refused_by_key(tmp_path, psp, saved):
    model, path = saved
    with pytest.raises(CheckpointError, match=r"another architecture: \d+ of another shape .*stem"):
        FrozenTeacher(psp(16), path, ["backbone.layer4"])
    deeper = psp(8, depth=34)
    with pytest.raises(CheckpointError, match=r"\d+ missing \(backbone.layer1.2.conv1.weight"):
        FrozenTeacher(deeper, path, ["backbone.layer4"])
    torch.save({**model.state_dict(), "extra.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"1 unexpected \(extra.weight\).*t.pth"):
        FrozenTeacher(psp(8), path, ["backbone.layer4"])


@pytest.mark.parametrize("checkpoint", [None, ""])
def test_no_checkpoint_is_an_error_unless_random_is_asked_for(psp, checkpoint):
    with pytest.raises(ConfigError, match=r"a teacher needs its checkpoint.*'random'"):
        FrozenTeacher(psp(8), checkpoint, ["backbone.layer4"])
    teacher = FrozenTeacher(psp(8), "random", ["backbone.layer4"])
    assert teacher.sha256 is None


def test_building_draws_nothing_from_the_runs_random_numbers(psp):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    FrozenTeacher(psp(8), "random", ["backbone.layer4"])
    assert torch.equal(torch.rand(2), expected)
