"""What studies of distillation losses share: in flow a task, out flow most keys of a study config.

A study config takes them with ``dict(loss_search(...), name=..., ...)`` and may replace any of
them. Nothing in it was found by hand: arms are published settings, and the space holds each loss
with all of its masks.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from sweeps.space import Choice, suggest
from sweeps.study import STUDENT_ALONE

LOSS = "model.losses.fourier.loss"
CONNECTOR = "model.losses.fourier.connector"
IOU = "model.losses.iou"
BASES = Path(__file__).resolve().parent.parent / "configs/_base_"
WEIGHTS = (0.5, 100.0)


def published(task: str) -> dict[str, Any]:
    """Options of the published settings, out of the file that the pairs of the paper use too.

    Args:
        task: "seg" or "det".
    """
    losses = runpy.run_path(str(BASES / f"fourier_{task}.py"))
    options = {LOSS: losses["_fourier"]["loss"]}
    if task == "seg":
        return options | {CONNECTOR: losses["_fourier"]["connector"]}
    return options | {IOU: losses["_iou"]}


def loss_search(task: str) -> dict[str, Any]:
    """A study config without its name, run config and teacher.

    The arms stand inside the space and are trials that the sampler learns from: the published
    settings (Shi et al., 2024), PKD (Cao et al., NeurIPS 2022) and plain feature L2. The published
    form without its defects is retrained at the end.

    Args:
        task: "seg": a run config with one loss ``fourier`` at a map whose width differs from the
            student's. "det": one with losses ``fourier`` and ``iou``.
    """
    as_published = published(task)
    plain: dict[str, Any] = {CONNECTOR: "auto"} if task == "seg" else {IOU: None}
    loss = as_published[LOSS]
    return {
        "metric": "mIoU" if task == "seg" else "bbox_mAP",
        "direction": "maximize",
        "trials": 20,
        "seed": 0,
        "final_seeds": 5,
        "final_split": "test",
        "sampler_startup": 10,  # arms and one trial of each branch of the space, then TPE
        "jobs": 2,  # two runs at once, a core each: these small maps do not fill two cores
        "trial_jobs": 2,
        "arms": {
            "student_alone": dict(STUDENT_ALONE),
            "published": as_published,
            "pkd": {LOSS: _feature_l2(4.0, True), **plain},
            "feature_l2": {LOSS: _feature_l2(10.0, False), **plain},
        },
        "reference_arms": {"published_mended": {**as_published, LOSS: {**loss, "compat": "fixed"}}},
        "space": {
            LOSS: suggest.choice(
                feature_l2=_feature_l2(_weight(), suggest.categorical([True, False])),
                spectral_l2={
                    "type": "SpectralL2",
                    "loss_weight": _weight(),
                    "normalize": suggest.categorical([True, False]),
                    "mask": _masks(),
                },
                published={**loss, "loss_weight": _weight()},
                fourier={
                    "type": "FourierLoss",
                    "loss_weight": _weight(),
                    "mask": _masks(all_pass={"type": "AllPass"}),
                    "sphere_radius": suggest.choice(
                        none=None, radius=suggest.float(1.0, 30.0, log=True)
                    ),
                    "noise": suggest.categorical([True, False]),
                    "fusion": suggest.categorical([True, False]),
                    "predictor": suggest.categorical([True, False]),
                    "similarity": suggest.categorical([True, False]),
                    "normalize": suggest.categorical([True, False]),
                    "detach_similarity": suggest.categorical([True, False]),
                },
            ),
            **_seams(task, as_published),
        },
    }


def _seams(task: str, as_published: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the loss in the published settings, on or off."""
    if task == "seg":
        return {CONNECTOR: suggest.choice(conv="auto", conv_relu=as_published[CONNECTOR])}
    return {IOU: suggest.choice(off=None, published=as_published[IOU])}


def _feature_l2(loss_weight: Any, normalize: Any) -> dict[str, Any]:
    return {"type": "FeatureL2", "loss_weight": loss_weight, "normalize": normalize}


def _weight() -> Any:
    return suggest.float(*WEIGHTS, log=True)


def _masks(**more: Any) -> Choice:
    """A mask of each kind that lets one band pass, with edges over the whole range."""
    return suggest.choice(
        **more,
        low_pass={"type": "LowPass", "cutoff": suggest.float(0.1, 0.7)},
        high_pass={"type": "HighPass", "cutoff": suggest.float(0.1, 0.7)},
        band_pass={
            "type": "BandPass",
            "low": suggest.float(0.1, 0.4),
            "high": suggest.float(0.5, 0.9),
        },
    )
