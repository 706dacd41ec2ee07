"""Tune Fourier distillation of a small RetinaNet on BCCD and compare it fairly."""

from sweeps.presets import fourier_search

study = dict(
    name="bccd",
    config="../bccd/retinanet_fourier.py",
    metric="bbox_mAP",
    direction="maximize",
    trials=8,
    seed=0,
    final_seeds=3,
    final_split="test",
    sampler_startup=5,
    jobs=2,  # arms and final runs: two at once with a core each
    teacher=dict(config="../bccd/retinanet_teacher.py", seed=0, option="model.teacher.checkpoint"),
    **fourier_search(published_weight=7.0, start_weight=3.5, weights=(0.1, 50.0), prune_after=150),
)
