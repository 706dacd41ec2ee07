"""Files of Spectral Shapes: in flows a spec, out flow names and bytes, the same on every machine.

images/{train,val,test}/000000.jpg     RGB, quality 95
masks/{train,val,test}/000000.png      index images with a palette, 0 is background
annotations/{train,val,test}.json      COCO
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourierkd.data.shapes import SPLITS, Sample, ShapesSpec, class_names, draw_sample, palette

GENERATOR, VERSION = "spectral_shapes", 1


def file_names(spec: ShapesSpec) -> set[str]:
    """Names of all files of ``spec`` relative to its folder, without the manifest."""
    names = {f"annotations/{split}.json" for split in SPLITS}
    for split in SPLITS:
        for index in range(spec.split_size(split)):
            names |= {f"images/{split}/{index:06d}.jpg", f"masks/{split}/{index:06d}.png"}
    return names


def contents(spec: ShapesSpec) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file but the manifest."""
    colours = [channel for colour in palette(spec) for channel in colour]
    categories = [
        {"id": label, "name": name, "supercategory": name.split("_")[0]}
        for label, name in enumerate(class_names(spec))
        if label > 0
    ]
    for split in SPLITS:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(spec.split_size(split)):
            sample = draw_sample(spec, split, index)
            name = f"{index:06d}"
            yield f"images/{split}/{name}.jpg", _jpeg(sample.image)
            yield f"masks/{split}/{name}.png", _index_png(sample.labels, colours)
            height, width = sample.labels.shape
            images.append(
                {"id": index, "file_name": f"{name}.jpg", "height": height, "width": width}
            )
            for annotation in coco_annotations(sample, spec.min_visible):
                annotations.append({"id": len(annotations) + 1, "image_id": index, **annotation})
        info = {"description": f"Spectral Shapes, {split} split", "version": str(VERSION)}
        coco = {
            "info": info,
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        yield f"annotations/{split}.json", (json.dumps(coco) + "\n").encode()


def coco_annotations(sample: Sample, min_visible: float) -> Iterator[dict[str, Any]]:
    """COCO fields of each object of which at least ``min_visible`` is in sight.

    The box (x, y, width, height in pixels), the area and the segmentation (uncompressed run
    lengths) are those of the visible part.
    """
    objects = zip(sample.object_labels, sample.object_areas, strict=True)
    for index, (label, full) in enumerate(objects):
        visible = sample.owner == index + 1
        area = int(visible.sum())
        if area == 0 or area < min_visible * full:
            continue
        columns, rows = np.flatnonzero(visible.any(0)), np.flatnonzero(visible.any(1))
        left, top = int(columns[0]), int(rows[0])
        yield {
            "category_id": label,
            "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            "area": area,
            "iscrowd": 0,
            "segmentation": {"size": list(visible.shape), "counts": run_lengths(visible)},
        }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of a mask (H, W): column by column, the first run is of zeros."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _index_png(labels: NDArray[np.uint8], colours: list[int]) -> bytes:
    picture = Image.fromarray(labels)
    picture.putpalette(colours)  # makes it an index image
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
