"""PASCAL-VOC below a data root: in flows the root, out flow COCO's JSON of its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fourierkd.data.found import IMAGES, SPLITS, Found, Split, folders_of, only
from fourierkd.data.voc import voc_to_coco
from fourierkd.errors import DataError


@dataclass(frozen=True)
class Voc:
    """Folders of PASCAL-VOC: XML files, images and a list of names for each split."""

    annotations: Path
    images: Path
    names: Mapping[str, Path]


def find_voc(root: Path) -> Voc:
    """The one folder with ``Annotations`` at or below ``root``, up to two folders deep.

    Raises:
        DataError: there is none or more than one, or it lacks images or lists of train and val.
    """
    pattern = ("Annotations", "*/Annotations", "*/*/Annotations")
    by_hand = (
        "convert each split: fourierkd data voc2coco --annotations XML --images IMG --out "
        f"{root}/train.json [--names LIST], then give --format coco"
    )
    annotations = only(
        f"VOC's Annotations below {root}",
        sorted(p for each in pattern for p in root.glob(each) if p.is_dir()),
        missing=by_hand,
        several="give the folder of one of them as --data",
    )
    home = annotations.parent
    images = only(
        f"VOC's images in {home}", folders_of(home, IMAGES), missing=by_hand, several=by_hand
    )
    names = {split: home / f"ImageSets/Main/{split}.txt" for split in SPLITS}
    for split in ("train", "val"):
        if not names[split].is_file():
            raise DataError("VOC has a list of each split", value=str(names[split]), fix=by_hand)
    return Voc(annotations, images, {s: path for s, path in names.items() if path.is_file()})


def convert_voc(root: Path, folder: Path, ann_file: str) -> Found:
    """Write ``<split>.json`` of every split to ``folder``, all with the same classes.

    Args:
        root: as ``find_voc``.
        folder: an existing one.
        ann_file: what a data set's config calls a file in it, with ``{split}``.

    Raises:
        DataError: as ``find_voc`` and ``voc_to_coco``.
    """
    voc = find_voc(root)

    def convert(split: str, classes: list[str] | None) -> dict[str, list[dict[str, str]]]:
        return voc_to_coco(
            voc.annotations,
            voc.images,
            folder / f"{split}.json",
            classes=classes,
            names_file=voc.names[split],
        )

    names = {c["name"] for split in voc.names for c in convert(split, None)["categories"]}
    classes = sorted(names)
    splits = {}
    for split in voc.names:
        coco = convert(split, classes)
        if not coco["images"]:
            raise DataError("a split has images", value=str(voc.names[split]), fix="fill the list")
        files = {
            "ann_file": ann_file.format(split=split),
            "data_prefix": {"img": f"{voc.images.relative_to(root)}/"},
        }
        example = voc.images / coco["images"][0]["file_name"]
        splits[split] = Split(len(coco["images"]), files, example, len(coco["annotations"]))
    return Found(root, "voc", splits, tuple(classes))
