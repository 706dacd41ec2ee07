"""The clean task: that of shapes_low with a teacher that has no nuisance.

960 iterations in place of 800: with 640 plain L2 began to learn late with some seeds.
"""

from sweeps.presets import method_search, schedule

study = dict(
    method_search("mIoU"),
    name="shapes_seg",
    config="../shapes_low/pspnet_fourier.py",
    options={"model.teacher.nuisance": None, **schedule(960, validations=5)},
    teacher=dict(config="../shapes_low/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
