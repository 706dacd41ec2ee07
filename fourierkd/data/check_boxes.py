"""COCO annotations: in flows a data set with boxes, out flow findings about files, names, boxes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fourierkd.data.findings import Checked, Data, sample
from fourierkd.data.images import read_image
from fourierkd.errors import DataError, near

LISTS = ("images", "annotations", "categories")
SLACK = 1.0  # pixels: COCO's own boxes are rounded


def check_boxes(data: Data, checked: Checked, images: int) -> None:
    """Read the annotations, look for every image, decode ``images`` of them."""
    content = _read(data, checked)
    if content is None:
        return
    by_id = {image["id"]: image for image in content["images"]}
    checked.images = len(content["images"])
    if len(by_id) < checked.images:
        checked.add("an image id must be given once", [checked.images - len(by_id)])
    _check_names(content, data, checked)
    _check_annotations(content, by_id, checked)
    _check_images(content["images"], data, checked, images)


def _read(data: Data, checked: Checked) -> dict[str, Any] | None:
    path = data.path(str(data.ann_file))
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        checked.add(f"annotations must be readable ({error.strerror})", [path], fix="see data_root")
        return None
    except ValueError as error:
        checked.add(f"annotations must be JSON ({error})", [path], fix="fetch the file again")
        return None
    lists = content if isinstance(content, dict) else {}
    missing = [key for key in LISTS if not isinstance(lists.get(key), list)]
    if missing:
        checked.add(f"COCO annotations have lists {', '.join(LISTS)}", missing, fix=str(path))
        return None
    needed = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    broken = [
        f"{key}[{i}] has no {field}"
        for key, fields in needed.items()
        for i, entry in enumerate(content[key])
        for field in fields
        if not isinstance(entry, dict) or field not in entry
    ]
    checked.add("an entry must be whole", broken, fix=str(path))
    return None if broken else content


def _check_names(content: dict[str, Any], data: Data, checked: Checked) -> None:
    names = [category["name"] for category in content["categories"]]
    classes = list(data.classes or names)
    for name in classes:
        if name not in names:
            checked.add(
                "a class of the config must be a category of the annotations",
                [name],
                fix=f"{near(name, names)} (set metainfo=dict(classes=...))",
            )
    extra = [name for name in names if name not in classes]
    checked.add("categories that the config leaves out", extra, fault=False)
    used = {annotation["category_id"] for annotation in content["annotations"]}
    ids = {category["name"]: category["id"] for category in content["categories"]}
    empty = [name for name in classes if name in ids and ids[name] not in used]
    checked.add("classes without a box", empty, fault=False)


def _check_annotations(
    content: dict[str, Any], by_id: dict[Any, dict[str, Any]], checked: Checked
) -> None:
    categories = {category["id"] for category in content["categories"]}
    every = content["annotations"]
    checked.add(
        "an annotation must belong to an image",
        [f"image_id {a['image_id']}" for a in every if a["image_id"] not in by_id],
    )
    checked.add(
        "an annotation must have a known category",
        [f"category_id {a['category_id']}" for a in every if a["category_id"] not in categories],
    )
    malformed = [a for a in every if not _is_box(a["bbox"])]
    checked.add(
        "a bbox must be four finite numbers (x, y, width, height)",
        [f"{a['bbox']} of image {a['image_id']}" for a in malformed],
    )
    known = [a for a in every if _is_box(a["bbox"]) and a["image_id"] in by_id]
    boxes = np.array([a["bbox"] for a in known], float).reshape(-1, 4)
    sizes = np.array(
        [[by_id[a["image_id"]][key] for key in ("width", "height")] for a in known], float
    ).reshape(-1, 2)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = ((low < -SLACK) | (high > sizes + SLACK)).any(1)
    flat = (boxes[:, 2:] < 1).any(1)
    places = [
        f"{a['bbox']} in {by_id[a['image_id']]['file_name']} "
        f"({by_id[a['image_id']]['width']}x{by_id[a['image_id']]['height']})"
        for a in known
    ]
    checked.add("a box must lie in its image", [places[i] for i in np.flatnonzero(outside)])
    checked.add(
        "boxes below one pixel, which MMDetection leaves out",
        [places[i] for i in np.flatnonzero(flat)],
        fault=False,
    )
    annotated = {a["image_id"] for a in every}
    bare = [image["file_name"] for i, image in by_id.items() if i not in annotated]
    checked.add("images without a box", bare, fault=False)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, (int, float)) and np.isfinite(v) for v in box)
    )


def _check_images(entries: list[dict[str, Any]], data: Data, checked: Checked, images: int) -> None:
    folder = data.path(data.prefix.get("img", data.prefix.get("img_path", "")))
    there = [entry for entry in entries if (folder / entry["file_name"]).is_file()]
    missing = [entry for entry in entries if not (folder / entry["file_name"]).is_file()]
    checked.add(
        "an image of the annotations must exist",
        [folder / entry["file_name"] for entry in missing],
        fix="see data_root and data_prefix",
    )
    bad, wrong = [], []
    for position in sample(len(there), images):
        entry = there[position]
        path = folder / entry["file_name"]
        try:
            size = read_image(path).size
        except DataError as error:
            bad.append(f"{path}: {error.rule}")
            continue
        checked.opened += 1
        if size != (entry["width"], entry["height"]):
            wrong.append(f"{path}: {size}, annotated {(entry['width'], entry['height'])}")
    checked.add("an image must be readable", bad, fix="restore the file")
    checked.add("an image must have its annotated size (width, height)", wrong)
