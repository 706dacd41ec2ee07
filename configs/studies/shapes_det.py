"""The detection study: distillation of a small RetinaNet on Spectral Shapes."""

from sweeps.presets import method_search

study = dict(
    method_search("bbox_mAP"),
    name="shapes_det",
    config="../shapes/retinanet_fourier.py",
    teacher=dict(config="../shapes/retinanet_teacher.py", option="model.teacher.checkpoint"),
)
