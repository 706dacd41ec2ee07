# The published segmentation loss on the last stage of the pair of shapes_study_pspnets.py.
_base_ = "fourier_seg.py"

_fourier = dict(student_tap="backbone.layer3", teacher_tap="backbone.layer3")
