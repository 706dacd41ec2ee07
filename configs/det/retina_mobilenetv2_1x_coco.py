# RetinaNet-MobileNetV2 alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = ["../_base_/coco.py", "../_base_/schedule_coco_1x.py"]

taps = dict(pyramid="neck", head="bbox_head")
model = dict(
    type="Distiller",
    student=dict(
        config="mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
        overrides={
            # MMDetection's MobileNetV2 as it comes: outputs at strides 4, 8, 16, 32
            "backbone": dict(
                type="MobileNetV2",
                init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://mmdet/mobilenet_v2"),
            ),
            "neck.in_channels": [24, 32, 96, 1280],
        },
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
