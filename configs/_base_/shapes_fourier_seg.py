# The published segmentation loss on the last stage of the PSPNets of Spectral Shapes.
_base_ = "fourier_seg.py"

_fourier = dict(student_tap="backbone.layer3", teacher_tap="backbone.layer3")
