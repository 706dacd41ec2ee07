# Spectral Shapes with small objects for segmentation: 64x64 images, 4 classes (2 outlines x 2
# texture orientations). An object is 10 to 16 pixels wide, so its outline reaches higher
# frequencies of a map of stride 4 than that of a large one.
_base_ = "shapes_seg.py"

data_root = "data/shapes_small"
prepare_data = dict(frequencies=(0.25,), radius=(5.0, 8.0), count=(5, 8))
_metainfo = dict(
    _delete_=True,
    classes=(
        "background",
        "disc_f0.25_0deg",
        "disc_f0.25_90deg",
        "triangle_f0.25_0deg",
        "triangle_f0.25_90deg",
    ),
    palette=[(0, 0, 0), (242, 36, 36), (88, 153, 23), (36, 242, 242), (88, 23, 153)],
)
_split = dict(dataset=dict(metainfo=_metainfo))

train_dataloader = _split
val_dataloader = _split
test_dataloader = _split
