"""COCO's JSON below a data root: in flows the root, out flow files of its splits and classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fourierkd.data.found import IMAGES, SPLITS, Found, Split, folders_of, only, split_of
from fourierkd.errors import DataError, listed


def find_coco(root: Path) -> Found:
    """The annotations of train, val and perhaps test, by the names of their files or folders.

    Raises:
        DataError: those of a split or their images are missing, or could be meant in two ways;
            splits have other categories.
    """
    splits, categories = {}, {}
    for split in SPLITS:
        files = [p for p in _json_files(root) if _means(p, root) == split]
        instances = [p for p in files if p.name.startswith("instances")]
        if not files and split == "test":
            continue
        path = only(
            f"COCO annotations of {split} below {root}",
            instances or files,
            missing=f"name the file by its split, as {root}/annotations/{split}.json",
            several="move all but one away",
        )
        splits[split], categories[split] = _coco_split(root, split, path)
    first = categories["train"]
    for split, names in categories.items():
        if names != first:
            raise DataError(
                f"the categories of {split} must be those of train, in their order",
                value=listed(names),
                fix=f"bring them into the order of train: {listed(first)}",
            )
    return Found(root, "coco", splits, tuple(first))


def _json_files(root: Path) -> list[Path]:
    patterns = ("*.json", "*/*.json")
    return sorted(p for pattern in patterns for p in root.glob(pattern) if p.is_file())


def _means(path: Path, root: Path) -> str | None:
    """The split of a JSON file by its name, else by its folder's."""
    return split_of(path.stem) or (split_of(path.parent.name) if path.parent != root else None)


def _coco_split(root: Path, split: str, path: Path) -> tuple[Split, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images, categories = content["images"], content["categories"]
        boxes = len(content["annotations"])
        names = [str(image["file_name"]) for image in (images[0], images[-1])]
        classes = [str(category["name"]) for category in categories]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"COCO annotations have images, annotations and categories ({type(error).__name__}: "
            f"{error})",
            value=str(path),
            fix="correct the file, or move it away",
        ) from error
    folders = list(_image_folders(root, split, path))
    for folder in folders:
        if all((folder / name).is_file() for name in names):
            prefix = "" if folder == root else f"{folder.relative_to(root)}/"
            files = {"ann_file": str(path.relative_to(root)), "data_prefix": {"img": prefix}}
            return Split(len(images), files, folder / names[0], boxes), classes
    raise DataError(
        f"the images of {path} must lie below {root}",
        value=names[0],
        fix=f"looked into {listed([str(f.relative_to(root)) for f in folders], 8)}; put them into "
        f"{root / split}",
    )


def _image_folders(root: Path, split: str, path: Path) -> Iterator[Path]:
    """Where the images of an annotation file may be, the most special ones first."""
    own = [path.stem.removeprefix("instances_"), *SPLITS[split]]
    general = [*folders_of(root, IMAGES)]
    for parent in (*general, root):
        yield from folders_of(parent, own)
    for parent in folders_of(root, own):
        yield from folders_of(parent, IMAGES)
    yield from dict.fromkeys([path.parent, *general, root])
