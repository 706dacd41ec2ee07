"""The clean task: distillation of a small PSPNet on Spectral Shapes, without a nuisance."""

from sweeps.presets import loss_search

study = dict(
    loss_search("seg"),
    name="shapes_seg",
    config="../shapes/pspnet_fourier.py",
    teacher=dict(config="../shapes/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
