"""``fourierkd data check`` on real configs: what the data sets' classes add, exit codes, output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.cli import main, run_command
from fourierkd.engine.data_at_start import defaults

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_what_the_classes_of_data_sets_add():
    coco = defaults("mmdet.CocoDataset")
    assert len(coco["classes"]) == 80
    cityscapes = defaults("mmseg.CityscapesDataset")
    assert len(cityscapes["classes"]) == 19
    assert cityscapes["img_suffix"] == "_leftImg8bit.png"
    assert cityscapes["seg_map_suffix"] == "_gtFine_labelTrainIds.png"
    ade = defaults("mmseg.ADE20KDataset")
    assert (ade["reduce_zero_label"], ade["img_suffix"]) == (True, ".jpg")


def make_cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        for folder, ending, value in (
            ("leftImg8bit", "leftImg8bit", 90),
            ("gtFine", "gtFine_labelIds", 7),
        ):
            path = root / folder / split / f"town/a_{ending}.png"
            path.parent.mkdir(parents=True)
            values = np.full((4, 8), value, np.uint8)
            values[0] += 1  # 7 and 8: road, sidewalk
            Image.fromarray(values).save(path)


def test_cityscapes_is_checked_converted_and_fine(tmp_path, capsys):
    make_cityscapes(tmp_path)
    config = CONFIGS / "seg/pspnet_r18-d8_4xb2-40k_cityscapes-512x512.py"
    check = ["data", "check", str(config), "--cfg-options", f"data_root={tmp_path}"]
    assert run_command(check) == 1
    out = capsys.readouterr().out
    assert f"train: an image must have a mask: {tmp_path}/gtFine/train/town/a_gtFine" in out
    assert f"run: fourierkd data cityscapes {tmp_path}" in out
    assert run_command(["data", "cityscapes", str(tmp_path)]) == 0
    assert run_command(check) == 0
    out = capsys.readouterr().out
    assert "nothing is wrong with what was looked at" in out
    assert "val, test: looked at size, EXIF orientation and depth of 1 images" in out
    assert "model: looked at num_classes of the student's heads" in out
    assert "note: classes in none of the 1 masks opened (17): building" in out


def test_coco_names_what_is_missing(tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        content = {
            "images": [{"id": 1, "file_name": "[b]1.jpg", "width": 80, "height": 60}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25}
            ],
            "categories": [{"id": 1, "name": "person"}],
        }
        (tmp_path / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    config = CONFIGS / "det/fourier_fpn_retina_r101_retina_r50_2x_coco.py"
    options = ["--cfg-options", f"data_root={tmp_path}", "--images", "1"]
    assert run_command(["data", "check", str(config), *options]) == 1
    out = capsys.readouterr().out
    assert f"the annotations must exist: {tmp_path}/train2017/[b]1.jpg" in out
    assert "val, test: a class of the config must be a category of the annotations: bicycle" in out


def test_a_head_of_other_classes_is_named(tmp_path, capsys):
    make_cityscapes(tmp_path)
    config = CONFIGS / "seg/pspnet_r18-d8_4xb2-40k_cityscapes-512x512.py"
    assert run_command(["data", "cityscapes", str(tmp_path)]) == 0
    check = ["data", "check", str(config), "--cfg-options", f"data_root={tmp_path}"]
    key = "model.student.overrides"
    assert run_command([*check, f"{key}={{'decode_head.num_classes': 25}}"]) == 0
    assert "model: note: num_classes of the student's decode_head is" in capsys.readouterr().out
    assert run_command([*check, f"{key}={{'decode_head.num_classes': 7}}"]) == 1
    assert "num_classes of the student's decode_head must be" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--images", "0"], ["--cfg-options", "data_rot=1"]])
def test_bad_usage_exits_with_2(capsys, arguments):
    config = CONFIGS / "det/retina_r50_2x_coco.py"
    with pytest.raises(SystemExit) as error:
        main(["data", "check", str(config), *arguments])
    assert error.value.code == 2
    assert "got" in capsys.readouterr().err
