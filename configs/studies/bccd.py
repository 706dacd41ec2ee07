"""Distillation of a small RetinaNet on BCCD, compared fairly."""

from sweeps.presets import loss_search

study = dict(
    name="bccd",
    config="../bccd/retinanet_fourier.py",
    metric="bbox_mAP",
    direction="maximize",
    trials=16,
    seed=0,
    final_seeds=5,
    final_split="test",
    sampler_startup=10,  # arms and one trial of each branch of the space, then TPE
    jobs=2,  # two runs at once, a core each: these small maps do not fill two cores
    trial_jobs=2,
    teacher=dict(config="../bccd/retinanet_teacher.py", seed=0, option="model.teacher.checkpoint"),
    **loss_search("det"),
)
