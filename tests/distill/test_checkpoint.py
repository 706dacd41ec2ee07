"""Files of strangers are read without running them; the student alone is exported."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint

from fourierkd.distill.checkpoint import (
    export_student,
    load_checkpoint,
    load_state_dict,
    save,
    student_state_dict,
)
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import student_config
from fourierkd.errors import CheckpointError
from fourierkd.fingerprint import file_sha256

TENSORS = {"a.weight": torch.arange(3.0), "a.bias": torch.ones(2)}


class Payload:
    """Calls ``function`` when it is unpickled without care."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def same(state, expected=TENSORS):
    return set(state) == set(expected) and all(torch.equal(state[k], expected[k]) for k in state)


@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "module"])
def test_tensors_are_found_bare_or_wrapped(tmp_path, wrap):
    content = {
        "bare": TENSORS,
        "state_dict": {"meta": {"epoch": 1}, "state_dict": TENSORS},
        "model": {"model": TENSORS},
        "module": {f"module.{k}": v for k, v in TENSORS.items()},
    }[wrap]
    torch.save(content, tmp_path / "a.pth")
    assert same(load_state_dict(tmp_path / "a.pth"))


def test_mmengines_own_checkpoints_are_read(tmp_path):
    hub = MessageHub.get_instance("checkpoint_test")
    hub.update_scalar("train/loss", np.float32(1.5))
    hub.update_info("iter", 7)
    meta = {"iter": 7, "value": np.float64(2.5), "palette": np.arange(6).reshape(2, 3)}
    content = {"meta": meta, "state_dict": TENSORS, "message_hub": hub.state_dict()}
    save_checkpoint(content, str(tmp_path / "a.pth"))
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert same(loaded["state_dict"])
    assert loaded["meta"]["value"] == 2.5
    assert (loaded["meta"]["palette"] == meta["palette"]).all()
    assert loaded["message_hub"]["runtime_info"]["iter"] == 7


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_not_run(tmp_path, legacy):
    trace = tmp_path / "ran"
    payloads = {
        "system": Payload(os.system, f"touch {trace}"),
        "eval": Payload(eval, f"open({str(trace)!r}, 'w')"),
        "exec": Payload(exec, f"open({str(trace)!r}, 'w')"),
        "Linear": torch.nn.Linear(2, 2),
    }
    for name, payload in payloads.items():
        path = tmp_path / f"{name}.pth"
        torch.save(
            {"state_dict": TENSORS, "x": payload}, path, _use_new_zipfile_serialization=not legacy
        )
        with pytest.raises(CheckpointError, match=rf"carries code or objects.*{name}.*not run"):
            load_state_dict(path)
    assert not trace.exists()


