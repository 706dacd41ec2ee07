"""Data sets and model configs as a user brings them: small folders, small models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures import write_image

SIZE = (48, 64)  # height, width


def make_masks(
    root: Path,
    layout: tuple[str, str] = ("img/{split}", "ann/{split}"),
    splits: Sequence[str] = ("train", "val"),
    ending: str = ".png",
) -> None:
    """Index masks of three classes, the top row ignored."""
    mask = np.zeros(SIZE, np.uint8)
    mask[10:30, 8:30], mask[20:40, 30:60], mask[0] = 1, 2, 255
    for split in splits:
        images, masks = (root / part.format(split=split) for part in layout)
        masks.mkdir(parents=True)
        for i in range(4):
            write_image(images / f"{i:03}.png", *SIZE, i)
            Image.fromarray(mask).save(masks / f"{i:03}{ending}")


def make_coco(
    root: Path,
    names: Sequence[str] = ("annotations/train.json", "annotations/val.json"),
    folders: Sequence[str] = ("train", "val"),
    classes: Sequence[str] = ("tin", "jar"),
) -> None:
    """Two boxes in each of four images of every split."""
    for name, folder in zip(names, folders, strict=True):
        images, boxes = [], []
        for i in range(4):
            write_image(root / folder / f"{i}.jpg", *SIZE, i)
            size = {"height": SIZE[0], "width": SIZE[1]}
            images.append({"id": i, "file_name": f"{i}.jpg", **size})
            for category in (1, 2):
                box = {"bbox": [10 * category, 8, 20, 20], "area": 400, "iscrowd": 0}
                boxes.append({"id": len(boxes) + 1, "image_id": i, "category_id": category, **box})
        categories = [{"id": i, "name": each} for i, each in enumerate(classes, 1)]
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"images": images, "annotations": boxes, "categories": categories}
        path.write_text(json.dumps(content))


def make_voc(root: Path) -> None:
    """VOC's folders; the classes of train and val differ."""
    for split, kinds in (("train", ("tin", "jar")), ("val", ("jar", "box"))):
        names = []
        for i, kind in enumerate(kinds):
            names.append(f"{split}{i}")
            write_image(root / f"JPEGImages/{names[-1]}.jpg", *SIZE, i)
            path = root / f"Annotations/{names[-1]}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                f"<annotation><filename>{names[-1]}.jpg</filename>"
                f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size><object>"
                f"<name>{kind}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax>"
                "<ymax>20</ymax></bndbox></object></annotation>"
            )
        path = root / f"ImageSets/Main/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))


_SEGMENTOR = """
_base_ = "{base}"
crop_size = (32, 32)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")
]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = dict(_delete_=True, type="PolyLR", begin=0, end=2, by_epoch=False)
model = {model}
"""
_DETECTOR = """
_base_ = "{base}"
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
max_epochs = 1
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
model = {model}
"""
_RESNET = 'dict(depth=18, base_channels={0}, stem_channels={0}, norm_cfg=dict(type="BN"){1})'
_RPN = "dict(in_channels=16, feat_channels=16)"
_FPN = "neck=dict(in_channels=[{0}, {1}, {2}, {3}], out_channels=16)"


def _head(width: int) -> str:
    norm = 'norm_cfg=dict(type="BN")'
    return (
        f"decode_head=dict(in_channels={8 * width}, channels={2 * width}, {norm}), "
        f"auxiliary_head=dict(in_channels={4 * width}, channels={width}, {norm})"
    )


def _resnet_fpn(width: int, head: str) -> str:
    backbone = _RESNET.format(width, ', frozen_stages=-1, style="pytorch", init_cfg=None')
    fpn = _FPN.format(width, 2 * width, 4 * width, 8 * width)
    return f"dict(backbone={backbone}, {fpn}, {head})"


MODELS = {
    "pspnet": (
        "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        lambda w: (
            f"dict(pretrained=None, data_preprocessor=dict(size=crop_size), "
            f"backbone={_RESNET.format(w, '')}, {_head(w)})"
        ),
    ),
    "deeplabv3": (
        "mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        lambda w: (
            f"dict(pretrained=None, data_preprocessor=dict(size=crop_size), "
            f"backbone={_RESNET.format(w, '')}, {_head(w)})"
        ),
    ),
    "segformer": (
        "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py",
        lambda w: (
            "dict(data_preprocessor=dict(size=crop_size), test_cfg=dict(_delete_=True, "
            'mode="whole"), backbone=dict(init_cfg=None, embed_dims='
            + f"{w}, num_heads=[1, 1, 1, 1]), "
            f"decode_head=dict(in_channels=[{w}] * 4, channels={2 * w}, "
            'norm_cfg=dict(type="BN")))'
        ),
    ),
    "retinanet": (
        "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
        lambda w: _resnet_fpn(w, f"bbox_head={_RPN[:-1]}, stacked_convs=1)"),
    ),
    "faster_rcnn": (
        "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        lambda w: _resnet_fpn(
            w,
            f"rpn_head={_RPN}, roi_head=dict(bbox_roi_extractor=dict(out_channels=16), "
            "bbox_head=dict(in_channels=16, fc_out_channels=16))",
        ),
    ),
    "rtmdet": (
        "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
        lambda w: (
            f"dict(backbone=dict(widen_factor={w / 64}, init_cfg=None, "
            'norm_cfg=dict(type="BN")), neck=dict('
            f"in_channels=[{4 * w}, {8 * w}, {16 * w}], out_channels=16, "
            'norm_cfg=dict(type="BN")), '
            'bbox_head=dict(in_channels=16, feat_channels=16, norm_cfg=dict(type="BN")))'
        ),
    ),
    "yolox": (
        "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py",
        lambda w: (
            f"dict(backbone=dict(widen_factor={w / 64}), neck=dict("
            f"in_channels=[{4 * w}, {8 * w}, {16 * w}], out_channels=16), "
            "bbox_head=dict(in_channels=16, feat_channels=16))"
        ),
    ),
}
SEGMENTORS = ("pspnet", "deeplabv3", "segformer")


def write_model(path: Path, kind: str, width: int = 8) -> str:
    """A config of one's own: a small model with the data and schedule of its package's."""
    base, model = MODELS[kind]
    text = _SEGMENTOR if kind in SEGMENTORS else _DETECTOR
    path.write_text(text.replace("{base}", base).replace("{model}", model(width)))
    return str(path)
