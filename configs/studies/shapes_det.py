"""The detection study: Fourier distillation of a small RetinaNet on Spectral Shapes."""

from sweeps.presets import fourier_search

study = dict(
    name="shapes_det",
    config="../shapes/retinanet_fourier.py",
    metric="bbox_mAP",
    direction="maximize",
    trials=12,
    seed=0,
    final_seeds=3,
    final_split="test",
    sampler_startup=5,
    jobs=2,  # two runs at once, a core each: these small maps do not fill two cores
    trial_jobs=2,
    teacher=dict(
        config="../shapes/retinanet_teacher.py", seed=0, option="model.teacher.checkpoint"
    ),
    **fourier_search(published_weight=7.0, start_weight=3.5, weights=(0.1, 50.0), prune_after=150),
)
