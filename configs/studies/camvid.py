"""Distillation of a small PSPNet on CamVid, compared fairly."""

from sweeps.presets import method_search

study = dict(
    method_search("mIoU"),
    name="camvid",
    config="../camvid/pspnet_fourier.py",
    trials=16,
    teacher=dict(config="../camvid/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
