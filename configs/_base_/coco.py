# COCO 2017 as MMDetection trains on it: two images a GPU, 1333x800, flips. Give the folder:
# data_root=... with annotations/, train2017/ and val2017/.
_base_ = "runtime.py"

metric = "bbox_mAP"
data_root = "data/coco"
_load, _boxes = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)
_resize = dict(type="Resize", scale=(1333, 800), keep_ratio=True)
_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def _loader(split, batch_size, pipeline, sampler, dataset, **more):
    return dict(
        batch_size=batch_size,
        num_workers=2,
        persistent_workers=True,
        sampler=sampler,
        dataset=dict(
            type="mmdet.CocoDataset",
            data_root="{data_root}",
            ann_file=f"annotations/instances_{split}2017.json",
            data_prefix=dict(img=f"{split}2017/"),
            pipeline=pipeline,
            **dataset,
        ),
        **more,
    )


train_dataloader = _loader(
    "train",
    2,
    [_load, _boxes, _resize, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")],
    dict(type="DefaultSampler", shuffle=True),
    dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)),
    batch_sampler=dict(type="mmdet.AspectRatioBatchSampler"),
)
val_dataloader = test_dataloader = _loader(
    "val",
    1,
    [_load, _resize, _boxes, dict(type="PackDetInputs", meta_keys=_keys)],
    dict(type="DefaultSampler", shuffle=False),
    dict(test_mode=True),
)
val_evaluator = test_evaluator = dict(
    type="mmdet.CocoMetric",
    ann_file="{data_root}/annotations/instances_val2017.json",
    metric="bbox",
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(scalars=dict(interval=50))
