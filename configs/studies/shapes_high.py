"""The twin of the default study: the nuisance lies below a quarter of Nyquist."""

from sweeps.presets import method_search

study = dict(
    method_search("mIoU"),
    name="shapes_high",
    config="../shapes_high/pspnet_fourier.py",
    teacher=dict(config="../shapes_high/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
