"""PASCAL-VOC to COCO: boxes keep their pixels, and every mistake names its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fourierkd.data.voc import voc_left_out, voc_to_coco
from fourierkd.errors import DataError

GOOD = """<annotation>
  <folder>JPEGImages</folder>
  <filename>one.jpg</filename>
  <size>
    <width>40</width>
    <height>30</height>
    <depth>3</depth>
  </size>
  <object>
    <name>RBC</name>
    <difficult>0</difficult>
    <bndbox>
      <xmin>1</xmin>
      <ymin>1</ymin>
      <xmax>40</xmax>
      <ymax>30</ymax>
    </bndbox>
  </object>
  <object>
    <name>Platelets</name>
    <difficult>1</difficult>
    <bndbox>
      <xmin>5</xmin>
      <ymin>7</ymin>
      <xmax>5</xmax>
      <ymax>10.5</ymax>
    </bndbox>
  </object>
</annotation>
"""


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    for name in ("one", "two"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / f"JPEGImages/{name}.jpg")
        text = GOOD.replace("one.jpg", f"{name}.jpg")
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
    return tmp_path


def convert(voc: Path, **options: object) -> dict:
    out = voc / "out" / "train.json"
    result = voc_to_coco(voc / "Annotations", voc / "JPEGImages", out, **options)  # type: ignore[arg-type]
    assert json.loads(out.read_text()) == result
    return result


def test_boxes_ids_and_classes(voc: Path) -> None:
    coco = convert(voc)
    assert coco["categories"] == [{"id": 1, "name": "Platelets"}, {"id": 2, "name": "RBC"}]
    assert coco["images"] == [
        {"id": 1, "file_name": "one.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "two.jpg", "width": 40, "height": 30},
    ]
    whole, thin = coco["annotations"][2:]
    # VOC counts pixels from 1 and includes both ends: 1..40 are all 40 columns, 5..5 is one
    assert whole["bbox"] == [0, 0, 40, 30]
    assert whole["area"] == 1200
    assert thin["bbox"] == [4, 6, 1, 4.5]
    assert (whole["category_id"], thin["category_id"]) == (2, 1)
    assert (whole["iscrowd"], thin["iscrowd"]) == (0, 1)
    assert [entry["id"] for entry in coco["annotations"]] == [1, 2, 3, 4]
    assert {entry["image_id"] for entry in coco["annotations"]} == {1, 2}
    assert COCO(voc / "out" / "train.json").getImgIds() == [1, 2]


def test_zero_based_boxes_end_before_their_maximum(voc: Path) -> None:
    for path in (voc / "Annotations").iterdir():
        text = path.read_text().replace("<xmin>1<", "<xmin>0<").replace("<xmax>5<", "<xmax>6<")
        path.write_text(text)
    coco = convert(voc, zero_based=True)
    assert coco["annotations"][0]["bbox"] == [0, 1, 40, 29]
    assert coco["annotations"][1]["bbox"] == [5, 7, 1, 3.5]


def test_given_classes_set_the_order(voc: Path) -> None:
    coco = convert(voc, classes=["WBC", "RBC", "Platelets"])
    assert [category["name"] for category in coco["categories"]] == ["WBC", "RBC", "Platelets"]
    assert coco["annotations"][0]["category_id"] == 2


def test_a_list_of_names_selects(voc: Path) -> None:
    (voc / "train.txt").write_text("two  1\n\n")
    assert [i["file_name"] for i in convert(voc, names_file=voc / "train.txt")["images"]] == [
        "two.jpg"
    ]
    (voc / "train.txt").write_text("two\nthree\n")
    with pytest.raises(DataError, match=r"train\.txt:2: .*three\.xml"):
        convert(voc, names_file=voc / "train.txt")
    with pytest.raises(DataError, match=r"list of names must exist"):
        convert(voc, names_file=voc / "none.txt")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("</size>", "</siz>", 8, "well-formed XML .*mismatched tag"),
        ("</annotation>\n", "", 29, "well-formed XML"),
        ("<annotation>", "<annotation>&", 1, "well-formed XML"),
        ("annotation>", "labels>", 1, "root must be <annotation>"),
        ("  <filename>one.jpg</filename>\n", "", 1, "<annotation> must hold one <filename>, got 0"),
        ("<filename>one.jpg", "<filename>none.jpg", 3, r"images' folder, got '.*none\.jpg'"),
        ("    <width>40</width>\n", "", 4, "<size> must hold one <width>"),
        ("<width>40", "<width>41", 4, "image's, 40x30, got '41x30'"),
        ("<width>40", "<width>wide", 5, "<width> must be a number, got 'wide'"),
        ("    <name>RBC</name>\n", "", 9, "<object> must hold one <name>"),
        ("<name>RBC<", "<name> <", 9, "<name> must not be empty"),
        ("<name>RBC<", "<name>RBCs<", 9, "got 'RBCs'; did you mean 'RBC'"),
        ("<xmin>1<", "<xmin>nan<", 13, "<xmin> must be a number, got 'nan'"),
        ("      <ymax>30</ymax>\n", "", 12, "<bndbox> must hold one <ymax>"),
        ("<xmax>5<", "<xmax>4<", 22, r"width and height, got '\(5, 7, 4, 10.5\)'"),
        ("<xmax>40<", "<xmax>41<", 12, r"must lie in the image, 1 to 40 and 1 to 30"),
        ("<xmin>1<", "<xmin>0<", 12, "must lie in the image.*zero_based"),
        ("<ymin>1<", "<ymin>-3<", 12, "must lie in the image"),
    ],
)
def test_a_mistake_names_file_and_line(
    voc: Path, old: str, new: str, line: int, message: str
) -> None:
    path = voc / "Annotations/one.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        convert(voc, classes=["RBC", "Platelets"])
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert not (voc / "out").exists()  # no half of a result


def test_other_mistakes(voc: Path) -> None:
    with pytest.raises(DataError, match="annotations' folder must exist"):
        voc_to_coco(voc / "none", voc, voc / "out.json")
    with pytest.raises(DataError, match="there must be XML files"):
        voc_to_coco(voc, voc, voc / "out.json")
    with pytest.raises(DataError, match="different names"):
        convert(voc, classes=["RBC", "RBC"])
    (voc / "Annotations/two.xml").write_text(GOOD)
    with pytest.raises(DataError, match=r"two\.xml:1: an image has one annotation file.*one\.xml"):
        convert(voc)
    (voc / "JPEGImages/one.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"readable.*one\.jpg"):
        convert(voc)


def turned(voc: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(voc / "JPEGImages/one.jpg", exif=exif)


@pytest.mark.parametrize(("orientation", "size"), [(3, (40, 30)), (6, (40, 30))])
def test_a_turned_image_is_refused(voc: Path, orientation: int, size: tuple[int, int]) -> None:
    turned(voc, orientation, size)
    with pytest.raises(DataError, match=f"got 'orientation {orientation} of .*one.jpg") as caught:
        convert(voc)
    assert "<size>" not in str(caught.value)  # which may be right


def test_boxes_of_an_image_as_it_is_seen_are_taken(voc: Path) -> None:
    turned(voc, 6, (30, 40))
    assert convert(voc)["images"][0] == {
        "id": 1, "file_name": "one.jpg", "width": 40, "height": 30
    }  # fmt: skip
    loaded = cv2.imread(str(voc / "JPEGImages/one.jpg"))
    assert loaded.shape[:2] == (30, 40)


def test_what_is_left_out_is_counted(voc: Path) -> None:
    folders = (voc / "Annotations", voc / "JPEGImages")
    assert list(voc_left_out(*folders, convert(voc)).values()) == [[], []]
    (voc / "Annotations/A.XML").write_text(GOOD)
    (voc / "Annotations/more").mkdir()
    (voc / "Annotations/more/b.xml").write_text(GOOD)
    for name in ("three.jpg", "four.JPG", "five.jpg", "six.webp"):
        Image.new("RGB", (4, 4)).save(voc / "JPEGImages" / name)
    assert list(voc_left_out(*folders, convert(voc)).values()) == [
        ["1 *.XML (A.XML)", "1 in sub-folders (more/b.xml)"],
        ["2 *.jpg (five.jpg)", "1 *.JPG (four.JPG)", "1 *.webp (six.webp)"],
    ]
