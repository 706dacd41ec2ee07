"""What studies of distillation methods share: in flows a metric, out flow keys of a study config.

A study config takes them with ``dict(method_search(...), name=..., ...)`` and may replace any of
them. Nothing in it was found by hand: the arms are methods with their published settings, and the
space holds every method with what its file says can be tuned.
"""

from __future__ import annotations

from typing import Any

from sweeps.space import METHOD, suggest

ARMS = ["student_alone", "published", "pkd", "feature_l2"]
SEARCHED = ("feature_l2", "pkd", "spectral_l2", "published", "fourier")
SUMS = ("feature_l2+iou", "pkd+iou")  # of detectors; the published settings have that loss too


def method_search(metric: str) -> dict[str, Any]:
    """A study config without its name, run config and teacher.

    The arms but the student alone are points of the space, and trials that the sampler learns from.
    The published form without its defects is retrained at the end.

    Args:
        metric: ``mIoU`` or ``bbox_mAP``.
    """
    return {
        "metric": metric,
        "direction": "maximize",
        "trials": 20,
        "seed": 0,
        "final_seeds": 5,
        "final_split": "test",
        "sampler_startup": 10,  # arms and one trial of each branch of the space, then TPE
        "jobs": 2,  # two runs at once, a core each: these small maps do not fill two cores
        "trial_jobs": 2,
        "arms": list(ARMS),
        "reference_arms": {"published_mended": {METHOD: "fourier"}},
        "space": {METHOD: suggest.method(*SEARCHED, *(SUMS if metric == "bbox_mAP" else ()))},
    }


def schedule(iterations: int, *, validations: int | None = None) -> dict[str, int]:
    """Options of a run config of ``configs/_base_/schedule.py`` for another length.

    Args:
        iterations: of the loop, and of its learning rate's one cycle.
        validations: at equal distances; None: as often as the config says.
    """
    options = {"train_cfg.max_iters": iterations, "param_scheduler.total_steps": iterations}
    if validations is not None:
        options["train_cfg.val_interval"] = iterations // validations
    return options
