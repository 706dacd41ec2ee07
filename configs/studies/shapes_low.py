"""The default study: the teacher has a nuisance above 0.4 of Nyquist, so a low pass is right."""

from sweeps.presets import method_search

study = dict(
    method_search("mIoU"),
    name="shapes_low",
    config="../shapes_low/pspnet_fourier.py",
    teacher=dict(config="../shapes_low/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
