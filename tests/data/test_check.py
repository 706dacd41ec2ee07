"""``data check``: every fault that users bring is named with a file, and whole data are fine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.data.check import check_config
from fourierkd.data.findings import Checked, sample

CLASSES = ("cat", "dog", "horse")
DEFAULTS = {
    "CocoDataset": {"classes": CLASSES},
    "SegDataset": {"classes": CLASSES, "img_suffix": ".jpg", "seg_map_suffix": ".png"},
    "CityscapesDataset": {
        "classes": CLASSES,
        "img_suffix": "_leftImg8bit.png",
        "seg_map_suffix": "_gtFine_labelTrainIds.png",
    },
}


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 90, 200)).save(path)


@pytest.fixture
def boxes(tmp_path):
    """Four images with one box each; ``change`` edits the annotations."""
    content = {"images": [], "annotations": [], "categories": []}
    for i in range(4):
        picture(tmp_path / f"images/{i}.jpg")
        content["images"].append({"id": i, "file_name": f"{i}.jpg", "width": 8, "height": 6})
        box = {"id": i, "image_id": i, "category_id": 1 + i % 3, "bbox": [1, 1, 4, 3.5]}
        content["annotations"].append(box)
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]

    def check(change=lambda content: None, images=50, **dataset) -> Checked:
        change(content)
        (tmp_path / "train.json").write_text(json.dumps(content))
        dataset = {
            "type": "CocoDataset",
            "data_root": str(tmp_path),
            "ann_file": "train.json",
            "data_prefix": {"img": "images/"},
            **dataset,
        }
        config = {"data_root": str(tmp_path), "train_dataloader": {"dataset": dataset}}
        (checked,) = check_config(config, DEFAULTS.__getitem__, images=images)
        return checked

    return check


@pytest.fixture
def masks(tmp_path):
    """Four images in two towns with masks of three classes and 255."""
    for i in range(4):
        picture(tmp_path / f"img/{i % 2}/{i}.jpg")
        path = tmp_path / f"ann/{i % 2}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.array([0, 1, 2, 255] * 12, np.uint8).reshape(6, 8)
        Image.fromarray(labels).save(path)

    def check(images=50, **dataset) -> Checked:
        dataset = {
            "type": "SegDataset",
            "data_root": str(tmp_path),
            "data_prefix": {"img_path": "img", "seg_map_path": "ann"},
            **dataset,
        }
        config = {"data_root": str(tmp_path), "val_dataloader": {"dataset": dataset}}
        (checked,) = check_config(config, DEFAULTS.__getitem__, images=images)
        return checked

    return check


def named(checked: Checked, *, fault: bool = True) -> list[tuple[str, int, str]]:
    return [(f.what, f.count, f.example) for f in checked.findings if f.fault == fault]


def test_whole_data_are_fine(boxes, masks):
    for checked in (boxes(), masks()):
        assert (checked.images, checked.opened, checked.findings) == (4, 4, [])
    assert boxes(images=2).opened == 2


def test_a_sample_is_spread_over_the_data():
    assert sample(10, 3) == [0, 4, 9]
    assert sample(2, 50) == [0, 1]
    assert sample(0, 50) == []


@pytest.mark.parametrize(
    ("change", "what", "example"),
    [
        (lambda c: c["images"].append({**c["images"][0], "id": 9, "file_name": "9.jpg"}),
         "an image of the annotations must exist", "images/9.jpg"),
        (lambda c: c["images"].append(c["images"][0]), "image id must be given once", "1"),
        (lambda c: c["annotations"][2].update(image_id=77), "belong to an image", "image_id 77"),
        (lambda c: c["annotations"][2].update(category_id=8), "known category", "category_id 8"),
        (lambda c: c["annotations"][3].update(bbox=[5, 1, 5, 3]), "lie in its image",
         "[5, 1, 5, 3] in 3.jpg (8x6)"),
        (lambda c: c["annotations"][3].update(bbox=[-3, 1, 5, 3]), "lie in its image", "[-3, 1"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "four finite numbers", "[1, 2, 3]"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, float("nan")]), "finite", "nan"),
        (lambda c: c["categories"][1].update(name="dogs"),
         "a class of the config must be a category of the annotations", "dog"),
        (lambda c: c["images"][1].update(width=80), "must have its annotated size", "(80, 6)"),
        (lambda c: c["annotations"][0].pop("bbox"), "entry must be whole", "annotations[0] has no"),
        (lambda c: c.pop("categories"), "COCO annotations have lists", "categories"),
    ],
)  # fmt: skip
def test_a_fault_of_annotations_is_named(boxes, change, what, example):
    checked = boxes(change)
    assert [what in f for f, _, _ in named(checked)].count(True) == 1, checked.findings
    assert any(example in found for f, _, found in named(checked) if what in f)
    assert checked.faults == 1


def test_a_near_category_is_suggested(boxes):
    checked = boxes(lambda c: c["categories"][1].update(name="dogs"))
    (finding,) = (f for f in checked.findings if f.fault)
    assert "did you mean 'dogs'" in finding.fix


def test_harmless_facts_are_notes(boxes):
    def change(content):
        content["categories"].append({"id": 4, "name": "cow"})
        content["images"].append({"id": 4, "file_name": "0.jpg", "width": 8, "height": 6})
        content["annotations"][1].update(bbox=[2, 2, 0.5, 3])
        content["annotations"][2].update(category_id=1)

    checked = boxes(change)
    assert checked.faults == 0
    assert named(checked, fault=False) == [
        ("categories that the config leaves out", 1, "cow"),
        ("classes without a box", 1, "horse"),
        ("boxes below one pixel, which MMDetection leaves out", 1, "[2, 2, 0.5, 3] in 1.jpg (8x6)"),
        ("images without a box", 1, "0.jpg"),
    ]


def test_unreadable_files_are_named(boxes, tmp_path):
    (tmp_path / "images/2.jpg").write_bytes(b"no image")
    ((what, count, example),) = named(boxes())
    assert (what, count) == ("an image must be readable", 1)
    assert "images/2.jpg: " in example
    assert named(boxes(ann_file="other.json"))[0][0].startswith("annotations must be readable (No")
    (tmp_path / "broken.json").write_text('{"images": [')
    assert named(boxes(ann_file="broken.json"))[0][0].startswith("annotations must be JSON")


def test_the_classes_of_the_config_count(boxes):
    checked = boxes(metainfo={"classes": ("cat", "bird")})
    assert named(checked)[0][2] == "bird"
    assert named(checked, fault=False)[0] == ("categories that the config leaves out", 2, "dog")


def test_a_fault_of_masks_is_named(masks, tmp_path):
    def only_fault(what: str) -> str:
        ((found, count, example),) = named(masks())
        assert what in found
        assert count == 1
        return example

    path = tmp_path / "ann/0/2.png"
    whole = path.read_bytes()
    path.unlink()
    assert only_fault("an image must have a mask").endswith("ann/0/2.png")
    path.write_bytes(whole[:45])
    assert "ann/0/2.png" in only_fault("must be readable")
    Image.new("RGB", (8, 6)).save(path)
    assert "mode RGB" in only_fault("indices, not colours")
    Image.new("L", (6, 8)).save(path)
    assert "(6, 8)" in only_fault("its image's size")
    Image.fromarray(np.full((6, 8), 3, np.uint8)).save(path)
    assert only_fault("mask values must be 0 to 2 or 255").endswith("2.png: 3")
    assert masks(reduce_zero_label=True).faults == 0
    path.write_bytes(whole)
    (tmp_path / "img/0/2.jpg").write_bytes(b"")
    assert "2.jpg" in only_fault("must be readable")
    (tmp_path / "img/0/2.jpg").unlink()
    assert named(masks(), fault=False) == [("masks without an image", 1, "0/2.png")]


def test_a_list_of_images_is_followed(masks, tmp_path):
    (tmp_path / "list.txt").write_text("0/0\n1/7\n")
    checked = masks(ann_file="list.txt")
    assert checked.images == 2
    assert [what for what, _, _ in named(checked)] == [
        "an image of ann_file must exist",
        "an image must have a mask",
    ]
    assert "No such file" in named(masks(ann_file="none.txt"))[0][0]


def test_an_empty_folder_and_absent_classes_are_said(masks, tmp_path):
    assert "images *.jpeg must be in the folder" in named(masks(img_suffix=".jpeg"))[0][0]
    for path in tmp_path.glob("ann/*/*.png"):
        Image.new("L", (8, 6), 1).save(path)
    assert named(masks(), fault=False) == [("classes in none of the 4 masks opened", 2, "cat")]


def test_cityscapes_without_train_ids_names_the_command(tmp_path):
    picture(tmp_path / "img/a_leftImg8bit.png")
    (tmp_path / "ann").mkdir()
    Image.new("L", (8, 6), 7).save(tmp_path / "ann/a_gtFine_labelIds.png")
    dataset = {
        "type": "CityscapesDataset",
        "data_root": str(tmp_path),
        "data_prefix": {"img_path": "img", "seg_map_path": "ann"},
    }
    config = {"train_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": dataset}}}
    (checked,) = check_config(config, DEFAULTS.__getitem__, images=5)
    (finding,) = checked.findings
    assert finding.fix == f"run: fourierkd data cityscapes {tmp_path}"


def test_equal_splits_are_checked_once_and_the_evaluator_too(boxes, tmp_path):
    boxes()
    dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "ann_file": "train.json"}
    dataset["data_prefix"] = {"img": "images"}
    missing = {"type": "CocoMetric", "ann_file": str(tmp_path / "val.json")}
    config = {"data_root": str(tmp_path)}
    for split in ("val", "test"):
        config[f"{split}_dataloader"] = {"dataset": dataset}
        config[f"{split}_evaluator"] = missing
    (checked,) = check_config(config, DEFAULTS.__getitem__, images=5)
    assert checked.split == "val, test"
    assert named(checked) == [("the evaluator's ann_file must exist", 1, missing["ann_file"])]


def test_a_missing_root_is_one_finding(tmp_path):
    config = {"data_root": str(tmp_path / "x"), "prepare_data": {"kind": "shapes"}}
    (checked,) = check_config(config, DEFAULTS.__getitem__, images=5)
    assert checked.findings[0].example.endswith("/x")
    assert "first training" in checked.findings[0].fix
