"""A component study: in flow a config and parts of FourierLoss, out flows the comparison that
trains a design of runs in which each part is on or off.

All else is as published, so in the method ``fourier``: its settings, weights and connector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fourierkd.errors import ConfigError, near
from sweeps.compare import study_of
from sweeps.fingerprint import roles
from sweeps.space import METHOD
from sweeps.study import StudyConfig

BASE = "fourier"  # the method that has every part as a switch, and the run in which none is moved
_LOSS = "model.losses.fourier.loss"


class Part(NamedTuple):
    """One switch.

    Attributes:
        option: of a run config.
        moved: its value where the part is not as in the method's file.
        in_file: whether it is on there.
    """

    option: str
    moved: Any
    in_file: bool = True


PARTS = {
    "noise": Part(f"{_LOSS}.noise", False),
    "fusion": Part(f"{_LOSS}.fusion", False),
    "predictor": Part(f"{_LOSS}.predictor", False),
    "similarity": Part(f"{_LOSS}.similarity", False),
    "normalize": Part(f"{_LOSS}.normalize", False),
    "sphere": Part(f"{_LOSS}.sphere_radius", None),
    "iou": Part("model.losses.iou", None),
    # what is published has no mask, so its on-level is ours
    "mask": Part(f"{_LOSS}.mask", {"type": "LowPass", "cutoff": 0.5}, in_file=False),
    "defects": Part(f"{_LOSS}.compat", "paper_code", in_file=False),
}


def component_study(
    config: Path,
    parts: Sequence[str],
    *,
    seeds: int,
    reference: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> StudyConfig:
    """The study that trains every run of the design with every seed.

    Args:
        config: a study's config, of which teacher, metric and options are taken, or a run config.
        parts: of ``PARTS``, each once.
        seeds: how many each run of the design is trained with.
        reference: the run that differences of runs are taken against; None: that with all parts.
        overrides: study keys.

    Raises:
        ConfigError: no such part, or what is wrong with the config.
    """
    from fourierkd.analysis.factorial import design

    _check(parts)
    parts = [part for part in PARTS if part in parts]  # whatever the order, the same runs
    points = {_name(parts, on): list(on) for on in design(parts)}
    study = study_of(
        config,
        "components",
        {
            "reference_arms": {name: _options(parts, on) for name, on in points.items()},
            "parts": points,
            "baseline": reference or next(iter(points)),
            "final_seeds": seeds,
            **(overrides or {}),
        },
    )
    if "iou" in parts and "head" not in roles(study.config, study.options):
        raise ConfigError(
            "the part iou is one of detectors of one head family, whose taps name a head",
            value=str(config),
            fix="leave it out",
        )
    return study


def _check(parts: Sequence[str]) -> None:
    if not parts:
        raise ConfigError("a component study names parts", fix=f"--factors {','.join(PARTS)}")
    for part in parts:
        if part not in PARTS:
            raise ConfigError(
                "a factor is a part of FourierLoss", value=part, fix=near(part, PARTS)
            )
        if parts.count(part) > 1:
            raise ConfigError("a factor is named once", value=part)


def _name(parts: Sequence[str], on: Collection[str]) -> str:
    """What is moved: ``without_noise_sphere_with_mask``; the method's own name where nothing is."""
    off = [part for part in parts if PARTS[part].in_file and part not in on]
    added = [part for part in parts if not PARTS[part].in_file and part in on]
    words = [*(["without", *off] if off else []), *(["with", *added] if added else [])]
    return "_".join(words) or BASE


def _options(parts: Sequence[str], on: Collection[str]) -> dict[str, Any]:
    moved = [PARTS[part] for part in parts if (part in on) != PARTS[part].in_file]
    return {METHOD: BASE, **{part.option: part.moved for part in moved}}
