# The BCCD pair: as the RetinaNets of Spectral Shapes, but from stride 8, and the teacher three
# times as wide as the student.
_base_ = "shapes_retinanets.py"


def _changes(width):
    return dict(
        data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        backbone=dict(base_channels=width, stem_channels=width, strides=(1, 2, 2, 2)),
        neck=dict(in_channels=[width * 2, width * 4, width * 8]),
        bbox_head=dict(
            num_classes=3,
            anchor_generator=dict(
                octave_base_scale=2.5,  # 20 to 113 pixels: platelets are 19 wide, white cells 100
                strides=[8, 16, 32],
            ),
        ),
        test_cfg=dict(nms_pre=300, max_per_img=60),
    )


_student = _changes(width=8)
_teacher = _changes(width=24)
