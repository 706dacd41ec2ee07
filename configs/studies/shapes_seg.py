"""The clean task: that of shapes_low with a teacher that has no nuisance."""

from sweeps.presets import method_search

study = dict(
    method_search("mIoU"),
    name="shapes_seg",
    config="../shapes_low/pspnet_fourier.py",
    options={"model.teacher.nuisance": None},
    teacher=dict(config="../shapes_low/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
