"""What lies below a data root: in flow names of folders and files, out flow splits of a data set.

The formats are found by ``find_coco``, ``find_voc``, ``find_masks`` and ``find``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fourierkd.errors import DataError, listed

# What a split is called in names of folders and files.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
IMAGES = ("images", "image", "imgs", "img", "img_dir", "JPEGImages")


@dataclass
class Split:
    """One split.

    Attributes:
        images: how many there are.
        objects: how many boxes; None where there are none to count.
        files: keys of a data set's config, paths relative to the root: ``ann_file`` and
            ``data_prefix``.
        example: an image.
    """

    images: int
    files: dict[str, Any]
    example: Path
    objects: int | None = None


@dataclass
class Found:
    """What lies below a root.

    Attributes:
        root: the folder.
        splits: ``train``, ``val`` and perhaps ``test``.
        classes: names in label order; empty where the format's own are meant.
        palette: a colour a class, or empty.
        suffixes: ``img_suffix`` and ``seg_map_suffix`` of masks.
    """

    root: Path
    format: str
    splits: dict[str, Split]
    classes: tuple[str, ...]
    palette: list[Sequence[int]] = field(default_factory=list)
    suffixes: dict[str, str] = field(default_factory=dict)


def split_of(name: str) -> str | None:
    """The split that a name means by one of its words, such as ``instances_train2017``."""
    words = re.findall("[a-z]+", name.lower())
    found = [split for split, names in SPLITS.items() if set(words) & set(names)]
    return found[0] if len(found) == 1 else None


def folders_of(parent: Path, names: Sequence[str]) -> list[Path]:
    """The folders in ``parent`` of one of the names, in any case."""
    known = {name.lower() for name in names}
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and p.name.lower() in known)


def only(what: str, found: Sequence[Path], *, missing: str, several: str) -> Path:
    """The only one.

    Raises:
        DataError: there is none, or more.
    """
    if not found:
        raise DataError(f"there must be {what}", value="none", fix=missing)
    if len(found) > 1:
        raise DataError(
            f"there must be one of {what}", value=listed([str(p) for p in found]), fix=several
        )
    return found[0]