def test_getattr_in_a_checkpoint_is_inert(tmp_path):
    torch.save({"state_dict": TENSORS, "x": Payload(getattr, "text", "upper")}, tmp_path / "a.pth")
    value = load_checkpoint(tmp_path / "a.pth")["x"]
    assert not callable(value)
    assert vars(value) == {}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_not_a_checkpoint_is_named(tmp_path):
    torch.save({"a": torch.ones(20_000)}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    files = {
        "text": b"hello, this is no checkpoint",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "noise": np.random.default_rng(0).bytes(999),
        "pickle": pickle.dumps({"a": 1}),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.pth").write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"not a checkpoint.*damaged.*{name}.pth"):
            load_state_dict(tmp_path / f"{name}.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_state_dict(tmp_path / "zip.pth")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_state_dict(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="readable file"):
        load_state_dict(tmp_path)
    with pytest.raises(CheckpointError, match="download it first"):
        load_state_dict("https://example.org/a.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"state_dict": {}}, {"meta": {}}])
def test_a_checkpoint_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds (tensors|a dict of tensors)"):
        load_state_dict(tmp_path / "a.pth")


def test_sha256_is_of_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_students_keys_are_stripped_and_plain_ones_pass():
    state = {"student.a.weight": TENSORS["a.weight"], "student.a.bias": TENSORS["a.bias"]}
    assert same(student_state_dict({**state, "losses.l2.0.w": torch.ones(1)}))
    assert same(student_state_dict(TENSORS))


def test_saving_is_atomic(tmp_path):
    path = tmp_path / "a.pth"
    save(TENSORS, path)

    class Broken:
        def __reduce__(self):
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        save({"x": Broken()}, path)
    assert same(load_state_dict(path))
    assert list(tmp_path.iterdir()) == [path]


def exported(tmp_path, model, run, classes):
    """A run's checkpoint and what the export makes of it."""
    content = {
        "meta": {"dataset_meta": {"classes": classes, "palette": [[i, i, i] for i in range(4)]}},
        "state_dict": model.state_dict(),
    }
    torch.save(content, tmp_path / "run.pth")
    config = Config(student_config(run))
    return export_student(
        tmp_path / "run.pth",
        tmp_path / "out" / "student.pth",
        meta={"method": "tuned"},
        config_text=config.pretty_text,
    )


def assert_fits(capfd):
    """``load_checkpoint`` prints the keys that do not fit."""
    printed = "".join(capfd.readouterr())
    assert "missing keys" not in printed
    assert "unexpected key" not in printed


def test_plain_mmseg_loads_the_exported_student(tmp_path, psp, seg_batch, capfd):
    from mmseg.apis import inference_model, init_model

    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    losses = {"fourier": {**taps, "loss": {"type": "FourierLoss"}}}
    spec = {
        "type": "Distiller",
        "student": psp(8),
        "teacher": {"model": psp(16), "checkpoint": "random"},
        "losses": losses,
    }
    model = Distiller(spec["student"], spec["teacher"], losses).train()
    model(**model.data_preprocessor(seg_batch(), True), mode="loss")  # moves the running statistics
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "mmseg.LoadAnnotations", "_scope_": "mmseg"},
        {"type": "mmseg.PackSegInputs", "_scope_": "mmseg"},
    ]
    run = {
        "model": spec,
        "test_dataloader": {"dataset": {"type": "mmseg.BaseSegDataset", "pipeline": pipeline}},
    }
    report = exported(tmp_path, model, run, ("a", "b", "c", "d"))
    capfd.readouterr()
    plain = init_model(report["config"], report["out"], device="cpu")
    assert_fits(capfd)
    assert type(plain).__name__ == "EncoderDecoder"
    assert plain.dataset_meta["classes"] == ("a", "b", "c", "d")
    model.eval()
    ours, theirs = (m.test_step(seg_batch())[0].seg_logits.data for m in (model, plain))
    assert torch.equal(ours, theirs)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert inference_model(plain, image).pred_sem_seg.data.shape == (1, 32, 32)
    saved = torch.load(report["out"], weights_only=True)
    assert saved["meta"]["CLASSES"] == ("a", "b", "c", "d")
    assert saved["meta"]["method"] == "tuned"
    assert report["tensors"] == len(model.student.state_dict())
    assert report["dropped"] == len(model.state_dict()) - report["tensors"] > 0
    assert report["bytes"] < (tmp_path / "run.pth").stat().st_size
    assert report["sha256"] == file_sha256(report["out"])


def test_plain_mmdet_loads_the_exported_student(tmp_path, retina, det_batch, capfd):
    from mmdet.apis import inference_detector, init_detector

    losses = {"l2": {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FeatureL2"}}}
    spec = {
        "student": retina(8),
        "teacher": {"model": retina(16), "checkpoint": "random"},
        "losses": losses,
    }
    model = Distiller(**spec)
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "mmdet.Resize", "scale": (64, 64), "keep_ratio": True},
        {"type": "mmdet.PackDetInputs", "meta_keys": ("img_shape", "ori_shape", "scale_factor")},
    ]
    data = {"type": "mmdet.CocoDataset", "ann_file": "none.json", "pipeline": pipeline}
    run = {"model": spec, "test_dataloader": {"dataset": data}}
    report = exported(tmp_path, model, run, ("a", "b", "c"))
    capfd.readouterr()
    plain = init_detector(report["config"], report["out"], device="cpu")
    assert_fits(capfd)
    for head in (model.student.bbox_head, plain.bbox_head):
        head.test_cfg.score_thr = 0.0  # an untrained detector is sure of nothing
    model.eval()
    ours, theirs = (m.test_step(det_batch())[0].pred_instances for m in (model, plain))
    assert len(ours) > 0
    assert all(torch.equal(ours[key], theirs[key]) for key in ("bboxes", "scores", "labels"))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert inference_detector(plain, image).pred_instances.bboxes.shape[1] == 4


def test_the_teacher_does_not_reach_a_checkpoint(tmp_path, psp):
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    teacher = {"model": psp(32), "checkpoint": "random"}
    model = Distiller(psp(8), teacher, {"l2": {**taps, "loss": {"type": "FeatureL2"}}})
    torch.save(model.state_dict(), tmp_path / "run.pth")
    own = sum(v.numel() * v.element_size() for v in model.student.state_dict().values())
    connector = sum(p.numel() * 4 for p in model.connectors.parameters())
    overhead = 600 * len(model.state_dict())
    assert (tmp_path / "run.pth").stat().st_size < own + connector + overhead
    weights = sum(p.numel() * 4 for p in model.teacher.model.parameters())
    assert weights > 3 * (own + connector + overhead)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_layouts_of_the_model_zoos_are_read(tmp_path, legacy):
    """MMDetection 2 and MMSegmentation 0 (their publish script drops the optimizer), and 3."""
    old = {
        "env_info": "sys.platform: linux\nPyTorch: 1.3.0",
        "config": "model = dict(\n    type='RetinaNet')",
        "CLASSES": ("person", "bicycle"),
        "PALETTE": [[128, 64, 128], [244, 35, 232]],
        "hook_msgs": {},
        "mAP": np.float64(0.389),
        "epoch": 24,
        "iter": np.int64(175920),
    }
    new = {"cfg": "model = dict()", "dataset_meta": {"classes": ("a",), "palette": [(1, 2, 3)]}}
    hub = MessageHub.get_instance("checkpoint_zoo")
    hub.update_scalar("train/loss", 1.5)
    for name, content in {
        "old": {"meta": old, "state_dict": OrderedDict(TENSORS)},
        "new": {"meta": new, "state_dict": TENSORS, "message_hub": hub.state_dict()},
    }.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert same(load_state_dict(path))
        assert load_checkpoint(path)["meta"] == content["meta"]


def test_an_object_of_a_package_in_a_zoo_file_is_named(tmp_path):
    from mmengine.config import ConfigDict

    torch.save({"meta": {"cfg": ConfigDict(a=1)}, "state_dict": TENSORS}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"ConfigDict\), not run.*save its state_dict alone"):
        load_state_dict(tmp_path / "a.pth")
