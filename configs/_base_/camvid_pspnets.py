# The CamVid pair: as the PSPNets of Spectral Shapes, but at output stride 8, and the teacher three
# times as wide as the student.
_base_ = "shapes_pspnets.py"


def _changes(width):
    return dict(
        data_preprocessor=dict(
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            size=(120, 160),
            test_cfg=dict(size_divisor=8),
        ),
        backbone=dict(
            base_channels=width,
            stem_channels=width,
            strides=(1, 2, 1, 1),
        ),
        decode_head=dict(
            in_channels=8 * width,
            channels=4 * width,
            pool_scales=(1, 2, 3, 6),
            num_classes=11,
        ),
    )


_student = _changes(width=8)
_teacher = _changes(width=24)
