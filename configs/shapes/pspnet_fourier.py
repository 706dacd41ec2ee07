# FourierKD with the published segmentation settings: weight 41 on the last backbone stage, noise
# on, no mask.
_base_ = "pspnet_student.py"

model = dict(
    teacher=dict(model={{_base_._teacher}}, checkpoint=None),  # a study fills the checkpoint in
    losses=dict(
        fourier=dict(
            student_tap="backbone.layer4",
            teacher_tap="backbone.layer4",
            loss=dict(type="FourierLoss", loss_weight=41.0),
        ),
    ),
)
