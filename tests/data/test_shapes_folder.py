"""Spectral Shapes on disk: whole or not there, damage is noticed, both code bases read it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from fourierkd.data import shapes_files
from fourierkd.data.shapes import SPLITS, ShapesSpec, class_names, draw_sample, palette
from fourierkd.data.shapes_files import run_lengths
from fourierkd.data.shapes_folder import find_fault, prepare_shapes, reading_shapes
from fourierkd.errors import DataError

SPEC = ShapesSpec(seed=1, size=6, val_size=2, test_size=2, image_size=32, radius=(5, 9))
OTHER = ShapesSpec(seed=2, size=3, val_size=2, test_size=2, image_size=32, radius=(5, 9))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "shapes"
    prepare_shapes(out, SPEC)
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "shapes"))


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout_and_manifest(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    files = contents(made)
    assert files.pop("manifest.json")
    assert files.pop(".spectral_shapes")
    assert {name: facts["sha256"] for name, facts in manifest["files"].items()} == files
    assert sorted(path.name for path in (made / "images/train").iterdir()) == [
        f"{index:06d}.jpg" for index in range(6)
    ]
    assert len(files) == 2 * (6 + 2 + 2) + 3
    assert manifest["parameters"]["radius"] == [5, 9]
    assert tuple(manifest["classes"]) == class_names(SPEC)
    assert os.listdir(made.parent).count("shapes") == 1
    assert not [name for name in os.listdir(made.parent) if "building" in name or "old" in name]


def test_pixels_are_the_drawn_ones(made: Path) -> None:
    for split, index in [("train", 3), ("test", 1)]:
        sample = draw_sample(SPEC, split, index)
        mask = Image.open(made / f"masks/{split}/{index:06d}.png")
        assert mask.mode == "P"
        assert np.array_equal(np.array(mask), sample.labels)
        colours = np.array(palette(SPEC))[sample.labels]
        assert np.array_equal(np.array(mask.convert("RGB")), colours)
        image = np.array(Image.open(made / f"images/{split}/{index:06d}.jpg")).astype(float)
        assert np.abs(image - sample.image).mean() < 4


def test_same_bytes_from_the_same_seed(made: Path, tmp_path: Path) -> None:
    prepare_shapes(tmp_path / "again", SPEC)
    assert contents(tmp_path / "again") == contents(made)


def test_annotations_are_the_visible_parts(tmp_path: Path) -> None:
    spec = ShapesSpec(seed=2, size=12, count=(4, 5), min_visible=0.5)
    prepare_shapes(tmp_path / "shapes", spec)
    coco = COCO(tmp_path / "shapes/annotations/train.json")
    assert coco.getCatIds() == list(range(1, 7))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(class_names(spec)[1:])
    left_out = 0
    for index in range(12):
        sample = draw_sample(spec, "train", index)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=index))
        seen = []
        for number, (label, full) in enumerate(
            zip(sample.object_labels, sample.object_areas, strict=True), start=1
        ):
            visible = sample.owner == number
            if visible.sum() >= 0.5 * full:
                seen.append((label, visible))
            else:
                left_out += 1
        assert len(annotations) == len(seen)
        for annotation, (label, visible) in zip(annotations, seen, strict=True):
            assert annotation["category_id"] == label
            assert annotation["area"] == visible.sum()
            assert annotation["iscrowd"] == 0
            assert np.array_equal(coco.annToMask(annotation).astype(bool), visible)
            box = mask_utils.toBbox(mask_utils.encode(np.asfortranarray(visible.astype(np.uint8))))
            assert annotation["bbox"] == box.tolist()
    assert left_out > 0


@pytest.mark.parametrize("corner", [0, 1])
def test_run_lengths_decode_to_the_mask(corner: int) -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.4
    mask[0, 0] = bool(corner)
    counts = {"size": [5, 7], "counts": run_lengths(mask)}
    decoded = mask_utils.decode(mask_utils.frPyObjects(counts, 5, 7))
    assert np.array_equal(decoded.astype(bool), mask)


def test_a_whole_folder_is_left_alone(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    inode = copy.stat().st_ino
    prepare_shapes(copy, SPEC)
    assert copy.stat().st_ino == inode
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def flip_byte(folder: Path) -> None:
    path = folder / "images/val/000001.jpg"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(folder: Path) -> None:
    os.truncate(folder / "masks/train/000002.png", 20)


def remove_image(folder: Path) -> None:
    (folder / "images/train/000000.jpg").unlink()


def remove_annotations(folder: Path) -> None:
    (folder / "annotations/test.json").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 100)


def empty_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))


def other_version(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))


def add_image(folder: Path) -> None:
    shutil.copy(folder / "images/train/000000.jpg", folder / "images/train/000099.jpg")


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte, truncate, remove_image, remove_annotations, remove_manifest, cut_manifest,
        empty_manifest, other_version, add_image,
    ],
)  # fmt: skip
def test_damage_is_noticed_and_mended(damage: object, copy: Path, made: Path) -> None:
    assert callable(damage)
    damage(copy)
    assert find_fault(copy, SPEC)
    prepare_shapes(copy, SPEC)
    assert find_fault(copy, SPEC) == ""
    assert contents(copy) == contents(made)


def test_a_flipped_byte_needs_the_checksums(copy: Path) -> None:
    flip_byte(copy)
    assert find_fault(copy, SPEC, verify=False) == ""
    assert find_fault(copy, SPEC, verify=True) == "images/val/000001.jpg is damaged"


def test_other_parameters_are_replaced_by_force_alone(copy: Path) -> None:
    assert find_fault(copy, OTHER) == "was made with other parameters"
    before = contents(copy)
    message = (
        r"keeps its parameters \(seed is 1, not 2, size is 6, not 3\), got '/.*/shapes'; .*--force"
    )
    with pytest.raises(DataError, match=message):
        prepare_shapes(copy, OTHER)
    with pytest.raises(DataError, match=message), reading_shapes(copy, OTHER, reader="a run"):
        pass
    other_version(copy)  # the parameters count all the same
    with pytest.raises(DataError, match=message):
        prepare_shapes(copy, OTHER)
    many = ShapesSpec(size=9, image_size=64, radius=(3, 4), noise=(0, 0.5))
    with pytest.raises(
        DataError,
        match=r"\(seed is 1, not 0, size is 6, not 9, image_size is 32, not 64 and 2 more\)",
    ):
        prepare_shapes(copy, many)
    assert contents(copy).keys() == before.keys()
    prepare_shapes(copy, OTHER, force=True)
    assert find_fault(copy, OTHER) == ""
    assert len(list((copy / "images/train").iterdir())) == 3


def read_until_told(out: str, reader: str, ready: Event, done: Event) -> None:
    with reading_shapes(out, SPEC, reader=reader):
        ready.set()
        done.wait()


def test_nobody_replaces_what_runs_read(copy: Path) -> None:
    """Two runs at once on one folder; one ends, the other is killed."""
    context = multiprocessing.get_context("spawn")
    runs, tell = [], {}
    for name in ("/runs/first", "/runs/second"):
        ready, tell[name] = context.Event(), context.Event()
        runs.append(context.Process(target=read_until_told, args=(copy, name, ready, tell[name])))
        runs[-1].start()
        assert ready.wait(60)
    inode = copy.stat().st_ino
    message = "not replaced while they are read .*choose another folder, or wait for {}$"
    with pytest.raises(DataError, match=message.format("/runs/first, /runs/second")):
        prepare_shapes(copy, OTHER, force=True)
    prepare_shapes(copy, SPEC, force=True)  # the same parameters: no work, for nobody's harm
    assert copy.stat().st_ino == inode
    tell["/runs/first"].set()
    runs[0].join(60)
    truncate(copy)
    with pytest.raises(
        DataError, match=r"read \(masks/train/000002.png is damaged\).*/runs/second$"
    ):
        prepare_shapes(copy, SPEC)
    runs[1].kill()
    runs[1].join(60)
    prepare_shapes(copy, OTHER, force=True)
    assert find_fault(copy, OTHER) == ""
    assert sorted(p.name for p in copy.parent.iterdir()) == [".shapes.lock", "shapes"]


def test_a_folder_on_a_disk_without_write_access_is_read_without_a_lock(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with reading_shapes(copy, SPEC, reader="a run") as manifest:
        assert manifest["parameters"]["size"] == 6
        assert [p.name for p in copy.parent.iterdir()] == ["shapes"]


def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path, copy: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "images/train").mkdir(parents=True)
    (theirs / "images/train/000000.jpg").write_bytes(b"precious")
    with pytest.raises(DataError, match="new or empty folder"):
        prepare_shapes(theirs, SPEC)
    assert (theirs / "images/train/000000.jpg").read_bytes() == b"precious"
    truncate(copy)
    (copy / "images/notes.txt").write_text("precious")
    with pytest.raises(DataError, match=r"notes\.txt"):
        prepare_shapes(copy, SPEC)
    assert (copy / "images/notes.txt").read_text() == "precious"
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(DataError, match="new or empty folder"):
        prepare_shapes(file, SPEC)
    with pytest.raises(DataError, match="must lie in a folder"):
        prepare_shapes(file / "below", SPEC)
    assert file.read_text() == "precious"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    prepare_shapes(tmp_path / "empty", SPEC)
    assert find_fault(tmp_path / "empty", SPEC) == ""


def test_a_failed_build_leaves_nothing_and_keeps_the_old(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copy)

    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes_files, "_index_png", full_disk)
    with pytest.raises(OSError, match="No space"):
        prepare_shapes(copy, OTHER, force=True)
    assert contents(copy) == before
    assert [p for p in copy.parent.iterdir() if "building" in p.name] == []


def test_a_killed_build_is_finished_by_the_next(tmp_path: Path, made: Path) -> None:
    out = tmp_path / "shapes"
    code = (
        "import os, signal, sys\n"
        "from fourierkd.data import shapes_folder as s\n"
        "from fourierkd.data.shapes import ShapesSpec\n"
        "s.flush_tree = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"s.prepare_shapes(sys.argv[1], ShapesSpec(**{SPEC.__dict__!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert (tmp_path / ".shapes.building").exists()
    prepare_shapes(out, SPEC)
    assert contents(out) == contents(made)
    assert not (tmp_path / ".shapes.building").exists()


def _prepare(out: str) -> int:
    prepare_shapes(out, SPEC)
    return Path(out).stat().st_ino


def test_two_processes_build_once(tmp_path: Path) -> None:
    out = str(tmp_path / "shapes")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        inodes = pool.map(_prepare, [out] * 6, chunksize=1)
    assert len(set(inodes)) == 1  # built once: a second build would be another folder
    assert find_fault(Path(out), SPEC) == ""


def test_mmsegmentation_reads_images_and_masks(made: Path) -> None:
    from mmcv.transforms import LoadImageFromFile
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import LoadAnnotations

    for split in SPLITS:
        dataset = BaseSegDataset(
            data_root=str(made),
            data_prefix={"img_path": f"images/{split}", "seg_map_path": f"masks/{split}"},
            img_suffix=".jpg",
            seg_map_suffix=".png",
            reduce_zero_label=False,
            metainfo={"classes": class_names(SPEC), "palette": [list(c) for c in palette(SPEC)]},
            pipeline=[LoadImageFromFile(), LoadAnnotations()],
        )
        assert len(dataset) == SPEC.split_size(split)
        item = dataset[1]
        assert item["img"].shape == (32, 32, 3)
        assert np.array_equal(item["gt_seg_map"], draw_sample(SPEC, split, 1).labels)


def test_mmdetection_reads_the_annotations(made: Path) -> None:
    from mmcv.transforms import LoadImageFromFile
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    dataset = CocoDataset(
        data_root=str(made),
        ann_file="annotations/train.json",
        data_prefix={"img": "images/train"},
        metainfo={"classes": class_names(SPEC)[1:]},
        pipeline=[LoadImageFromFile(), LoadAnnotations(with_bbox=True, with_mask=True)],
    )
    assert len(dataset) == 6
    item = dataset[0]
    sample = draw_sample(SPEC, "train", 0)
    assert item["img"].shape == (32, 32, 3)
    labels = [label for label, area in zip(sample.object_labels, sample.object_areas, strict=True)]
    assert item["gt_bboxes_labels"].tolist() == [label - 1 for label in labels]
    masks = item["gt_masks"].masks.astype(bool)
    assert np.array_equal(masks, [sample.owner == k + 1 for k in range(len(labels))])
