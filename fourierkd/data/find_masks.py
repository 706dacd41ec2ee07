"""Folders of images and index masks: in flows a data root, out flow splits, suffixes, classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourierkd.data.findings import sample
from fourierkd.data.found import IMAGES, SPLITS, Found, Split, folders_of
from fourierkd.data.images import read_image
from fourierkd.data.label_maps import read_colours
from fourierkd.data.left_out import image_suffixes
from fourierkd.errors import DataError, listed

MASKS = ("masks", "mask", "annotations", "annotation", "ann", "ann_dir", "labels", "label")
NAMES = ("classes.txt", "classes.csv", "classes.json")
IGNORED = 255
OPENED = 30  # masks, to see their values


def find_masks(root: Path, classes: Sequence[str] | None) -> Found:
    """Folders of images and of masks of equal names, for train, val and perhaps test.

    Args:
        root: the folder.
        classes: names in label order; None: a file of NAMES in the root, or our own manifest.

    Raises:
        DataError: a split is missing, could be meant in two ways or lacks masks; suffixes differ;
            nobody names the classes, or not all of them.
    """
    splits, kinds = {}, Counter[tuple[str, str]]()
    for split in SPLITS:
        pairs = list(dict.fromkeys(_mask_folders(root, split)))
        if not pairs and split == "test":
            continue
        if len(pairs) != 1:
            both = [f"{a.relative_to(root)} with {b.relative_to(root)}" for a, b in pairs]
            put = (
                f"put them into {root}/images/{split} and {root}/masks/{split} (`fourierkd data "
                f"masks --images IMG --masks MASKS --out {root} --split {split}` does)"
            )
            raise DataError(
                f"there must be one folder of images and one of masks for {split} below {root}",
                value=", ".join(both) or "none",
                fix="move all but one pair away" if both else put,
            )
        splits[split], kind = _mask_split(root, *pairs[0])
        kinds[kind] += 1
    if len(kinds) > 1:
        raise DataError(
            "all splits must have images of one suffix, and masks too",
            value=sorted({f"*{a} with *{b}" for a, b in kinds}),
            fix="convert or rename them",
        )
    ((img_suffix, seg_map_suffix),) = kinds
    names, palette = _mask_classes(root, splits, seg_map_suffix, classes)
    suffixes = {"img_suffix": img_suffix, "seg_map_suffix": seg_map_suffix}
    return Found(root, "masks", splits, names, palette, suffixes)


def _mask_folders(root: Path, split: str) -> Iterator[tuple[Path, Path]]:
    """Pairs of folders: images/train with masks/train, train/images with train/masks, or train with
    trainannot."""
    names = SPLITS[split]
    for images in folders_of(root, IMAGES):
        for masks in folders_of(root, MASKS):
            for own in folders_of(images, names):
                yield from ((own, theirs) for theirs in folders_of(masks, [own.name]))
    for own in folders_of(root, names):
        for images in folders_of(own, IMAGES):
            yield from ((images, masks) for masks in folders_of(own, MASKS))
        endings = [f"{own.name}{mark}{kind}" for mark in ("", "_") for kind in ("annot", *MASKS)]
        yield from ((own, masks) for masks in folders_of(root, endings))


def _mask_split(root: Path, images: Path, masks: Path) -> tuple[Split, tuple[str, str]]:
    """A split and its suffixes; every image has a mask."""
    pictures = sorted(p for p in images.iterdir() if p.suffix.lower() in image_suffixes())
    suffixes = Counter(p.suffix for p in pictures)
    if len(suffixes) != 1:
        raise DataError(
            f"the images of a split have one suffix, as MMSegmentation reads them by it; {images}",
            value=dict(suffixes) or "no images",
            fix="convert or rename them",
        )
    (suffix,) = suffixes
    there = {p.name for p in masks.iterdir()}
    # after the image's name, an ending such as _L.png
    endings = Counter(
        name.removeprefix(pictures[0].stem) for name in there if name.startswith(pictures[0].stem)
    )
    wanted = [p.stem for p in pictures]
    whole = [e for e in endings if all(f"{stem}{e}" in there for stem in wanted)]
    if len(whole) != 1:
        ending = endings.most_common(1)[0][0] if endings else ".png"
        lacking = [stem for stem in wanted if f"{stem}{ending}" not in there]
        raise DataError(
            f"every image of {images} has one mask in {masks}",
            value=f"{len(lacking)} without" if lacking else sorted(whole),
            fix=f"add {lacking[0]}{ending}" if lacking else "move all masks but one kind away",
        )
    prefix = {"img_path": images, "seg_map_path": masks}
    files = {"data_prefix": {key: str(path.relative_to(root)) for key, path in prefix.items()}}
    return Split(len(pictures), files, pictures[0]), (suffix, whole[0])


def _mask_classes(
    root: Path, splits: Mapping[str, Split], suffix: str, given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[Sequence[int]]]:
    """Names in label order and colours, held against what a sample of the masks holds."""
    folder = root / splits["train"].files["data_prefix"]["seg_map_path"]
    masks = sorted(p for p in folder.iterdir() if p.name.endswith(suffix))
    opened = [masks[i] for i in sample(len(masks), OPENED)]
    values = sorted({int(v) for path in opened for v in np.unique(_labels(path))} - {IGNORED})
    names, palette, source = _named(root, given)
    seen = f"{len(opened)} masks hold {listed([str(v) for v in values], 30)}"
    if not names:
        raise DataError(
            f"index masks do not name their classes; {seen}",
            value="no names",
            fix=f"give them in label order, --classes NAME NAME ..., or as {root}/classes.txt",
        )
    if values and values[-1] >= len(names):
        raise DataError(
            f"labels of masks are 0 to {len(names) - 1}, for the {len(names)} names of {source}, "
            f"or {IGNORED}; {seen}",
            value=values[-1],
            fix="name all classes, or map the others to 255: fourierkd data masks --remap",
        )
    return names, palette


def _named(
    root: Path, given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[Sequence[int]], str]:
    """Names, colours and where they come from: the option, a file of names, our own manifest."""
    if given:
        return tuple(given), [], "--classes"
    manifest = root / "manifest.json"
    for path in [*(root / name for name in NAMES if (root / name).is_file()), manifest]:
        if path.suffix == ".txt":
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
            return tuple(line for line in lines if line), [], path.name
        if path != manifest:
            colours = read_colours(path)
            return tuple(colours), list(colours.values()), path.name
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["classes"])
        return names, [list(map(int, colour)) for colour in content["palette"]], manifest.name
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is another's
        return (), [], ""


def _labels(path: Path) -> Any:
    picture = read_image(path)
    if picture.mode not in ("L", "P"):
        raise DataError(
            f"an index mask has one channel of 8 bits, not mode {picture.mode}",
            value=str(path),
            fix="convert them: fourierkd data masks --help (--colours for colour masks)",
        )
    return np.asarray(picture)
