# CamVid (road scenes, 11 classes), index masks; half size, random crops of 120x160. Give the
# folder: data_root=...
# A study tunes on the last 67 training frames, which no run trains on; the val folder is left for
# the final scores.
_base_ = "runtime.py"

metric = "mIoU"
data_root = "data/camvid"
_metainfo = dict(
    classes=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=[
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ],
)
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
_half = dict(type="Resize", scale=(240, 180), keep_ratio=True)


def _dataset(split, pipeline, indices=None):
    return dict(
        type="mmseg.BaseSegDataset",
        data_root="{data_root}",
        data_prefix=dict(img_path=f"img/{split}", seg_map_path=f"ann/{split}"),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        metainfo=_metainfo,
        indices=indices,
        pipeline=[*pipeline, dict(type="PackSegInputs")],
    )


def _evaluation(split, indices=None):
    # labels are loaded after the resize: scores are at the original 480x360
    return dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=_dataset(split, [_load[0], _half, _load[1]], indices),
    )


train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=_dataset(
        "train",
        [
            *_load,
            dict(type="RandomResize", scale=(240, 180), ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(120, 160), cat_max_ratio=0.9),
            dict(type="RandomFlip", prob=0.5),
        ],
        indices=300,
    ),
)
val_dataloader = _evaluation("train", indices=-67)
test_dataloader = _evaluation("val")
val_evaluator = test_evaluator = dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
