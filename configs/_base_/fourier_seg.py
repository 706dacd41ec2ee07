# The published segmentation loss (Shi et al., 2024), as published: pairs, run configs and the
# "published" arm of studies (sweeps/presets.py) all take it from here.
_fourier = dict(
    student_tap="backbone.layer4",
    teacher_tap="backbone.layer4",
    loss=dict(type="FourierLoss", loss_weight=41.0, compat="paper_code"),
    connector=dict(type="ConvModule"),  # 1x1 convolution and ReLU, as published
)
