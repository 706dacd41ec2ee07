"""Data sets are found below a root, or one line says what is missing and what helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.data.find import find_data
from fourierkd.data.found import Found, split_of
from fourierkd.errors import DataError
from tests.own_data import make_coco, make_masks, make_voc
from tests.published_data import make_cityscapes

CLASSES = ("sky", "road", "car")


def find(root: Path, kind: str, classes=None) -> Found:
    folder = root.parent / "made"
    folder.mkdir(exist_ok=True)
    return find_data(root, kind, folder=folder, ann_file="made/{split}.json", classes=classes)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017", "train"),
        ("valid", "val"),
        ("Training", "train"),
        ("trainval", None),
        ("train_test", None),
        ("restaurants", None),
    ],
)
def test_a_split_is_a_word_of_a_name(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("layout", "ending"),
    [
        (("img/{split}", "ann/{split}"), ".png"),
        (("images/{split}", "masks/{split}"), "_L.png"),
        (("{split}/images", "{split}/labels"), ".png"),
        (("{split}", "{split}annot"), ".png"),
    ],
)
def test_folders_of_masks(tmp_path, layout, ending):
    make_masks(tmp_path / "d", layout, ("train", "val", "test"), ending)
    found = find(tmp_path / "d", "masks", CLASSES)
    assert {split: part.images for split, part in found.splits.items()} == dict.fromkeys(
        ("train", "val", "test"), 4
    )
    assert found.splits["val"].files == {
        "data_prefix": {
            "img_path": layout[0].format(split="val"),
            "seg_map_path": layout[1].format(split="val"),
        }
    }
    assert found.suffixes == {"img_suffix": ".png", "seg_map_suffix": ending}


def test_names_of_masks_come_from_the_root_or_are_asked_for(tmp_path):
    root = tmp_path / "d"
    make_masks(root)
    with pytest.raises(DataError, match=r"4 masks hold 0, 1, 2.*--classes NAME"):
        find(root, "masks")
    with pytest.raises(DataError, match=r"labels of masks are 0 to 1.*got 2; name all classes"):
        find(root, "masks", CLASSES[:2])
    (root / "classes.csv").write_text("sky,0,0,9\nroad,9,9,9\ncar,9,0,0\n")
    found = find(root, "masks")
    assert (found.classes, found.palette[0]) == (CLASSES, (0, 0, 9))


def test_what_is_wrong_with_masks_is_one_line(tmp_path):
    root = tmp_path / "d"
    make_masks(root, splits=("train",))
    with pytest.raises(DataError, match=r"for val below .*got 'none'; .*fourierkd data masks"):
        find(root, "masks", CLASSES)
    make_masks(root, splits=("val",))
    (root / "ann/val/002.png").unlink()
    with pytest.raises(DataError, match=r"has one mask in .*got '1 without'; add 002.png"):
        find(root, "masks", CLASSES)
    make_masks(root, ("images/{split}", "masks/{split}"), splits=("train",))
    with pytest.raises(
        DataError, match=r"for train below .*images/train with ann/train, .*move all"
    ):
        find(root, "masks", CLASSES)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("annotations/train.json", "annotations/val.json"), ("train", "val")),
        (("train.json", "val.json"), ("images/train", "images/val")),
        (
            ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
            ("train", "valid"),
        ),
        (
            ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
            ("train2017", "val2017"),
        ),
    ],
)
def test_coco(tmp_path, names, folders):
    root = tmp_path / "d"
    make_coco(root, names, folders)
    found = find(root, "coco")
    for split, name, folder in zip(("train", "val"), names, folders, strict=True):
        files = {"ann_file": name, "data_prefix": {"img": f"{folder}/"}}
        assert (found.splits[split].files, found.splits[split].objects) == (files, 8)
    assert found.classes == ("tin", "jar")


def test_what_is_wrong_with_coco_is_one_line(tmp_path):
    root = tmp_path / "d"
    make_coco(root)
    (root / "annotations/captions_val.json").write_text("{}")
    with pytest.raises(DataError, match="one of COCO annotations of val.*captions_val.*move all"):
        find(root, "coco")
    (root / "annotations/captions_val.json").unlink()
    path = root / "annotations/val.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": content["categories"][::-1]}))
    with pytest.raises(DataError, match="categories of val must be those of train"):
        find(root, "coco")
    path.unlink()
    with pytest.raises(DataError, match=r"COCO annotations of val .*annotations/val.json"):
        find(root, "coco")
    (root / "train/0.jpg").unlink()
    with pytest.raises(DataError, match=r"images of .*train.json must lie below .*looked into"):
        find(root, "coco")


def test_voc_is_converted_with_the_classes_of_all_splits(tmp_path):
    make_voc(tmp_path / "d/VOC2012")
    found = find(tmp_path / "d", "voc")
    assert found.classes == ("box", "jar", "tin")
    assert found.splits["val"].files == {
        "ann_file": "made/val.json",
        "data_prefix": {"img": "VOC2012/JPEGImages/"},
    }
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"made/{split}.json").read_text())
        assert [c["name"] for c in content["categories"]] == ["box", "jar", "tin"]
    make_voc(tmp_path / "d/VOC2007")
    with pytest.raises(DataError, match="one of VOC's Annotations.*one of them as --data"):
        find(tmp_path / "d", "voc")
    with pytest.raises(DataError, match="convert each split: fourierkd data voc2coco"):
        find(tmp_path / "made", "voc")


def test_cityscapes_needs_its_train_ids(tmp_path):
    root = tmp_path / "d"
    make_cityscapes(root, {"train": [(32, 64)], "val": [(32, 64)]})
    assert find(root, "cityscapes").splits["val"].images == 1
    next(root.rglob("*labelTrainIds.png")).unlink()
    with pytest.raises(DataError, match=f"make them: fourierkd data cityscapes {root}"):
        find(root, "cityscapes")
