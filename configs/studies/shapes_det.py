"""The detection study: distillation of a small RetinaNet on Spectral Shapes."""

from sweeps.presets import loss_search

study = dict(
    loss_search("det"),
    name="shapes_det",
    config="../shapes/retinanet_fourier.py",
    teacher=dict(config="../shapes/retinanet_teacher.py", option="model.teacher.checkpoint"),
)
