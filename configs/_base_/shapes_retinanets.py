# The detection pair on Spectral Shapes: RetinaNets on P3 to P5 with few channels, the teacher
# deeper and wider.


def _retinanet(depth, width, channels):
    return dict(
        type="mmdet.RetinaNet",
        data_preprocessor=dict(
            type="DetDataPreprocessor",
            mean=[127.5] * 3,
            std=[63.75] * 3,
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=dict(
            type="ResNet",
            depth=depth,
            base_channels=width,
            stem_channels=width,
            deep_stem=True,
            strides=(1, 1, 2, 2),  # stage 2 keeps stride 4, for 64x64 images
            num_stages=4,
            out_indices=(1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
            zero_init_residual=False,
        ),
        neck=dict(
            type="FPN",
            in_channels=[width * 2, width * 4, width * 8],
            out_channels=channels,
            num_outs=3,
            norm_cfg=dict(type="BN"),
        ),
        bbox_head=dict(
            type="RetinaHead",
            num_classes=8,
            in_channels=channels,
            feat_channels=channels,
            stacked_convs=2,
            norm_cfg=dict(type="BN"),
            anchor_generator=dict(
                type="AnchorGenerator",
                octave_base_scale=4,
                scales_per_octave=2,
                ratios=[1.0],
                strides=[4, 8, 16],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
            loss_cls=dict(
                type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
            ),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        train_cfg=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.4,
                min_pos_iou=0.0,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="PseudoSampler"),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=200,
            min_bbox_size=0,
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=20,
        ),
    )


_student = _retinanet(depth=18, width=8, channels=32)
_teacher = _retinanet(depth=34, width=16, channels=64)
taps = dict(pyramid="neck", head="bbox_head")
