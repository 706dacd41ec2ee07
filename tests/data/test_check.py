"""``data check``: every fault that users bring is named with a file, and whole data are fine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.data.check import BOXES, MASKS, check_config
from fourierkd.data.findings import Checked, Depth, sample
from fourierkd.errors import ConfigError

CLASSES = ("cat", "dog", "horse")
DEFAULTS = {
    "CocoDataset": {"reads": BOXES, "classes": CLASSES},
    "SegDataset": {
        "reads": MASKS,
        "classes": CLASSES,
        "img_suffix": ".jpg",
        "seg_map_suffix": ".png",
    },
    "CityscapesDataset": {
        "reads": MASKS,
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
        box |= {"area": 14, "iscrowd": 0}
        content["annotations"].append(box)
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]

    def check(change=lambda content: None, images=50, split="train", **dataset) -> Checked:
        change(content)
        (tmp_path / "train.json").write_text(json.dumps(content))
        dataset = {
            "type": "CocoDataset",
            "data_root": str(tmp_path),
            "ann_file": "train.json",
            "data_prefix": {"img": "images/"},
            **dataset,
        }
        config = {"data_root": str(tmp_path), f"{split}_dataloader": {"dataset": dataset}}
        (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(images))
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
        (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(images))
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
        (lambda c: c["images"].append(c["images"][0]), "image id must be given once", "0"),
        (lambda c: c["annotations"][1].update(id=0), "annotation id must be given once", "0"),
        (lambda c: c["annotations"][1].pop("id"), "must be whole", "annotations[1] has no id"),
        (lambda c: c["annotations"][1].pop("area"), "must be whole", "annotations[1] has no area"),
        (lambda c: c["annotations"][1].update(area="12"), "whole", "annotations[1].area is '12'"),
        (lambda c: c["images"][1].update(width=None), "must be whole", "images[1].width is None"),
        (lambda c: c["annotations"][1].update(area=0), "must have an area above 0",
         "[1, 1, 4, 3.5] in 1.jpg (8x6)"),
        (lambda c: c["images"][1].update(file_name="0.jpg"), "image file must have one id",
         "0.jpg"),
        (lambda c: c["categories"].append({"id": 9, "name": "cat"}), "category must be there once",
         "cat"),
        (lambda c: c["categories"].append({"id": 1, "name": "cow"}),
         "category id must be there once", "1"),
        (lambda c: c["categories"].reverse(), "must be in the order of the annotations' categories",
         "label 0 is 'horse' in train.json and 'cat' in the config"),
        (lambda c: c["annotations"].clear(), "data set must have an object", "train.json"),
        (lambda c: [a.update(iscrowd=1) for a in c["annotations"]], "must have an object",
         "train.json"),
        (lambda c: c["annotations"][2].update(image_id=77), "belong to an image", "image_id 77"),
        (lambda c: c["annotations"][2].update(category_id=8), "known category", "category_id 8"),
        (lambda c: c["annotations"][3].update(bbox=[5, 1, 5, 3]), "lie in its image",
         "[5, 1, 5, 3] in 3.jpg (8x6)"),
        (lambda c: c["annotations"][3].update(bbox=[-3, 1, 5, 3]), "lie in its image", "[-3, 1"),
        (lambda c: c["annotations"][3].update(bbox=[5, 4, -3, 2]), "width and height from 0 on",
         "[5, 4, -3, 2] in 3.jpg (8x6)"),
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


def test_boxes_in_fractions_of_the_image_are_refused(boxes):
    def change(content):
        for annotation in content["annotations"]:
            annotation.update(bbox=[0.1, 0.2, 0.5, 0.5], area=0.25)

    what, *_ = refused(boxes(change))
    assert what == "boxes must be in pixels, not in fractions of the image"


def test_a_near_category_is_suggested(boxes):
    checked = boxes(lambda c: c["categories"][1].update(name="dogs"))
    (finding,) = (f for f in checked.findings if f.fault)
    assert "did you mean 'dogs'" in finding.fix


def test_harmless_facts_are_notes(boxes, tmp_path):
    def change(content):
        content["categories"].append({"id": 4, "name": "cow"})
        content["images"].append({"id": 4, "file_name": "4.jpg", "width": 8, "height": 6})
        content["annotations"][1].update(bbox=[2, 2, 0.5, 3])
        content["annotations"][2].update(category_id=1)

    picture(tmp_path / "images/4.jpg")
    checked = boxes(change)
    assert checked.faults == 0
    assert named(checked, fault=False) == [
        ("categories that the config leaves out", 1, "cow"),
        ("classes without a box", 1, "horse"),
        ("boxes below one pixel, which MMDetection leaves out", 1, "[2, 2, 0.5, 3] in 1.jpg (8x6)"),
        ("images without a box", 1, "4.jpg"),
    ]


def test_unreadable_files_are_named(boxes, tmp_path):
    (tmp_path / "images/2.jpg").write_bytes(b"no image")
    ((what, count, example),) = named(boxes())
    assert (what, count) == ("an image must be readable", 1)
    assert "images/2.jpg: " in example
    assert named(boxes(ann_file="other.json"))[0][0].startswith("annotations must be readable (No")
    (tmp_path / "broken.json").write_text('{"images": [')
    assert named(boxes(ann_file="broken.json"))[0][0].startswith("annotations must be JSON")
    marked = b"\xef\xbb\xbf" + (tmp_path / "train.json").read_bytes()  # which pycocotools refuses
    (tmp_path / "marked.json").write_bytes(marked)
    assert "UTF-8 BOM" in named(boxes(ann_file="marked.json"))[0][0]


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
    (tmp_path / "list.txt").write_bytes("Stra\u00dfe".encode("latin-1"))
    assert "can't decode" in named(masks(ann_file="list.txt"))[0][0]


def test_a_list_names_each_image_once_and_has_no_empty_line(masks, tmp_path):
    (tmp_path / "list.txt").write_text("0/0\n\n1/1\n0/0\n")
    checked = masks(ann_file="list.txt")
    empty = "a line of ann_file must name an image: MMSegmentation takes an empty one for a name"
    assert named(checked) == [
        (empty, 1, f"line 2 of {tmp_path}/list.txt"),
        ("images that ann_file names twice", 1, "0/0"),
    ]
    assert checked.findings[0].refused


def test_an_empty_folder_and_absent_classes_are_said(masks, tmp_path):
    assert "images *.jpeg must be in the folder" in named(masks(img_suffix=".jpeg"))[0][0]
    for path in tmp_path.glob("ann/*/*.png"):
        Image.fromarray(np.array([1, 2, 255] * 16, np.uint8).reshape(6, 8)).save(path)
    assert named(masks(), fault=False) == [("classes in none of the 4 masks opened", 1, "cat")]


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
    (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
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
    (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
    assert checked.split == "val, test"
    assert named(checked) == [("the evaluator's ann_file must exist", 1, missing["ann_file"])]


def test_a_missing_root_is_one_finding(tmp_path):
    config = {"data_root": str(tmp_path / "x"), "prepare_data": {"kind": "shapes"}}
    (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
    assert checked.findings[0].example.endswith("/x")
    assert "first training" in checked.findings[0].fix


def test_what_nobody_can_mean_is_refused_in_training(boxes):
    def change(content):
        content["annotations"][0].update(area=0)
        content["images"][1].update(file_name="0.jpg")

    refused = {f.what.split()[1]: f.refused for f in boxes(change).findings}
    assert refused == {"image": False, "box": True}  # one file under two ids may be meant


def test_annotations_that_are_scored_need_iscrowd(boxes):
    def bare(content):
        for annotation in content["annotations"]:
            annotation.pop("iscrowd", None)

    assert boxes(bare).faults == 0
    assert named(boxes(bare, split="val")) == [
        ("an annotation that is scored must have iscrowd", 4, "annotations[0]")
    ]


@pytest.mark.parametrize("classes", ["crack", ("cat", 3), {"cat": 1}])
def test_classes_that_are_no_list_of_names(boxes, masks, classes):
    for check in (boxes, masks):
        (finding,) = (f for f in check(metainfo={"classes": classes}).findings if f.refused)
        assert finding.what == "classes must be a list of names"
        assert finding.example == repr(classes)
    fix = "write classes=('crack',)"
    assert any(f.fix == fix for f in boxes(metainfo={"classes": "crack"}).findings)
    twice = boxes(metainfo={"classes": ("cat", "cat", "dog", "horse")})
    assert ("a class must be named once", 1, "cat") in named(twice)


def refused(checked: Checked) -> list[str]:
    return [f.what for f in checked.findings if f.refused]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("metainfo", 5, "metainfo is a dict in the data set of train_dataloader, got 5"),
        ("data_root", [5], "data_root is a path"),
        ("data_prefix", "images", "data_prefix is a dict of paths"),
        ("data_prefix", {"img": None}, "data_prefix.img is a path"),
        ("pipeline", 5, "pipeline is a list of dicts"),
        ("indices", True, "indices is a number or a list of them"),
    ],
)
def test_keys_of_a_wrong_type_are_refused(boxes, key, value, words):
    with pytest.raises(ConfigError, match=words):
        boxes(**{key: value})


@pytest.mark.parametrize("key", ["CLASSES", "PALETTE"])
def test_metainfo_in_capitals_is_refused(boxes, masks, key):
    """As older versions wrote it: a data set would take its class's own names in silence."""
    for check in (boxes, masks):
        assert refused(check(metainfo={key: CLASSES})) == [
            "the keys of metainfo are in small letters"
        ]


