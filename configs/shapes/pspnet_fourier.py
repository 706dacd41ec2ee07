# FourierKD with the published segmentation settings.
_base_ = ["pspnet_student.py", "../_base_/fourier_seg.py"]

model = dict(
    teacher=dict(model={{_base_._teacher}}, checkpoint=None),  # a study fills the checkpoint in
    losses=dict(fourier={{_base_._fourier}}),
)
