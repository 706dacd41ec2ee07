"""The export command: formats, foreign layouts, and the strict check against a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from mmengine.config import Config
from toy import ToyModel

from fourierkd.cli import run_command
from fourierkd.distill.checkpoint import export_student, load_checkpoint, load_state_dict
from fourierkd.engine.export import check_format, export, plain_config
from fourierkd.errors import CheckpointError, ConfigError

CONFIG = str(Path(__file__).parent / "toy_config.py")
NARROW = """
custom_imports = dict(imports=["toy"], allow_failed_imports=False)
model = dict(type="ToyModel", width={width})
"""


pytestmark = pytest.mark.usefixtures("own_scope")


@pytest.fixture
def official(tmp_path):
    """A toy student in MMRazor's layout, and its tensors."""
    student = ToyModel().state_dict()
    state = {f"architecture.{key}": value for key, value in student.items()}
    state["teacher.features.weight"] = torch.ones(3)
    state["distiller.distill_losses.loss_l2.w"] = torch.ones(3)
    meta = {"dataset_meta": {"classes": ("off", "on")}}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "official.pth")
    return tmp_path / "official.pth", student


def same(state, expected):
    return set(state) == set(expected) and all(torch.equal(state[k], expected[k]) for k in state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_official_checkpoint_becomes_its_student(official, tmp_path, capsys, suffix):
    path, student = official
    out = tmp_path / f"student{suffix}"
    assert run_command(["export", str(path), "--out", str(out), "--config", CONFIG]) == 0
    printed = capsys.readouterr().out
    parameters = sum(p.numel() for p in ToyModel().parameters())
    assert (
        f"student{suffix}: {parameters:,} parameters, {out.stat().st_size / 2**20:.3g} MiB"
        in printed
    )
    assert "left out: 2 tensors of MMRazor 1.x" in printed
    assert "checked: every weight fits the student of " in printed
    assert "toy_config.py" in printed
    content = load_checkpoint(out)
    assert same(content["state_dict"], student)
    assert list(content["meta"]["dataset_meta"]["classes"]) == ["off", "on"]
    assert Config.fromfile(tmp_path / "student.py").model.type == "ToyModel"


def test_safetensors_are_read_without_us(official, tmp_path):
    path, student = official
    export(path, tmp_path / "a.safetensors", config=CONFIG)
    assert same(safetensors.torch.load_file(tmp_path / "a.safetensors"), student)


def test_tensors_that_share_memory_and_layer_versions_survive_safetensors(tmp_path):
    state = ToyModel().state_dict()
    state["head.twin"] = state["head.weight"]
    torch.save(state, tmp_path / "a.pth")
    export_student(tmp_path / "a.pth", tmp_path / "a.safetensors", file_format="safetensors")
    loaded = load_state_dict(tmp_path / "a.safetensors")
    assert same(loaded, state)
    assert loaded._metadata["norm"] == {"version": 2}


def test_averaged_weights_are_exported_and_named(tmp_path, capsys):
    averaged = {f"student.{key}": value for key, value in ToyModel().state_dict().items()}
    trained = {f"module.{key}": value + 1 for key, value in averaged.items()}
    path, out = tmp_path / "best.pth", tmp_path / "out.pth"
    content = {"meta": {}, "state_dict": averaged, "ema_state_dict": trained}  # as EMAHook saves
    torch.save(content, path)
    assert run_command(["export", str(path), "--out", str(out), "--config", CONFIG]) == 0
    assert "weights: the averaged ones (EMAHook)" in capsys.readouterr().out
    plain = {key.removeprefix("student."): value for key, value in averaged.items()}
    assert same(load_state_dict(out), plain)


def test_without_a_config_keys_are_stripped_and_it_says_so(official, tmp_path, capsys):
    path, student = official
    assert run_command(["export", str(path), "--out", str(tmp_path / "s.pth")]) == 0
    printed = capsys.readouterr().out
    assert "not checked: without --config keys were only stripped" in printed
    assert "config:" not in printed
    assert same(load_state_dict(tmp_path / "s.pth"), student)
    assert not (tmp_path / "s.py").exists()


def test_a_plain_students_own_config_checks_too(official, tmp_path):
    path, student = official
    (tmp_path / "narrow.py").write_text(NARROW.format(width=4))
    report = export(path, tmp_path / "s.pth", config=str(tmp_path / "narrow.py"))
    assert report["checked"] == str(tmp_path / "narrow.py")
    # a plain student's config lies beside it
    again = export(tmp_path / "s.pth", tmp_path / "again.safetensors")
    assert again["checked"] == str(tmp_path / "s.py")
    assert same(load_state_dict(tmp_path / "again.safetensors"), student)


def test_weights_that_do_not_fit_are_named_and_nothing_is_written(official, tmp_path):
    path, student = official
    (tmp_path / "wide.py").write_text(NARROW.format(width=5))
    with pytest.raises(CheckpointError, match=r"of another shape.*features\.weight"):
        export(path, tmp_path / "s.pth", config=str(tmp_path / "wide.py"))
    state = {f"architecture.{k}": v for k, v in student.items() if k != "head.bias"}
    state["architecture.neck.weight"] = torch.ones(2)
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(head\.bias\).*1 unexpected \(neck\."):
        export(tmp_path / "cut.pth", tmp_path / "s.pth", config=CONFIG)
    assert not (tmp_path / "s.pth").exists()


def test_formats_by_suffix_and_their_conflicts():
    assert check_format("a.pth", None) == "pth"
    assert check_format("a.safetensors", None) == "safetensors"
    assert check_format("a.bin", "safetensors") == "safetensors"
    with pytest.raises(ConfigError, match=r"--format pth and the suffix of --out disagree"):
        check_format("a.safetensors", "pth")
    with pytest.raises(ConfigError, match=r"suffix of --out names its format.*'a\.bin'"):
        check_format("a.bin", None)


def test_package_configs_by_name():
    config = plain_config("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py")
    assert config["default_scope"] == "mmdet"
    assert config["model"]["type"] == "RetinaNet"
    assert config["model"]["backbone"]["depth"] == 18
    with pytest.raises(ConfigError, match="no such config"):
        plain_config("mmdet::retinanet/retinanet_r19_fpn_1x_coco.py")


def test_a_detectors_config_by_name_names_what_does_not_fit(official, tmp_path):
    name = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    with pytest.raises(CheckpointError, match=r"missing \(backbone\.conv1\.weight"):
        export(official[0], tmp_path / "s.pth", config=name)


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(json.dumps({"a": 1}).encode() * 9)
    with pytest.raises(CheckpointError, match="not a checkpoint, or it is damaged"):
        export(tmp_path / "a.safetensors", tmp_path / "s.pth")


def test_a_shape_below_one_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"a height and a width from 1 on, got \(0, 5\)"):
        export(tmp_path / "none.pth", tmp_path / "a.onnx", shape=(0, 5))