def test_classes_of_other_data_are_refused(boxes):
    what, *_ = refused(boxes(metainfo={"classes": ("person", "car")}))
    assert what == "a class of the config must be a category of train.json: cat, dog, horse"


def test_a_filter_that_leaves_no_image_is_named(boxes):
    (finding,) = (f for f in boxes(filter_cfg={"min_size": 100}).findings if f.refused)
    assert finding.fix == "no image is left by its filter_cfg and indices"


def test_data_that_are_scored_name_their_classes(masks, monkeypatch):
    monkeypatch.delitem(DEFAULTS["SegDataset"], "classes")
    assert refused(masks()) == ["data that are scored must name their classes"]
    assert refused(masks(metainfo={"classes": CLASSES})) == []


def test_classes_may_stand_in_a_file(boxes, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\nhorse\n")
    assert boxes(metainfo={"classes": str(tmp_path / "names.txt")}).findings == []


@pytest.fixture
def two_splits(tmp_path):
    """Two COCO files over folders of their own; keyword arguments change the val data set."""

    def check(change=lambda content: None, **val) -> list[Checked]:
        config = {}
        for split in ("train", "val"):
            content = {
                "images": [{"id": 1, "file_name": f"{split}/0.png", "width": 8, "height": 6}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 3]}
                    | {"area": 12, "iscrowd": 0}
                ],
                "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            }
            if split == "val":
                change(content)
            picture(tmp_path / f"{split}/0.png")
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
            dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "data_prefix": {}}
            dataset |= {"ann_file": f"{split}.json", "metainfo": {"classes": ("a", "b")}}
            config[f"{split}_dataloader"] = {"dataset": dataset | (val if split == "val" else {})}
        return check_config(config, DEFAULTS.__getitem__, Depth(5))

    return check


