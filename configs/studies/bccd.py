"""Distillation of a small RetinaNet on BCCD, compared fairly."""

from sweeps.presets import method_search

study = dict(
    method_search("bbox_mAP"),
    name="bccd",
    config="../bccd/retinanet_fourier.py",
    trials=16,
    teacher=dict(config="../bccd/retinanet_teacher.py", option="model.teacher.checkpoint"),
)
