"""Pretrained backbones: MMEngine's names without torchvision, no code run, an option against it."""

from __future__ import annotations

import os

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from fourierkd.distill import pretrained as module
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import resolve_model
from fourierkd.distill.pretrained import local_weights, safe_pretraining, set_pretrained
from fourierkd.errors import CheckpointError, ConfigError

RETINA = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
PSP = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """Addresses that were asked for; nothing is downloaded."""
    addresses = []

    def fetch(address, *, option):
        addresses.append(address)
        return tmp_path / "weights.pth"

    monkeypatch.setattr(module, "fetch", fetch)
    return addresses


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("torchvision://resnet50", "download.pytorch.org/models/resnet50-0676ba61.pth"),
        ("open-mmlab://resnet18_v1c", "third_party/resnet18_v1c-b5776b93.pth"),
        ("open-mmlab://mmdet/mobilenet_v2", "mobilenet_v2_batch256_imagenet-ff34753d.pth"),
        ("mmcls://mobilenet_v2", "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth"),
        ("https://example.org/w.pth", "https://example.org/w.pth"),
    ],
)
def test_mmengines_names_are_addresses(fetched, tmp_path, name, end):
    assert local_weights(name) == tmp_path / "weights.pth"
    assert fetched[0].endswith(end)


def test_wrong_names_are_refused_with_near_ones(fetched):
    with pytest.raises(ConfigError, match="unknown scheme.*did you mean 'torchvision'"):
        local_weights("torchvison://resnet50")
    with pytest.raises(ConfigError, match="unknown pretrained weights.*'resnet50'"):
        local_weights("torchvision://resnet51")
    assert str(local_weights("a/b.pth")) == "a/b.pth"
    assert fetched == []


def test_the_option_takes_out_or_replaces_what_the_config_names():
    retina, psp = resolve_model(RETINA), resolve_model(PSP)
    assert set_pretrained(retina, True) == retina
    assert set_pretrained(retina, False)["backbone"]["init_cfg"] is None
    assert set_pretrained(psp, False)["pretrained"] is None
    init = set_pretrained(retina, "r18.pth")["backbone"]["init_cfg"]
    assert init == {"type": "Pretrained", "checkpoint": "r18.pth"}
    assert set_pretrained(psp, "r18.pth")["pretrained"] == "r18.pth"
    assert retina == resolve_model(RETINA)  # not changed
    with pytest.raises(ConfigError, match="only pretrained weights.*'0 places'"):
        set_pretrained(set_pretrained(psp, False), "r18.pth")
    with pytest.raises(ConfigError, match="True, False or a file, got 1"):
        set_pretrained(psp, 1)


@pytest.fixture
def small(retina, psp):
    """Tiny students whose backbones name their weights in the two ways there are."""
    config = resolve_model(retina())
    config["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "torchvision://resnet18"}
    return {"init_cfg": config, "pretrained": {**psp(), "pretrained": "open-mmlab://resnet18_v1c"}}


@pytest.mark.parametrize("way", ["init_cfg", "pretrained"])
def test_a_student_starts_from_weights_read_without_code(small, way, fetched, tmp_path):
    donor = Distiller(small[way], pretrained=False).student.backbone
    state = {k: torch.full_like(v, 0.25) for k, v in donor.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    before = CheckpointLoader.load_checkpoint
    model = Distiller(small[way])
    model.init_weights()
    assert len(fetched) == 1
    for name, value in model.student.backbone.named_parameters():
        assert torch.equal(value, torch.full_like(value, 0.25)), name
    assert CheckpointLoader.load_checkpoint == before


class _Payload:
    def __reduce__(self):
        return (os.mkdir, (str(self.target),))

    def __init__(self, target):
        self.target = target


@pytest.mark.parametrize("legacy", [True, False])
def test_a_backbone_file_that_carries_code_is_refused(small, fetched, tmp_path, legacy):
    content = {"state_dict": {}, "meta": _Payload(tmp_path / "ran")}
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    model = Distiller(small["init_cfg"])
    with pytest.raises(CheckpointError, match=r"carries code.*mkdir.*not run"):
        model.init_weights()
    assert not (tmp_path / "ran").exists()


def test_mmengines_own_loader_would_run_it(fetched, tmp_path):
    """Why ``safe_pretraining`` exists; if this fails one day, MMEngine is safe by itself."""
    torch.save({"meta": _Payload(tmp_path / "ran")}, tmp_path / "weights.pth")
    CheckpointLoader.load_checkpoint(str(tmp_path / "weights.pth"))
    assert (tmp_path / "ran").exists()


def test_without_pretraining_nothing_is_fetched(small, fetched):
    for student in small.values():
        Distiller(student, pretrained=False).init_weights()
    assert fetched == []


def test_an_option_names_a_local_file(small, fetched, tmp_path):
    with pytest.raises(CheckpointError, match=r"no such checkpoint.*none\.pth"):
        Distiller(small["pretrained"], pretrained=str(tmp_path / "none.pth")).init_weights()
    with safe_pretraining(), pytest.raises(CheckpointError, match="no such checkpoint"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "none.pth"), map_location="cpu")
    assert fetched == []