def test_categories_in_another_order_than_in_train(two_splits):
    train, val = two_splits()
    assert (train.faults, val.faults) == (0, 0)
    assert val.looked[-1] == "its labels and images against those of train"
    train, val = two_splits(
        lambda c: c["categories"].reverse(), metainfo={"classes": ("b", "a")}
    )  # each agrees with its own classes
    assert train.faults == 0
    (finding,) = (f for f in val.findings if f.fault)
    assert finding.what == "labels must have the names that they have in train"
    assert finding.example == "label 0 is 'b', in train 'a'"
    assert finding.refused


def test_shared_images_are_named(two_splits, tmp_path):
    what = "images that are trained on must not be scored"
    _, val = two_splits(lambda c: c["images"][0].update(file_name="train/0.png"))
    assert named(val) == [(what, 1, str(tmp_path / "train/0.png"))]
    (tmp_path / "copy/train").mkdir(parents=True)
    picture(tmp_path / "copy/train/0.png")
    _, val = two_splits(ann_file="train.json", data_prefix={"img": "copy/"})
    assert named(val) == [(what, 1, f"{tmp_path}/train.json: image 1")]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/0.png").symlink_to("../train/0.png")
    _, val = two_splits(lambda c: c["images"][0].update(file_name="linked/0.png"))
    assert named(val) == [(what, 1, str(tmp_path / "train/0.png"))]


