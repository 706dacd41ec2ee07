"""Mask folders to the index-PNG layout: right labels, or an error that names file and pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.data import masks as masks_module
from fourierkd.data.masks import convert_masks
from fourierkd.errors import DataError

COLOURS = {"Sky": (128, 128, 128), "Void": (0, 0, 0), "Tree": (128, 128, 0)}
LABELS = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)  # Void ignored: Sky 0, Tree 1
RGB = np.zeros((2, 3, 3), np.uint8)
RGB[LABELS == 0], RGB[LABELS == 1] = COLOURS["Sky"], COLOURS["Tree"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for kind in ("img", "colour", "index"):
        (tmp_path / kind).mkdir()
    for name in ("a", "b"):
        picture = Image.fromarray(np.full((2, 3, 3), 7, np.uint8))
        picture.save(tmp_path / f"img/{name}.jpg")
        Image.fromarray(RGB).save(tmp_path / f"colour/{name}_L.png")
        Image.fromarray(np.where(LABELS == 255, 11, LABELS)).save(tmp_path / f"index/{name}.png")
    (tmp_path / "img/Thumbs.db").write_bytes(b"no image")
    return tmp_path


def colour(source: Path, **options: object) -> dict:
    chosen = {"split": "train", "colours": COLOURS, "ignore": ["Void"], "mask_ending": "_L"}
    return convert_masks(source / "img", source / "colour", source / "out", **{**chosen, **options})


def written(source: Path, name: str = "a") -> Image.Image:
    return Image.open(source / f"out/masks/train/{name}.png")


def test_colour_masks_become_labels(source: Path) -> None:
    done = colour(source)
    mask = written(source)
    assert mask.mode == "P"
    assert np.array_equal(np.array(mask), LABELS)
    back = np.array(mask.convert("RGB"))
    assert np.array_equal(back[LABELS != 255], RGB[LABELS != 255])
    assert done == {
        "images": 2,
        "img_suffix": ".jpg",
        "classes": ["Sky", "Tree"],
        "palette": [(128, 128, 128), (128, 128, 0)],
        "pixels": {0: 4, 1: 6, 255: 2},
        "left_out": {f"images in {source}/img": [], f"masks in {source}/colour": []},
    }
    copied, original = source / "out/images/train/b.jpg", source / "img/b.jpg"
    assert copied.read_bytes() == original.read_bytes()
    assert sorted(p.name for p in (source / "out").iterdir()) == ["images", "masks"]
    assert len(list((source / "out/images/train").iterdir())) == 2


def test_palette_images_are_read_by_their_colours(source: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(RGB).quantize(8).save(source / f"colour/{name}_L.png")
    colour(source)
    assert np.array_equal(np.array(written(source)), LABELS)


def test_index_masks_are_remapped_or_kept(source: Path) -> None:
    convert_masks(
        source / "img", source / "index", source / "out", split="train",
        remap={0: 5, 1: 0, 11: 255},
    )  # fmt: skip
    expected = np.array([[5, 0, 255], [0, 0, 5]])
    assert np.array_equal(np.array(written(source)), expected)
    convert_masks(source / "img", source / "index", source / "same", split="val")
    kept = np.array(Image.open(source / "same/masks/val/b.png"))
    assert np.array_equal(kept, np.array([[0, 1, 11], [1, 1, 0]]))


def test_sixteen_bit_indices(source: Path) -> None:
    deep = np.array([[0, 1000, 1000], [0, 0, 0]], np.uint16)
    for name in ("a", "b"):
        Image.fromarray(deep).save(source / f"index/{name}.png")
    arguments = (source / "img", source / "index", source / "out")
    with pytest.raises(DataError, match=r"x=1, y=0 and 2 times.*got 'index 1000'"):
        convert_masks(*arguments, split="train")
    convert_masks(*arguments, split="train", remap={0: 3, 1000: 4})
    assert np.array_equal(np.array(written(source)), np.where(deep == 1000, 4, 3))


def test_mmsegmentation_reads_the_result(source: Path) -> None:
    from mmcv.transforms import LoadImageFromFile
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import LoadAnnotations

    done = colour(source)
    dataset = BaseSegDataset(
        data_root=str(source / "out"),
        data_prefix={"img_path": "images/train", "seg_map_path": "masks/train"},
        img_suffix=done["img_suffix"],
        seg_map_suffix=".png",
        reduce_zero_label=False,
        metainfo={"classes": done["classes"], "palette": done["palette"]},
        pipeline=[LoadImageFromFile(), LoadAnnotations()],
    )
    assert len(dataset) == 2
    assert np.array_equal(dataset[0]["gt_seg_map"], LABELS)


def test_an_unknown_colour_names_file_place_and_count(source: Path) -> None:
    pixels = RGB.copy()
    pixels[0, 2] = pixels[1, 1] = (9, 8, 7)
    pixels[1, 2] = (1, 1, 1)
    Image.fromarray(pixels).save(source / "colour/b_L.png")
    with pytest.raises(DataError) as caught:
        colour(source)
    message = str(caught.value)
    assert message.startswith(str(source / "colour/b_L.png"))
    assert "x=2, y=0 and 2 times" in message
    assert "nor are 1 other values" in message
    assert "colour (9, 8, 7)" in message
    assert list((source / "out").iterdir()) == []  # nothing half done


def test_an_index_outside_the_map_names_file_place_and_count(source: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: .*x=2, y=0 and 1 times.*got 'index 11'"):
        convert_masks(
            source / "img", source / "index", source / "out", split="train", remap={0: 0, 1: 1}
        )


def test_pairs_must_match(source: Path) -> None:
    (source / "colour/b_L.png").unlink()
    with pytest.raises(DataError, match=r"no mask in .*b\.jpg.*add b_L"):
        colour(source)
    (source / "img/b.jpg").unlink()
    Image.fromarray(RGB).save(source / "colour/c_L.png")
    with pytest.raises(DataError, match=r"no image in .*c_L\.png"):
        colour(source)
    with pytest.raises(DataError, match=r"name must end in '_M'"):
        colour(source, mask_ending="_M")
    with pytest.raises(DataError, match="folder of images must exist"):
        convert_masks(source / "none", source / "index", source / "out", split="train")


def test_one_suffix_and_one_file_per_name(source: Path) -> None:
    Image.fromarray(RGB).save(source / "img/c.png")
    Image.fromarray(RGB).save(source / "colour/c_L.png")
    with pytest.raises(DataError, match=r"one suffix.*c\.png"):
        colour(source)
    Image.fromarray(RGB).save(source / "img/a.png")
    with pytest.raises(DataError, match=r"there once"):
        colour(source)


def test_sizes_must_match(source: Path) -> None:
    Image.fromarray(RGB[:1]).save(source / "colour/b_L.png")
    with pytest.raises(DataError, match=r"3x2 of .*b\.jpg, got '3x1 of .*b_L\.png'"):
        colour(source)


def test_targets_with_files_are_kept(source: Path) -> None:
    colour(source)
    with pytest.raises(DataError, match="new or empty folder"):
        colour(source)
    colour(source, split="val")
    assert (source / "out/images/val/a.jpg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remap": {0: 1}}, "a colour map or an index map"),
        ({"split": "a/b"}, "plain folder name"),
        ({"split": ".."}, "plain folder name"),
        ({"ignore": ["Viod"]}, "did you mean 'Void'"),
        ({"colours": None}, "in the colour map, got 'Void'"),
        ({"colours": None, "ignore": []}, "one channel .*colour map"),
    ],
)
def test_wrong_options(source: Path, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        colour(source, **options)


def test_a_damaged_image_and_a_full_disk_leave_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "img/b.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"readable.*b\.jpg"):
        colour(source)
    assert list((source / "out").iterdir()) == []

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(masks_module, "_save", full_disk)
    with pytest.raises(OSError, match="No space"):
        colour(source)
    assert list((source / "out").iterdir()) == []


def test_a_turned_image_is_refused_unless_its_mask_is_turned_too(source: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(source / "img/b.jpg", exif=exif)
    with pytest.raises(DataError, match=r"EXIF orientation.*got 'orientation 3 of .*b\.jpg'"):
        colour(source)
    exif[0x0112] = 6  # the file holds 2x3, which is seen as 3x2, as the mask is
    Image.fromarray(np.zeros((3, 2, 3), np.uint8)).save(source / "img/b.jpg", exif=exif)
    assert colour(source)["images"] == 2


def test_what_is_left_out_is_counted(source: Path) -> None:
    for name in ("c.webp", "d.WEBP", "more/e.jpg", "more/f.png"):
        (source / "img" / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RGB).save(source / "img" / name)
    assert colour(source)["left_out"][f"images in {source}/img"] == [
        "1 *.webp (c.webp)",
        "1 *.WEBP (d.WEBP)",
        "2 in sub-folders (more/e.jpg)",
    ]
