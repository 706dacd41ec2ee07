# BCCD (blood cells, 3 classes), COCO annotations; half size. Give the folder: data_root=... with
# train/, train.json, val/ and val.json.
# A study tunes on the last 55 training images, which no run trains on; the val folder is left for
# the final scores.
_base_ = "runtime.py"

metric = "bbox_mAP"
data_root = "data/bccd"
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
_half = dict(type="Resize", scale=(320, 240), keep_ratio=True)
_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def _dataset(split, pipeline, meta_keys=_keys, **more):
    return dict(
        type="mmdet.CocoDataset",
        data_root="{data_root}",
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        metainfo=dict(classes=("RBC", "WBC", "Platelets")),
        pipeline=[*_load, *pipeline, dict(type="PackDetInputs", meta_keys=meta_keys)],
        **more,
    )


def _evaluation(split, indices=None):
    # the evaluator reads the boxes, which are those of the original 640x480, from "instances"
    keys = (*_keys, "instances")
    return dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=_dataset(split, [_half], keys, test_mode=True, indices=indices),
    )


train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=_dataset(
        "train",
        [
            _half,
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="RandomFlip", prob=0.5, direction="vertical"),
        ],
        indices=150,
    ),
)
val_dataloader = _evaluation("train", indices=-55)
test_dataloader = _evaluation("val")
# No ann_file: with one, CocoMetric would count the boxes of the file's other images as missed.
val_evaluator = test_evaluator = dict(type="mmdet.CocoMetric", metric="bbox")
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
