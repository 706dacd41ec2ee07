"""The ONNX export of a small PSPNet, run by onnxruntime; detectors are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from fourierkd.cli import run_command
from fourierkd.commands.export import export
from fourierkd.commands.onnx import export_onnx
from fourierkd.distill.model_config import build_model
from fourierkd.errors import CheckpointError, ConfigError, DataError

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")

PSPNET = """
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[120.0, 110.0, 100.0], std=[60.0] * 3, bgr_to_rgb=True
    ),
    backbone=dict(
        type="ResNetV1c", depth=18, base_channels=4, stem_channels=4, strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4), norm_cfg=dict(type="BN"), contract_dilation=True,
    ),
    decode_head=dict(
        type="PSPHead", in_channels=32, in_index=3, channels=8, num_classes=4,
        pool_scales=(1, 2, 3, 6), norm_cfg=dict(type="BN"), align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
"""


pytestmark = pytest.mark.usefixtures("own_scope")


@pytest.fixture
def student(tmp_path):
    """Config, checkpoint and the model itself, with weights that give large logits."""
    (tmp_path / "psp.py").write_text(PSPNET)
    torch.manual_seed(0)
    model = build_model(str(tmp_path / "psp.py"), role="student").eval()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    meta = {"dataset_meta": {"classes": ("a", "b", "c", "d")}}
    state = {f"architecture.{k}": v for k, v in model.state_dict().items()}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "official.pth")
    return str(tmp_path / "psp.py"), tmp_path / "official.pth", model


def test_onnxruntime_gives_the_students_logits(student, tmp_path, capsys):
    """Pools of 3 and 6 on an 8 x 10 map too, which are no factors of it; and at other batches."""
    config, checkpoint, model = student
    out = tmp_path / "student.onnx"
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    import cv2

    cv2.imwrite(str(tmp_path / "test.png"), image)
    arguments = ["export", str(checkpoint), "--out", str(out), "--config", config]
    arguments += ["--shape", "64", "80", "--image", str(tmp_path / "test.png")]
    assert run_command(arguments) == 0
    printed = capsys.readouterr().out
    assert f"onnxruntime against PyTorch on {tmp_path / 'test.png'}: largest difference" in printed
    assert "parameters" in printed
    session = onnxruntime.InferenceSession(out)
    images = torch.randn(3, 3, 64, 80)
    (logits,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        expected = model.encode_decode(images, [{"img_shape": (64, 80)}]).numpy()
    assert logits.shape == (3, 4, 64, 80)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["mean"]) == [120.0, 110.0, 100.0]
    assert json.loads(facts["bgr_to_rgb"]) is True
    assert json.loads(facts["classes"]) == ["a", "b", "c", "d"]


def test_a_difference_above_the_tolerance_is_refused_and_nothing_is_written(
    student, tmp_path, monkeypatch
):
    _, _, model = student
    import fourierkd.commands.onnx as onnx_export

    run = onnx_export._run
    monkeypatch.setattr(onnx_export, "_run", lambda *args: run(*args) * 1.01)
    with pytest.raises(CheckpointError, match=r"PyTorch's logits within .* on random pixels"):
        export_onnx(model, {}, tmp_path / "a.onnx", shape=(32, 32))
    assert not (tmp_path / "a.onnx").exists()


def test_what_cannot_be_exported_is_refused(student, tmp_path):
    config, checkpoint, model = student
    with pytest.raises(ConfigError, match="one input size; add --shape"):
        export_onnx(model, {}, tmp_path / "a.onnx")
    with pytest.raises(DataError, match=r"test image cannot be read.*none\.png"):
        export_onnx(model, {}, tmp_path / "a.onnx", shape=(32, 32), image="none.png")
    with pytest.raises(ConfigError, match="so it needs a config"):
        export(checkpoint, tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="belong to the ONNX export"):
        export(checkpoint, tmp_path / "a.pth", config=config, shape=(32, 32))


def test_a_detector_is_refused_in_one_line(tmp_path):
    name = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    model = build_model(name, role="student")
    torch.save(model.state_dict(), tmp_path / "det.pth")
    with pytest.raises(ConfigError, match=r"segmentation students.*'RetinaNet'.*MMDeploy"):
        export(tmp_path / "det.pth", tmp_path / "a.onnx", config=name)


def test_the_size_comes_from_the_test_pipeline(student):
    from fourierkd.commands.onnx import _size

    config = Config({"test_pipeline": [{"type": "mmseg.Resize", "scale": (80, 64)}]})
    assert _size(student[2], config) == (64, 80)
