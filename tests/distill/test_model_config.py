"""Three forms of a model config come out as one dict; mistakes are named with what is near."""

from __future__ import annotations

import pytest
from mmengine.config import ConfigDict

from fourierkd.distill.config_files import package_config, to_plain
from fourierkd.distill.model_config import build_model, replace_at, resolve_model, student_config
from fourierkd.errors import ConfigError

PSP = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"


def test_package_configs_are_the_installed_packages():
    path = package_config(PSP)
    assert path.is_file()
    assert path.parts[-3:-1] == ("configs", "pspnet")
    assert package_config("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py").is_file()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x512.py",
            "mmseg::pspnet/pspnet_r18-d8",
        ),
        ("mmdet::retinanet_r18_fpn_1x_coco.py", "'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'"),
        ("mmdet::nothing_like_this_at_all", "configs"),
        ("mmsegm::pspnet/x.py", "did you mean 'mmseg'"),
    ],
)
def test_a_missing_config_names_what_is_near(name, hint):
    with pytest.raises(ConfigError, match=hint):
        package_config(name)


def test_the_three_forms_agree():
    named = resolve_model(PSP)
    assert (named["type"], named["_scope_"]) == ("EncoderDecoder", "mmseg")
    assert resolve_model({"config": PSP}) == named
    assert resolve_model(ConfigDict(named)) == named
    inline = {k: v for k, v in named.items() if k != "_scope_"}
    scoped = resolve_model({**inline, "type": "mmseg.EncoderDecoder"})
    assert scoped == {**named, "type": "mmseg.EncoderDecoder"}


def test_overrides_replace_whole_values():
    norm = {"type": "BN"}
    overrides = {
        "backbone.norm_cfg": norm,
        "backbone.base_channels": 8,
        "auxiliary_head": None,
        "decode_head.loss_decode.loss_weight": 2.0,
        "data_preprocessor.mean.1": 7,
    }
    model = resolve_model({"config": PSP, "overrides": overrides})
    assert model["backbone"]["norm_cfg"] == norm
    assert model["backbone"]["base_channels"] == 8
    assert model["auxiliary_head"] is None
    assert model["decode_head"]["loss_decode"]["loss_weight"] == 2.0
    assert model["decode_head"]["loss_decode"]["type"] == "CrossEntropyLoss"
    assert model["data_preprocessor"]["mean"][1] == 7
    assert resolve_model(PSP)["data_preprocessor"]["mean"][1] != 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"config": PSP, "overrides": {"bakbone.depth": 1}},
            "no 'bakbone'.*mean 'backbone'",
        ),
        ({"config": PSP, "overrides": {"data_preprocessor.mean.9": 1}}, "no '9'"),
        ({"config": PSP, "overides": {}}, "unknown key of a model.*'overrides'"),
        ({"config": "none.py"}, "a config must be a file"),
        ({"backbone": {}}, "an inline model names its class"),
        ({"type": "mmsg.EncoderDecoder"}, None),
        (3, "a model is a config name"),
    ],
)
def test_wrong_forms_are_named_errors(spec, message):
    if message is None:
        with pytest.raises(ConfigError, match="package of scope 'mmsg' must be importable"):
            build_model(spec, role="student")
        return
    with pytest.raises(ConfigError, match=message):
        resolve_model(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.depht": 18}, "the student cannot be built.*depht"),
        ({"backbone.type": "ResNetV9"}, "the student cannot be built.*ResNetV9"),
        ({"decode_head.in_index": [1, 2]}, "the student cannot be built"),
    ],
)
def test_what_the_package_refuses_is_a_config_error(psp, change, message):
    model = psp(8)
    for key, value in change.items():
        replace_at(model, key, value)
    with pytest.raises(ConfigError, match=message):
        build_model(model, role="student")


def test_a_model_may_come_from_a_file_of_its_own(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text("model = dict(type='TapModel', width=6)\n")
    assert resolve_model(str(path)) == {"type": "TapModel", "width": 6, "_scope_": "fourierkd"}
    assert build_model(str(path), role="student").head.in_channels == 6
    path.write_text("modell = dict()\n")
    with pytest.raises(ConfigError, match="has a `model`"):
        resolve_model(str(path))


def test_a_students_config_is_plain_and_unscoped(psp):
    pipeline = [{"type": "mmseg.LoadAnnotations", "_scope_": "mmseg"}]
    run = {
        "model": {"student": psp(8)},
        "default_scope": "fourierkd",
        "test_dataloader": {"dataset": {"type": "mmseg.BaseSegDataset", "pipeline": pipeline}},
    }
    config = student_config(run)
    assert config["default_scope"] == "mmseg"
    assert config["model"]["type"] == "EncoderDecoder"
    assert "_scope_" not in config["model"]
    assert config["test_pipeline"] == [{"type": "LoadAnnotations"}]
    assert run["model"]["student"]["type"] == "mmseg.EncoderDecoder"


def test_to_plain_keeps_values_and_drops_config_types():
    plain = to_plain(ConfigDict(a=[ConfigDict(b=(1, 2))]))
    assert plain == {"a": [{"b": (1, 2)}]}
    assert type(plain) is dict
    assert type(plain["a"][0]) is dict


def test_a_list_in_a_tuples_place_becomes_a_tuple():
    model = {"scale": (1333, 800), "levels": [dict(size=(2, 2)), (1, 2)], "strides": [4, 8]}
    replace_at(model, "scale", [128, 96])
    replace_at(model, "levels.0.size", [3, 3])
    replace_at(model, "levels.1", [5, 6])
    replace_at(model, "strides", (8, 16))
    expected = {"scale": (128, 96), "levels": [{"size": (3, 3)}, (5, 6)], "strides": (8, 16)}
    assert model == expected


def test_a_head_of_ones_own_in_the_registry_of_a_task_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_head.py").write_text(
        "from mmseg.models.decode_heads import FCNHead\nfrom mmseg.registry import MODELS\n"
        "@MODELS.register_module()\nclass OwnHead(FCNHead):\n    pass\n"
    )
    (tmp_path / "student.py").write_text(
        "custom_imports = dict(imports=['own_head'], allow_failed_imports=False)\n"
        "model = dict(type='mmseg.EncoderDecoder',\n"
        "    backbone=dict(type='ResNetV1c', depth=18, num_stages=1, strides=(1,),\n"
        "                  dilations=(1,), out_indices=(0,), base_channels=4, stem_channels=4),\n"
        "    decode_head=dict(type='OwnHead', in_channels=4, in_index=0, channels=4,\n"
        "                     num_classes=2, loss_decode=dict(type='CrossEntropyLoss')))\n"
    )
    student = build_model(str(tmp_path / "student.py"), role="student")
    assert type(student.decode_head).__name__ == "OwnHead"
