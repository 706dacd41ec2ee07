# DeepLabV3-R18 alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = ["../_base_/cityscapes.py", "../_base_/schedule_cityscapes_40k.py"]

taps = dict(feature="backbone.layer4", logits="decode_head.conv_seg")
model = dict(
    type="Distiller",
    student=dict(
        config="mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        overrides={"data_preprocessor.size": (512, 512)},
    ),
)
