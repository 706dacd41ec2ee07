# Spectral Shapes for detection: the same images as for segmentation, boxes from the COCO
# annotations.
_base_ = "shapes_seg.py"

metric = "bbox_mAP"
_objects = (
    "disc_f0.1_0deg",
    "disc_f0.1_90deg",
    "disc_f0.25_0deg",
    "disc_f0.25_90deg",
    "triangle_f0.1_0deg",
    "triangle_f0.1_90deg",
    "triangle_f0.25_0deg",
    "triangle_f0.25_90deg",
)
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
_pack = dict(
    type="PackDetInputs",
    meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
)


def _dataset(split, pipeline):
    return dict(
        _delete_=True,
        type="mmdet.CocoDataset",
        data_root="{data_root}",
        ann_file=f"annotations/{split}.json",
        data_prefix=dict(img=f"images/{split}/"),
        metainfo=dict(classes=_objects),
        test_mode=split != "train",
        pipeline=[*_load, *pipeline, _pack],
    )


def _evaluator(split):
    return dict(
        _delete_=True,
        type="mmdet.CocoMetric",
        ann_file="{data_root}/" + f"annotations/{split}.json",
        metric="bbox",
    )


train_dataloader = dict(dataset=_dataset("train", [dict(type="RandomFlip", prob=0.5)]))
# boxes at the original size, which is the size of the network's input
val_dataloader = dict(
    dataset=_dataset("val", [dict(type="Resize", scale=(64, 64), keep_ratio=True)])
)
test_dataloader = dict(
    dataset=_dataset("test", [dict(type="Resize", scale=(64, 64), keep_ratio=True)])
)
val_evaluator = _evaluator("val")
test_evaluator = _evaluator("test")
