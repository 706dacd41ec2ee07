"""The twin of the default study: the nuisance lies below a quarter of Nyquist."""

from sweeps.presets import loss_search

study = dict(
    name="shapes_high",
    config="../shapes_high/pspnet_fourier.py",
    metric="mIoU",
    direction="maximize",
    trials=20,
    seed=0,
    final_seeds=5,
    final_split="test",
    sampler_startup=10,  # arms and one trial of each branch of the space, then TPE
    jobs=2,  # two runs at once, a core each: these small maps do not fill two cores
    trial_jobs=2,
    teacher=dict(
        config="../shapes_high/pspnet_teacher.py", seed=0, option="model.teacher.checkpoint"
    ),
    **loss_search("seg"),
)
