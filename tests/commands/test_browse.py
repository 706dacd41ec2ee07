"""``browse``: labels lie on what they name, colours are the image's own, and counts are right."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourierkd.cli import run_command
from fourierkd.commands.label_counts import LabelCounts
from fourierkd.commands.labelled import Batches
from fourierkd.config.load import load_config
from fourierkd.errors import ConfigError
from fourierkd.tracking.label_sheets import Labelled, label_sheet
from fourierkd.tracking.prediction_pictures import Boxes, colour_of

HEIGHT, WIDTH = 40, 60
NAMES = ("red", "blue")
COLOURS = {"red": (220, 20, 30), "blue": (10, 60, 240)}  # RGB
# Number of the image -> class -> x1, y1, x2, y2, nowhere the same after a flip.
OBJECTS = {
    0: {"red": (3, 4, 15, 14)},
    1: {"red": (30, 22, 50, 36), "blue": (2, 2, 12, 30)},
    2: {"blue": (44, 3, 58, 21)},
}
PREPROCESSORS = {
    "rgb": {"mean": [123.675, 116.28, 103.53], "std": [58.4, 57.1, 57.4], "bgr_to_rgb": True},
    "bgr": {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "bgr_to_rgb": False},
    "as loaded": {"bgr_to_rgb": True},
}
FLIPS = '[dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"])]'
CONFIG = """
metric = "x"
data_root = {root!r}
model = dict(type="Distiller", student=dict(
    type="{scope}.X", data_preprocessor=dict(type="{kind}", **{settings})))
train_dataloader = dict(
    batch_size=3, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict({dataset}, pipeline=[
        dict(type="LoadImageFromFile"), dict(type="{scope}.LoadAnnotations"{boxes}),
        *{flips}, dict(type="{scope}.{pack}")]))
"""


@pytest.fixture
def write_config(tmp_path):
    """``write_config(task, preprocessor)``: a config of either task on three images."""
    images = []
    for number, objects in OBJECTS.items():
        pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for name, (x1, y1, x2, y2) in objects.items():
            pixels[y1:y2, x1:x2] = COLOURS[name]
            mask[y1:y2, x1:x2] = 1 + NAMES.index(name)
        mask[:, 59] = 255
        for kind, array in (("images", pixels[..., ::-1]), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(tmp_path / kind / f"{number}.png"), array)
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH}
        )
    boxes = [
        (number, NAMES.index(name), (x1, y1, x2 - x1, y2 - y1))
        for number, objects in OBJECTS.items()
        for name, (x1, y1, x2, y2) in objects.items()
    ]
    annotations = [
        {"id": i, "image_id": n, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, (n, c, b) in enumerate(boxes)
    ]
    coco = {"images": images, "annotations": annotations}
    coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    (tmp_path / "train.json").write_text(json.dumps(coco))

    def write(task: str, preprocessor: str = "rgb", flips: str = FLIPS) -> Path:
        settings = PREPROCESSORS[preprocessor]
        if task == "seg":
            parts = {"scope": "mmseg", "kind": "SegDataPreProcessor", "pack": "PackSegInputs"}
            names = ("background", *NAMES)
            dataset = (
                'type="mmseg.BaseSegDataset", img_suffix=".png", seg_map_suffix=".png", '
                'data_prefix=dict(img_path="images", seg_map_path="masks"), '
            )
            settings = settings | {"size": (48, 64)}
            boxes = ""
        else:
            parts = {"scope": "mmdet", "kind": "DetDataPreprocessor", "pack": "PackDetInputs"}
            names = NAMES
            dataset = (
                'type="mmdet.CocoDataset", ann_file="train.json", data_prefix=dict(img="images"),'
            )
            settings = settings | {"pad_size_divisor": 32}
            boxes = ", with_bbox=True"
        dataset += f" data_root='{{data_root}}', metainfo=dict(classes={names})"
        path = tmp_path / f"{task}.py"
        path.write_text(
            CONFIG.format(
                root=str(tmp_path),
                settings=settings,
                dataset=dataset,
                boxes=boxes,
                flips=flips,
                **parts,
            )
        )
        return path

    return write


def take(path, count):
    """The first images of a config."""
    batches = Batches(load_config(path), seed=0)
    found = []
    for batch in batches:
        found += batch
        if len(found) >= count:
            return batches, found
    return batches, found


@pytest.mark.parametrize("preprocessor", PREPROCESSORS)
@pytest.mark.parametrize("task", ["seg", "det"])
def test_labels_lie_on_objects_whose_colours_are_those_of_the_file(
    write_config, task, preprocessor
):
    batches, images = take(write_config(task, preprocessor), 30)
    flips, seen = set(), set()
    for image in images:
        flips.add(image.name.partition(", ")[2])
        objects = OBJECTS[int(image.name[0])]
        assert image.pixels.shape == ((48, 64, 3) if task == "seg" else (64, 64, 3))
        of_colour = {
            name: (image.pixels == np.array(COLOURS[name])).all(axis=2) for name in objects
        }
        if task == "seg":
            labels = image.labels
            for name, area in of_colour.items():
                expected = area.copy()
                expected[labels == 255] = False  # a column of them crosses nothing else
                assert (labels == batches.names.index(name)).sum() == expected.sum() > 0
                assert (area >= (labels == batches.names.index(name))).all()
                seen.add(name)
            continue
        assert sorted(image.labels.labels) == sorted(NAMES.index(name) for name in objects)
        for label, box in zip(image.labels.labels, image.labels.bboxes, strict=True):
            ys, xs = np.nonzero(of_colour[NAMES[label]])
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            seen.add(NAMES[label])
    assert flips == {"", *(f"flipped: {way}" for way in ("horizontal", "vertical", "diagonal"))}
    assert seen == set(NAMES)


def test_a_sheet_shows_them(write_config):
    """Where a label is, the sheet has its class's colour."""
    batches, images = take(write_config("seg", flips="[]"), 3)
    sheet = label_sheet(images, batches.names, "three")
    for name in NAMES:
        colour = colour_of(batches.names.index(name), batches.names)
        scaled = sum(int((i.labels == batches.names.index(name)).sum()) for i in images) * 9
        drawn = int((sheet == np.array(colour)).all(axis=2).sum())
        assert 0.8 * scaled < drawn < 1.2 * scaled  # numbers in it, and the legend's
    boxes = Boxes(np.array([[10, 10, 30, 30]], np.float32), np.array([1]))
    plain = Labelled(np.full((200, 200, 3), 9, np.uint8), boxes, "a" * 80)
    sheet = label_sheet([plain], NAMES, "one")
    assert (sheet == np.array(colour_of(1, NAMES))).all(axis=2).sum() > 4 * 18 * 2


