# The detectors of shapes_retinanets.py with heads that say where the sides of a box lie by
# distributions (GFL), which localization distillation (LD) compares.
_base_ = "shapes_retinanets.py"


def _gfl(channels):
    return dict(
        type="mmdet.GFL",
        bbox_head=dict(
            _delete_=True,
            type="GFLHead",
            num_classes=8,
            in_channels=channels,
            feat_channels=channels,
            stacked_convs=2,
            norm_cfg=dict(type="BN"),
            anchor_generator=dict(
                type="AnchorGenerator",
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[4, 8, 16],
            ),
            loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
            loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
            reg_max=8,
        ),
        train_cfg=dict(
            _delete_=True,
            assigner=dict(type="ATSSAssigner", topk=9),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
    )


_student = _gfl(32)
_teacher = _gfl(64)
