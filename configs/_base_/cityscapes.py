# Cityscapes (19 classes) as MMSegmentation trains on it, with crops of 512x512: two images a GPU.
# Give the folder: data_root=... with leftImg8bit/ and gtFine/; `fourierkd data cityscapes` makes
# the masks of train ids in it.
_base_ = "runtime.py"

metric = "mIoU"
data_root = "data/cityscapes"
_load, _labels = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")
_pack = dict(type="PackSegInputs")


def _loader(split, batch_size, workers, sampler, pipeline):
    return dict(
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=True,
        sampler=sampler,
        dataset=dict(
            type="mmseg.CityscapesDataset",
            data_root="{data_root}",
            data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
            pipeline=pipeline,
        ),
    )


train_dataloader = _loader(
    "train",
    2,
    2,
    dict(type="InfiniteSampler", shuffle=True),
    [
        _load,
        _labels,
        dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PhotoMetricDistortion"),
        _pack,
    ],
)
val_dataloader = test_dataloader = _loader(
    "val",
    1,
    4,
    dict(type="DefaultSampler", shuffle=False),
    # labels are loaded after the resize: scores are at the original size
    [_load, dict(type="Resize", scale=(2048, 1024), keep_ratio=True), _labels, _pack],
)
val_evaluator = test_evaluator = dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(scalars=dict(interval=50))
