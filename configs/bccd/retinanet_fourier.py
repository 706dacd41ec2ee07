# FourierKD with the published detection settings. The teacher's neck and head are wider than the
# student's, so there is nothing to inherit.
_base_ = ["retinanet_student.py", "../_base_/fourier_det.py"]

model = dict(
    teacher=dict(model={{_base_._teacher}}, checkpoint=None),  # a study fills the checkpoint in
    losses=dict(fourier={{_base_._fourier}}, iou={{_base_._iou}}),
)
