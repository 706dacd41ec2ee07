"""COCO annotations: in flows a data set with boxes, out flow findings about files, ids, boxes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from fourierkd.data.check_names import check_categories, repeated
from fourierkd.data.check_pictures import check_pictures
from fourierkd.data.findings import Checked, Data, Depth, real, subset

LISTS = ("images", "annotations", "categories")
ID, NUMBER = (int, str), (int, float)
NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": ID, "file_name": (str,), "height": NUMBER, "width": NUMBER},
    "annotations": {
        "id": ID,
        "image_id": ID,
        "category_id": ID,
        "bbox": (object,),  # looked at by itself
        "area": NUMBER,
    },
    "categories": {"id": ID, "name": (str,)},
}
SCORED = "iscrowd"  # the evaluation reads it, where MMDetection's data set can do without
SLACK = 1.0  # pixels: COCO's own boxes are rounded
Entry = dict[str, Any]


def check_boxes(data: Data, checked: Checked, depth: Depth) -> None:
    """Read the annotations as a whole, look for every image, open some as ``depth`` says."""
    content = _read(data, checked)
    if content is None:
        return
    checked.looked.append(f"every entry of {data.ann_file}: ids, categories, boxes, areas")
    by_id = {image["id"]: image for image in content["images"]}
    _check_ids(content, by_id, checked)
    check_categories(content, data, checked)
    kept = _check_annotations(content, by_id, checked)
    taken = {c["id"] for c in content["categories"] if c["name"] in (checked.labels or ())}
    objects = [a for a, keep in zip(content["annotations"], kept, strict=True) if keep]
    objects = [a for a in objects if a["category_id"] in taken and not a.get("ignore")]
    _check_images(_used(content, taken, data), objects, data, checked, depth)


def _read(data: Data, checked: Checked) -> dict[str, Any] | None:
    path = data.path(str(data.ann_file))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))  # as pycocotools: no BOM
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
    broken = [
        f"{key}[{i}].{field} is {entry[field]!r}"
        if isinstance(entry, dict) and field in entry
        else f"{key}[{i}] has no {field}"
        for key, fields in NEEDED.items()
        for i, entry in enumerate(content[key])
        for field, kinds in fields.items()
        if not isinstance(entry, dict) or field not in entry or not isinstance(entry[field], kinds)
    ]
    checked.add("an entry must be whole", broken, fix=str(path), refused=True)
    if broken:
        return None
    if "train" not in checked.splits:
        every = enumerate(content["annotations"])
        bare = [f"annotations[{i}]" for i, annotation in every if SCORED not in annotation]
        checked.add(f"an annotation that is scored must have {SCORED}", bare, "0, or 1 for a crowd")
    whole: dict[str, Any] = content
    return whole


def _check_ids(content: dict[str, Any], by_id: dict[Any, Entry], checked: Checked) -> None:
    images, every = content["images"], content["annotations"]
    fix = "number them anew"
    twice = repeated(image["id"] for image in images)
    checked.add("an image id must be given once", twice, fix, refused=True)
    twice = repeated(annotation["id"] for annotation in every)
    checked.add("an annotation id must be given once", twice, fix, refused=True)
    checked.add(
        "an image file must have one id",
        repeated(image["file_name"] for image in by_id.values()),
        fix="give all of its boxes to one id",
    )


def _check_annotations(
    content: dict[str, Any], by_id: dict[Any, Entry], checked: Checked
) -> list[bool]:
    """Whether MMDetection keeps each annotation."""
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
    whole = np.array([_is_box(a["bbox"]) for a in every], bool)
    checked.add(
        "a bbox must be four finite numbers (x, y, width, height)",
        [f"{every[i]['bbox']} of image {every[i]['image_id']}" for i in np.flatnonzero(~whole)],
    )
    placed = np.array([a["image_id"] in by_id for a in every], bool) & whole
    known = [every[i] for i in np.flatnonzero(placed)]
    boxes = np.array([a["bbox"] for a in known], float).reshape(-1, 4)
    areas = np.array([a["area"] for a in known], float)
    sizes = np.array(
        [[by_id[a["image_id"]][key] for key in ("width", "height")] for a in known], float
    ).reshape(-1, 2)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = ((low < -SLACK) | (high > sizes + SLACK)).any(1)
    beyond = (np.minimum(high, sizes) <= np.maximum(low, 0)).any(1)
    flat, negative = (boxes[:, 2:] < 1).any(1), (boxes[:, 2:] < 0).any(1)
    empty = ~(areas > 0)

    def places(found: Any) -> list[str]:
        return [_place(known[i], by_id) for i in np.flatnonzero(found)]

    fractions = boxes.size > 0 and bool((boxes <= 1).all())
    checked.add(
        "boxes must be in pixels, not in fractions of the image",
        places(np.full(len(boxes), fractions)),
        fix="multiply by the image's width and height",
        refused=True,
    )
    checked.add(
        "a box must lie in its image",
        places(outside),
        fix="it is (x, y, width, height), not two corners",
    )
    checked.add("a box must have a width and height from 0 on", places(negative))
    checked.add(
        "a box must have an area above 0: MMDetection leaves it out, the evaluation does not",
        places(empty & ~flat),
        fix="write width * height, or the object's own area",
        refused=True,
    )
    checked.add(
        "boxes below one pixel, which MMDetection leaves out", places(flat & ~negative), fault=False
    )
    annotated = {a["image_id"] for a in every}
    bare = [image["file_name"] for i, image in by_id.items() if i not in annotated]
    checked.add("images without a box", bare, fault=False)
    placed[placed] = ~(flat | empty | beyond)
    return [bool(keep) for keep in placed]


def _place(annotation: Entry, by_id: dict[Any, Entry]) -> str:
    image = by_id[annotation["image_id"]]
    return f"{annotation['bbox']} in {image['file_name']} ({image['width']}x{image['height']})"


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )


def _used(content: dict[str, Any], taken: set[Any], data: Data) -> list[Entry]:
    """The images that MMDetection takes, by ``filter_cfg`` and ``indices``."""
    images = content["images"]
    chosen = data.config.get("filter_cfg")
    if chosen and not data.config.get("test_mode"):
        with_box = {a["image_id"] for a in content["annotations"] if a["category_id"] in taken}
        images = [
            image
            for image in images
            if (not chosen.get("filter_empty_gt") or image["id"] in with_box)
            and min(image["width"], image["height"]) >= chosen.get("min_size", 0)
        ]
    return subset(images, data.config.get("indices"))


def _check_images(
    used: list[Entry], objects: list[Entry], data: Data, checked: Checked, depth: Depth
) -> None:
    """The images of a data set, and that they have an object."""
    folder = data.path(data.prefix.get("img", data.prefix.get("img_path", ""))).resolve()
    ids = {image["id"] for image in used}
    checked.images = len(used)
    checked.files = frozenset(real(folder / image["file_name"]) for image in used)
    source = data.path(str(data.ann_file)).resolve()
    checked.entries = frozenset(f"{source}: image {image['id']}" for image in used)
    none = not any(a["image_id"] in ids and not a.get("iscrowd") for a in objects)
    checked.add(
        "a data set must have an object",
        [source] if none else [],
        fix="" if used else "no image is left by its filter_cfg and indices",
        refused=True,
    )
    pairs = [(folder / image["file_name"], (image["width"], image["height"])) for image in used]
    if depth.files:
        checked.add(
            "an image of the annotations must exist",
            [path for path, _ in pairs if not path.is_file()],
            fix="see data_root and data_prefix",
        )
        pairs = [(path, size) for path, size in pairs if path.is_file()]
    check_pictures(pairs, data, checked, depth)
