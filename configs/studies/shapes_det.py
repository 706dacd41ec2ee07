"""The detection study: distillation of a small RetinaNet on Spectral Shapes.

Longer schedules than those of the run configs: with those the teacher knows hardly more than a
student can, and what a seed does is larger than what a method does.
"""

from sweeps.presets import method_search, schedule

study = dict(
    method_search("bbox_mAP"),
    name="shapes_det",
    config="../shapes/retinanet_fourier.py",
    options=schedule(640, validations=5),
    teacher=dict(
        config="../shapes/retinanet_teacher.py",
        option="model.teacher.checkpoint",
        options=schedule(1600),
    ),
)
