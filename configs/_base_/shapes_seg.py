# Spectral Shapes for segmentation: 64x64 images, 8 classes (2 outlines x 2 texture frequencies x
# 2 orientations).
_base_ = "runtime.py"

metric = "mIoU"
data_root = "data/shapes"
prepare_data = dict(
    kind="shapes",
    seed=0,
    size=400,
    val_size=100,
    test_size=200,
    outlines=("disc", "triangle"),
    frequencies=(0.1, 0.25),
    orientations=(0, 90),
    contrast=(0.3, 0.5),
    noise=(0.02, 0.06),
)
_metainfo = dict(
    classes=(
        "background",
        "disc_f0.1_0deg",
        "disc_f0.1_90deg",
        "disc_f0.25_0deg",
        "disc_f0.25_90deg",
        "triangle_f0.1_0deg",
        "triangle_f0.1_90deg",
        "triangle_f0.25_0deg",
        "triangle_f0.25_90deg",
    ),
    palette=[
        (0, 0, 0),
        (242, 36, 36),
        (153, 120, 23),
        (139, 242, 36),
        (23, 153, 55),
        (36, 242, 242),
        (23, 55, 153),
        (139, 36, 242),
        (153, 23, 120),
    ],
)
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
_pack = dict(type="PackSegInputs")


def _dataset(split, pipeline):
    return dict(
        type="mmseg.BaseSegDataset",
        data_root="{data_root}",
        data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"masks/{split}"),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        metainfo=_metainfo,
        pipeline=pipeline,
    )


def _evaluation(split):
    return dict(
        batch_size=20,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=_dataset(split, [*_load, _pack]),
    )


train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=_dataset(
        "train",
        [
            *_load,
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="RandomFlip", prob=0.5, direction="vertical"),
            _pack,
        ],
    ),
)
val_dataloader = _evaluation("val")
test_dataloader = _evaluation("test")
val_evaluator = test_evaluator = dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
