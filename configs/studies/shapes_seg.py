"""The default study: Fourier distillation of a small PSPNet on Spectral Shapes."""

from sweeps.presets import fourier_search

study = dict(
    name="shapes_seg",
    config="../shapes/pspnet_fourier.py",
    metric="mIoU",
    direction="maximize",
    trials=12,
    seed=0,
    final_seeds=3,
    final_split="test",
    sampler_startup=5,
    jobs=2,  # two runs at once, a core each: these small maps do not fill two cores
    trial_jobs=2,
    teacher=dict(config="../shapes/pspnet_teacher.py", seed=0, option="model.teacher.checkpoint"),
    **fourier_search(
        published_weight=41.0, start_weight=20.0, weights=(3.0, 60.0), prune_after=200
    ),
)