def test_indices_may_share_out_one_file(boxes, tmp_path):
    boxes()
    dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "ann_file": "train.json"}
    dataset["data_prefix"] = {"img": "images"}

    def check(first, last):
        config = {
            "train_dataloader": {"dataset": dataset | {"indices": first}},
            "test_dataloader": {"dataset": dataset | {"indices": last}},
        }
        return check_config(config, DEFAULTS.__getitem__, Depth(5))

    train, test = check(3, -1)
    assert (train.images, test.images, test.faults) == (3, 1, 0)
    assert [count for what, count, _ in named(check(3, -2)[1])] == [1]
    config = {f"{split}_dataloader": {"dataset": dataset} for split in ("train", "test")}
    (both,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
    assert "trained on must not be scored" in named(both)[0][0]


def test_the_evaluator_reads_the_annotations_of_its_data(two_splits, boxes, tmp_path):
    boxes()
    (tmp_path / "other.json").write_text("{}")
    dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "ann_file": "train.json"}
    dataset["data_prefix"] = {"img": "images"}
    config = {
        "val_dataloader": {"dataset": dataset},
        "val_evaluator": {"type": "CocoMetric", "ann_file": str(tmp_path / "other.json")},
    }
    (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
    assert "the evaluator must read the annotations of its data set" in named(checked)[0][0]


def turned(path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)


def test_an_exif_orientation_is_named(boxes, masks, tmp_path):
    what = "an image must not be turned by an EXIF orientation when it is loaded"
    for orientation, refused in ((3, False), (6, True)):  # 6 exchanges width and height
        for path, check in (("images/2.jpg", boxes), ("img/0/2.jpg", masks)):
            turned(tmp_path / path, orientation, (8, 6))
            (finding,) = (f for f in check(images=1).findings if f.fault)  # of all, not a sample
            assert finding.what.startswith(what)
            assert f"2.jpg: orientation {orientation}" in finding.example
            assert "as it is seen" in finding.fix
            assert "as stored" in finding.fix
            assert finding.refused == refused
    load = {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}
    assert boxes(pipeline=[load]).faults == 0
    turned(tmp_path / "images/2.jpg", 6, (6, 8))  # annotated as it is seen, 8x6
    checked = boxes()
    assert checked.faults == 0
    assert named(checked, fault=False)[0][0].startswith("images that an EXIF orientation turns")


def test_deep_images_are_named(boxes, masks, tmp_path):
    for path, check, suffix in (("images/1", boxes, ".jpg"), ("img/1/1", masks, ".jpg")):
        deep = Image.fromarray(np.full((6, 8), 4000, np.uint16))
        deep.save(tmp_path / f"{path}{suffix}", format="png")
        ((found, _, example),) = named(check())
        assert found.startswith("an image must have 8 bits a channel")
        assert example.endswith("1.jpg")
        assert (
            check(pipeline=[{"type": "LoadImageFromFile", "color_type": "unchanged"}]).faults == 0
        )


def test_masks_of_0_and_255_are_named_and_those_of_one_bit_are_fine(masks, tmp_path):
    paths = sorted(tmp_path.glob("ann/*/*.png"))
    for path in paths:
        Image.fromarray(np.array([0, 255] * 24, np.uint8).reshape(6, 8)).save(path)
    (finding,) = (f for f in masks(images=1).findings if f.fault)
    assert finding.what.startswith("masks must hold two labels at least beside 255")
    assert finding.example == "4 masks hold the values 0, 255"  # all, though one would be opened
    assert finding.refused
    assert "--remap" in finding.fix
    Image.fromarray(np.array([0, 1] * 24, np.uint8).reshape(6, 8)).save(paths[2])
    checked = masks(images=1)
    assert checked.faults == 0
    assert checked.looked[-1] == "the values of 3 masks"  # until a second label was seen
    for path in paths:
        Image.fromarray(np.array([False, True] * 24).reshape(6, 8)).save(path)
    assert masks().faults == 0


def test_labels_follow_reduce_zero_label_and_left_out_classes(masks, tmp_path):
    what = "masks must hold two labels"
    for path in tmp_path.glob("ann/*/*.png"):
        Image.fromarray(np.array([0, 1] * 24, np.uint8).reshape(6, 8)).save(path)
    assert masks().faults == 0
    assert what in named(masks(reduce_zero_label=True))[0][0]
    assert what in named(masks(metainfo={"classes": ("dog", "horse")}))[0][0]


def test_images_of_other_suffixes_are_counted(masks, tmp_path):
    picture(tmp_path / "img/0/x.JPG")
    picture(tmp_path / "img/y.webp")
    assert named(masks(), fault=False) == [
        ("images that are no *.jpg, left out", 2, f"{tmp_path}/img/0/x.JPG")
    ]


def test_a_last_batch_of_one_image_is_a_note(boxes, tmp_path):
    boxes()
    dataset = {"type": "CocoDataset", "data_root": str(tmp_path), "ann_file": "train.json"}
    dataset["data_prefix"] = {"img": "images"}

    def notes(**loader):
        config = {"train_dataloader": {"dataset": dataset, **loader}}
        (checked,) = check_config(config, DEFAULTS.__getitem__, Depth(5))
        return named(checked, fault=False)

    ((what, _, example),) = notes(batch_size=3)
    assert "BatchNorm" in what
    assert example == "4 images in batches of 3"
    assert notes(batch_size=2) == notes(batch_size=3, drop_last=True) == []
    assert notes(batch_size=3, sampler={"type": "InfiniteSampler"}) == []


def test_what_a_run_looks_at_opens_little(boxes, masks, tmp_path):
    """No pixels of images, the values of one mask, no look for each file."""
    boxes()
    masks()
    (tmp_path / "images/3.jpg").unlink()
    dataset = {"type": "SegDataset", "data_root": str(tmp_path)}
    dataset["data_prefix"] = {"img_path": "img", "seg_map_path": "ann"}
    coco = {"type": "CocoDataset", "data_root": str(tmp_path), "ann_file": "train.json"}
    coco["data_prefix"] = {"img": "images"}
    config = {"train_dataloader": {"dataset": coco}, "val_dataloader": {"dataset": dataset}}
    train, val = check_config(config, DEFAULTS.__getitem__, Depth(0, headers=2, files=False))
    assert (train.opened, val.opened) == (0, 0)
    assert train.looked[1:] == ["size, EXIF orientation and depth of 2 images"]
    assert "the values of 1 masks" in val.looked
