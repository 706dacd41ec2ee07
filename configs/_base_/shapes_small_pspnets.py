# The pair of shapes_study_pspnets.py for the four classes of small objects.
_base_ = "shapes_study_pspnets.py"
_classes = dict(decode_head=dict(num_classes=5))

_student = _classes
_teacher = _classes
