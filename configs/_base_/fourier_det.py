# The published detection losses (Shi et al., 2024), as published: Fourier on every FPN level, and
# the IoU-aware loss between heads of one family. Pairs, run configs and the "published" arm of
# studies (sweeps/presets.py) all take them from here.
_fourier = dict(
    student_tap="neck",
    teacher_tap="neck",
    loss=dict(type="FourierLoss", loss_weight=7.0, compat="paper_code"),
)
_iou = dict(
    student_head="bbox_head",
    teacher_head="bbox_head",
    loss=dict(type="IoUAwareLoss", loss_weight=1.5),
)
