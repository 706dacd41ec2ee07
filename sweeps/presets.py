"""What studies of one Fourier loss share: in flow its weights, out flow arms and search space.

A study config takes these keys with ``**fourier_search(...)`` and may replace any of them.
"""

from __future__ import annotations

from typing import Any

from sweeps.space import suggest
from sweeps.study import STUDENT_ALONE

LOSS = "model.losses.fourier.loss"


def fourier_search(
    *, published_weight: float, start_weight: float, weights: tuple[float, float], prune_after: int
) -> dict[str, Any]:
    """``arms``, ``reference_arms``, ``start_points``, ``space``, ``pruner`` of a study config.

    Args:
        published_weight: loss weight of the published settings (Shi et al., 2024): 41 for
            segmentation, 7 for detection.
        start_weight: loss weight of the first trial that is not an arm.
        weights: lowest and highest loss weight of the search, log scale.
        prune_after: no trial is pruned before this iteration; late ones are often the best.
    """
    return {
        "arms": {
            "student_alone": dict(STUDENT_ALONE),
            "published": {
                f"{LOSS}.loss_weight": published_weight,
                f"{LOSS}.mask": {"type": "AllPass"},
                f"{LOSS}.sphere_radius": 1.0,
                f"{LOSS}.noise": True,
                f"{LOSS}.detach_similarity": False,
            },
        },
        "reference_arms": {"feature_l2": {LOSS: {"type": "FeatureL2", "loss_weight": 10.0}}},
        # Found by hand on the validation split of the default task (docs/results.md).
        "start_points": {
            "by_hand": {
                f"{LOSS}.loss_weight": start_weight,
                f"{LOSS}.mask": {"type": "LowPass", "cutoff": 0.55},
                f"{LOSS}.sphere_radius": 10.0,
                f"{LOSS}.noise": False,
                f"{LOSS}.detach_similarity": True,
            },
        },
        # Ranges out of single runs on the default task: cut-offs under 0.3 drop what the classes
        # differ in, radii far from 10 leave the loss to a few bands (docs/method.md, fact 4).
        "space": {
            f"{LOSS}.loss_weight": suggest.float(*weights, log=True),
            f"{LOSS}.mask": suggest.choice(
                all_pass={"type": "AllPass"},
                low_pass={"type": "LowPass", "cutoff": suggest.float(0.3, 0.8)},
                high_pass={"type": "HighPass", "cutoff": suggest.float(0.05, 0.3)},
            ),
            f"{LOSS}.sphere_radius": suggest.float(1.0, 30.0, log=True),
            f"{LOSS}.noise": suggest.categorical([True, False]),
            f"{LOSS}.detach_similarity": suggest.categorical([True, False]),
        },
        "pruner": {"type": "MedianPruner", "n_startup_trials": 3, "n_warmup_steps": prune_after},
    }
