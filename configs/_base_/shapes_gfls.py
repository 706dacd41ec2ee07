# The detectors of shapes_retinanets.py with heads that say where the sides of a box lie by
# distributions (GFL), which localization distillation (LD) compares.
_base_ = "shapes_retinanets.py"
_gfl = dict(
    type="mmdet.GFL",
    bbox_head=dict(
        type="GFLHead",
        anchor_generator=dict(scales_per_octave=1),
        bbox_coder=dict(_delete_=True, type="DistancePointBBoxCoder"),
        loss_cls=dict(
            _delete_=True, type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0
        ),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        loss_bbox=dict(_delete_=True, type="GIoULoss", loss_weight=2.0),
        reg_max=8,
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type="ATSSAssigner", topk=9)),
)
_student = _gfl
_teacher = _gfl
