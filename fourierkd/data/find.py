"""Data sets below a folder: in flow a root and a format, out flow splits, classes and suffixes.

Layouts that are known are looked for by the names of folders and files; what is missing or could be
meant in two ways is an error with the command or option that helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fourierkd.data.cityscapes import SOURCE, target_of
from fourierkd.data.find_coco import find_coco
from fourierkd.data.find_masks import find_masks
from fourierkd.data.find_voc import convert_voc
from fourierkd.data.found import Found, Split
from fourierkd.errors import DataError

DETECTION, SEGMENTATION = "detection", "segmentation"
FORMATS = {
    "coco": DETECTION,
    "voc": DETECTION,
    "masks": SEGMENTATION,
    "cityscapes": SEGMENTATION,
}


def find_data(
    root: Path, kind: str, *, folder: Path, ann_file: str, classes: Sequence[str] | None = None
) -> Found:
    """Look for a data set of a format below ``root``.

    Args:
        root: the folder.
        kind: of FORMATS.
        folder: where annotations that have to be converted are written to.
        ann_file: what a data set's config calls a file in it, with ``{split}``.
        classes: names in label order, for masks.

    Raises:
        DataError: a split, its images or the names of classes are missing, or could be meant in two
            ways.
    """
    if not root.is_dir():
        raise DataError("--data is a folder", value=str(root), fix="check the path")
    if classes and kind != "masks":
        raise DataError(
            f"--classes are for masks, and {kind} names its own",
            value=" ".join(classes),
            fix="leave it out",
        )
    if kind == "coco":
        return find_coco(root)
    if kind == "voc":
        return convert_voc(root, folder, ann_file)
    return _find_cityscapes(root) if kind == "cityscapes" else find_masks(root, classes)


def _find_cityscapes(root: Path) -> Found:
    splits = {}
    for split in ("train", "val"):
        images = sorted((root / f"leftImg8bit/{split}").glob("*/*_leftImg8bit.png"))
        if not images:
            raise DataError(
                "Cityscapes' images lie in leftImg8bit/<split>/<city>/*_leftImg8bit.png",
                value=str(root / f"leftImg8bit/{split}"),
                fix="give the folder that holds leftImg8bit and gtFine",
            )
        for image in images:
            name = image.name.removesuffix("_leftImg8bit.png")
            mask = target_of(root / f"gtFine/{split}" / image.parent.name / f"{name}{SOURCE}")
            if not mask.is_file():
                raise DataError(
                    "Cityscapes is trained on its masks of train ids",
                    value=str(mask),
                    fix=f"make them: fourierkd data cityscapes {root}",
                )
        prefix = {"img_path": f"leftImg8bit/{split}", "seg_map_path": f"gtFine/{split}"}
        splits[split] = Split(len(images), {"data_prefix": prefix}, images[0])
    return Found(root, "cityscapes", splits, ())
