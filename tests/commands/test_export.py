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
from fourierkd.commands.export import check_format, export, plain_config, received_config
from fourierkd.distill.checkpoint import export_student, load_checkpoint, load_state_dict
from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.records import Request
from fourierkd.run_dir import RunDir
from tests.engine.conftest import HERE

CONFIG = str(HERE / "toy_config.py")
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


def test_no_file_is_replaced_without_force(official, tmp_path, capsys):
    path, student = official
    out, config = tmp_path / "s.pth", tmp_path / "s.py"
    config.write_text("# mine")
    with pytest.raises(ConfigError, match=r"replaces no file, got .*s\.py'; choose another --out"):
        export(path, out, config=CONFIG)
    assert config.read_text() == "# mine"
    config.unlink()
    with pytest.raises(ConfigError, match=r"replaces no file, got .*official\.pth"):
        export(path, path, config=CONFIG)
    export(path, out, config=CONFIG)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=r"replaces no file, got .*s\.pth"):
        export(path, out)
    assert out.read_bytes() == before
    command = ["export", str(path), "--out", str(out), "--config", CONFIG, "--force"]
    assert run_command(command) == 0
    assert same(load_state_dict(out), student)


@pytest.fixture
def received(tmp_path):
    """A run folder from somebody else, whose config is the given text; its checkpoint."""

    def make(text: str) -> Path:
        run_dir = RunDir(tmp_path / "received").create(Request(config="", seed=0))
        run_dir.config.write_text(text)
        run_dir.checkpoints.mkdir(exist_ok=True)
        state = {f"student.{key}": value for key, value in ToyModel().state_dict().items()}
        torch.save({"meta": {}, "state_dict": state}, run_dir.best_checkpoint())
        return run_dir.best_checkpoint()

    return make


DISTILLER = "model = {{'type': 'Distiller', 'student': {}}}\n"


def test_the_config_of_a_run_folder_is_read_as_literals(received, tmp_path):
    text = DISTILLER.format({"type": "ToyModel"}) + "data_root = '/x'\n"
    report = export(received(text), tmp_path / "s.pth")
    assert report["checked"] == str(tmp_path / "received" / "config.py")
    with pytest.raises(ConfigError, match="plain values and is not run"):
        export(received(f"open({str(tmp_path / 'ran')!r}, 'w')\n{text}"), tmp_path / "t.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "student",
    [
        {"type": "os.mkdir", "path": "ran"},
        {"type": "ran"},
        {"type": "ToyModel", "_scope_": "ran"},
        {"type": "mmdet.RetinaNet", "backbone": {"type": "os.mkdir", "path": "ran"}},
        {"type": "mmdet.RetinaNet", "backbone": {"type": "ResNet", "_scope_": "ran", "depth": 18}},
        "ran.py",
        {"config": "ran.py"},
        "mmdet::../../../../../../../../../../{cwd}/ran.py",
    ],
)
def test_nothing_that_a_received_config_names_is_run(received, tmp_path, monkeypatch, student):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("ran.py").write_text("import os; os.mkdir('ran'); model = dict(type='ToyModel')")
    if isinstance(student, str):
        student = student.format(cwd=tmp_path)
    with pytest.raises(ConfigError):
        export(received(DISTILLER.format(repr(student))), tmp_path / "s.pth")
    assert not Path("ran").exists()


def test_a_model_that_is_none_is_refused(tmp_path):
    for text in ("model = 5", "model = {'type': 5}", "a = 1"):
        (tmp_path / "c.py").write_text(text)
        for read in (plain_config, received_config):
            with pytest.raises(ConfigError, match="a model with a type"):
                read(str(tmp_path / "c.py"))


def test_modules_of_ones_own_need_a_named_config(received, tmp_path):
    text = DISTILLER.format({"type": "MyOwn"}) + "custom_imports = {'imports': ['mine']}\n"
    with pytest.raises(ConfigError, match=r"a config that you name .*add --config .*config\.py"):
        export(received(text), tmp_path / "s.pth")


@pytest.mark.parametrize("meta", [5, {"dataset_meta": 5}, None])
def test_metadata_of_any_kind_costs_the_class_names_alone(official, tmp_path, meta):
    path, student = official
    torch.save({"meta": meta, "state_dict": student}, path)
    export(path, tmp_path / "s.pth", config=CONFIG)
    assert load_checkpoint(tmp_path / "s.pth")["meta"] == {"dataset_meta": {}}


def test_ema_buffers_of_2x_checkpoints_are_named(official, tmp_path):
    path, student = official
    torch.save({"state_dict": {**student, "ema_features_weight": torch.ones(3)}}, path)
    with pytest.raises(CheckpointError, match=r"1 unexpected \(ema_features_weight"):
        export(path, tmp_path / "s.pth", config=CONFIG)


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    calls, original = [], torch.load

    def counted(file, *args, **kwargs):
        calls.append(str(file))
        return original(file, *args, **kwargs)

    from fourierkd.distill.checkpoint import read_checkpoint

    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", counted)
    read = read_checkpoint(tmp_path / "a.pth")
    assert read_checkpoint(read) is read
    export_student(read, tmp_path / "b.pth")
    assert calls == [str(tmp_path / "a.pth")]
    calls.clear()
    export(tmp_path / "a.pth", tmp_path / "c.pth")
    assert calls.count(str(tmp_path / "a.pth")) == 1