@pytest.mark.parametrize("task", ["seg", "det"])
def test_the_command(write_config, tmp_path, capsys, task):
    out = tmp_path / "out"
    config = str(write_config(task))
    assert run_command(["browse", config, "--out", str(out), "--count", "3", "--images", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [p.name for p in sorted(out.iterdir())] == [
        *(f"batch_{n:03d}.png" for n in range(3)), "labels.csv",
    ]  # fmt: skip
    with open(out / "labels.csv") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert lines[len(rows) + 1].startswith("of 12 augmented images")
    if task == "det":  # four passes over three images
        assert (rows["red"]["images"], rows["red"]["boxes"], rows["red"]["small"]) == ("8",) * 3
        assert float(rows["blue"]["side_max"]) == pytest.approx(np.sqrt(10 * 28))
    else:
        assert int(rows["red"]["pixels"]) == 4 * (12 * 10 + 20 * 14)
        assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1)
    pictures = [(out / f"batch_{n:03d}.png").read_bytes() for n in range(3)]
    assert len(set(pictures)) == 3
    (out / "mine.png").write_bytes(b"")
    run_command(["browse", config, "--out", str(out), "--count", "1"])
    assert "of 3 augmented images" in capsys.readouterr().out  # one pass
    names = [path.name for path in sorted(out.iterdir())]
    assert names == ["batch_000.png", "labels.csv", "mine.png"]
    assert (out / "batch_000.png").read_bytes() == pictures[0]  # the same seed


@pytest.mark.parametrize("flag", ["--count", "--images"])
def test_numbers_below_1_are_refused(write_config, flag):
    with pytest.raises(ConfigError, match=f"{flag} is at least 1, got 0"):
        run_command(["browse", str(write_config("seg")), flag, "0"])


def test_counts_by_hand():
    counts = LabelCounts(["a", "b", "c"])
    sizes = [(10, 10), (32, 32), (95, 95), (96, 96)]
    boxes = np.array([[5, 5, 5 + w, 5 + h] for w, h in sizes], np.float32)
    counts.add(Boxes(boxes, np.array([0, 0, 0, 0])))
    counts.add(Boxes(boxes[:1], np.array([1])))
    first, second, third = counts.rows()
    assert [first[k] for k in ("images", "boxes", "small", "medium", "large")] == [1, 4, 1, 2, 1]
    assert (first["side_min"], first["side_median"], first["side_max"]) == (10, 63.5, 96)
    assert (second["images"], second["boxes"], third["boxes"], third["side_min"]) == (1, 1, 0, None)
    maps = LabelCounts(["a", "b"])
    maps.add(np.array([[0, 0, 1, 255]]))
    maps.add(np.array([[0, 0, 0, 255]]))
    assert [row["pixels"] for row in maps.rows()] == [5, 1]
    assert [row["images"] for row in maps.rows()] == [2, 1]
    assert (maps.rows()[1]["share"], maps.ignored) == (1 / 6, 2)
