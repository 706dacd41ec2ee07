# FourierKD with the published detection settings: weight 7 on every FPN level, noise on, no mask.
_base_ = "retinanet_student.py"

model = dict(
    teacher=dict(model={{_base_._teacher}}, checkpoint=None),  # a study fills the checkpoint in
    losses=dict(
        fourier=dict(
            student_tap="neck",
            teacher_tap="neck",
            loss=dict(type="FourierLoss", loss_weight=7.0),
        ),
    ),
)
