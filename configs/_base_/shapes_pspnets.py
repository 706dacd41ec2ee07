# The segmentation pair on Spectral Shapes: PSPNets at output stride 4, the teacher deeper and
# twice as wide.
# PyTorch's own initialisation: MMSegmentation's draws larger weights, which normalised layers
# answer with slower learning.
_torch_init = dict(
    type="Kaiming",
    layer="Conv2d",
    a=5**0.5,
    mode="fan_in",
    nonlinearity="leaky_relu",
    distribution="uniform",
)


def _pspnet(depth, width):
    return dict(
        type="mmseg.EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor",
            mean=[127.5] * 3,
            std=[63.75] * 3,
            bgr_to_rgb=True,
            seg_pad_val=255,
            size=(64, 64),
        ),
        backbone=dict(
            type="ResNetV1c",
            depth=depth,
            base_channels=width,
            stem_channels=width,
            strides=(1, 1, 1, 1),
            dilations=(1, 1, 2, 4),
            contract_dilation=True,
            norm_cfg=dict(type="BN"),
            zero_init_residual=False,  # a short schedule has no time to open closed branches
            init_cfg=[_torch_init, dict(type="Constant", layer="BatchNorm2d", val=1)],
        ),
        decode_head=dict(
            type="PSPHead",
            in_channels=8 * width,
            in_index=3,
            channels=4 * width,
            pool_scales=(1, 2, 4),
            dropout_ratio=0,
            num_classes=9,
            norm_cfg=dict(type="BN"),
            align_corners=False,
            loss_decode=dict(type="CrossEntropyLoss"),
            init_cfg=dict(**_torch_init, override=dict(name="conv_seg")),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )


_student = _pspnet(depth=18, width=8)
_teacher = _pspnet(depth=34, width=16)
taps = dict(feature="backbone.layer4", logits="decode_head.conv_seg")
