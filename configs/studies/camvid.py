"""Distillation of a small PSPNet on CamVid, compared fairly."""

from sweeps.presets import loss_search

study = dict(
    loss_search("seg"),
    name="camvid",
    config="../camvid/pspnet_fourier.py",
    trials=16,
    teacher=dict(config="../camvid/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
