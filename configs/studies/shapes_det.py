"""The detection study: Fourier distillation of a small RetinaNet on Spectral Shapes."""

from sweeps.space import suggest

_loss = "model.losses.fourier.loss"

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
    pruner=dict(type="MedianPruner", n_startup_trials=3, n_warmup_steps=100),
    teacher=dict(
        config="../shapes/retinanet_teacher.py", seed=0, option="model.teacher.checkpoint"
    ),
    arms=dict(
        student_alone={"model.teacher": None, "model.losses": {}},
        published={
            f"{_loss}.loss_weight": 7.0,
            f"{_loss}.mask": dict(type="AllPass"),
            f"{_loss}.sphere_radius": 1.0,
            f"{_loss}.noise": True,
            f"{_loss}.detach_similarity": False,
        },
    ),
    reference_arms=dict(
        feature_l2={_loss: dict(type="FeatureL2", loss_weight=10.0)},
    ),
    space={
        f"{_loss}.loss_weight": suggest.float(0.1, 50.0, log=True),
        f"{_loss}.mask": suggest.choice(
            all_pass=dict(type="AllPass"),
            low_pass=dict(type="LowPass", cutoff=suggest.float(0.4, 1.0)),
            high_pass=dict(type="HighPass", cutoff=suggest.float(0.05, 0.3)),
        ),
        f"{_loss}.sphere_radius": suggest.float(0.3, 10.0, log=True),
        f"{_loss}.noise": suggest.categorical([True, False]),
        f"{_loss}.detach_similarity": suggest.categorical([True, False]),
    },
)
