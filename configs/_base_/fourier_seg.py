# The published segmentation loss (Shi et al., 2024).
_fourier = dict(
    student_tap="backbone.layer4",
    teacher_tap="backbone.layer4",
    loss=dict(type="FourierLoss", loss_weight=41.0),
    connector=dict(type="ConvModule"),  # 1x1 convolution and ReLU, as published
)
