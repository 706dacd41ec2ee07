"""COCO and Cityscapes as folders of a few generated pictures, and options that keep a run short."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.pictures import write_image

Size = tuple[int, int]  # height, width
LOADERS = {
    f"{part}_dataloader.{key}": value
    for part in ("train", "val", "test")
    for key, value in (("num_workers", 0), ("persistent_workers", False))
}
SHORT = {"default_hooks.scalars.interval": 1, "model.pretrained": False, **LOADERS}


def make_coco(root: Path, pictures: Mapping[str, Sequence[Size]]) -> None:
    """COCO's folders, names and categories; in every picture objects for all levels of an FPN."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO["classes"]
    for split, sizes in pictures.items():
        images, boxes = [], []
        for i, (height, width) in enumerate(sizes):
            write_image(root / f"{split}2017/{i:012}.jpg", height, width, i)
            images.append({"id": i, "file_name": f"{i:012}.jpg", "height": height, "width": width})
            for category, share in ((1, 12), (3, 5), (40, 2.5), (80, 1.05)):
                size = int(height / share)
                box = [(width - size) * (category + i) / 84, (height - size) / 2, size, size]
                boxes.append(
                    {"id": len(boxes) + 1, "image_id": i, "category_id": category, "bbox": box}
                    | {"area": size * size, "iscrowd": 0}
                )
        categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        path = root / f"annotations/instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))


def make_cityscapes(root: Path, pictures: Mapping[str, Sequence[Size]]) -> None:
    """Cityscapes' folders with masks of train ids, the top of each ignored."""
    for split, sizes in pictures.items():
        for i, (height, width) in enumerate(sizes):
            name = f"{split}/town/town_{i:06}_000019"
            write_image(root / f"leftImg8bit/{name}_leftImg8bit.png", height, width, i)
            columns = np.arange(width) * 21 // width % 19
            mask = np.repeat(columns.astype(np.uint8)[None], height, axis=0)
            mask[: height // 16] = 255
            path = root / f"gtFine/{name}_gtFine_labelTrainIds.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), mask)
