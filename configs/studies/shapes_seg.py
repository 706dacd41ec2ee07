"""The clean task: that of shapes_low with a teacher that has no nuisance.

Half as many iterations again: with 640 plain L2 begins to learn late with some seeds.
"""

from sweeps.presets import method_search

ITERATIONS = 960

study = dict(
    method_search("mIoU"),
    name="shapes_seg",
    config="../shapes_low/pspnet_fourier.py",
    options={
        "model.teacher.nuisance": None,
        "train_cfg.max_iters": ITERATIONS,
        "train_cfg.val_interval": ITERATIONS // 5,
        "param_scheduler.total_steps": ITERATIONS,
    },
    teacher=dict(config="../shapes_low/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
