"""The detection study: distillation of a small RetinaNet on Spectral Shapes.

Longer schedules than those of the run configs: with those the teacher knows hardly more than a
student can, and what a seed does is larger than what a method does.
"""

from sweeps.presets import method_search

ITERATIONS = 640
TEACHER_ITERATIONS = 1600

study = dict(
    method_search("bbox_mAP"),
    name="shapes_det",
    config="../shapes/retinanet_fourier.py",
    options={
        "train_cfg.max_iters": ITERATIONS,
        "train_cfg.val_interval": ITERATIONS // 5,
        "param_scheduler.total_steps": ITERATIONS,
    },
    teacher=dict(
        config="../shapes/retinanet_teacher.py",
        option="model.teacher.checkpoint",
        options={
            "train_cfg.max_iters": TEACHER_ITERATIONS,
            "param_scheduler.total_steps": TEACHER_ITERATIONS,
        },
    ),
)
