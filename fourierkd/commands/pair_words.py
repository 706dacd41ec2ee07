"""What ``fourierkd new`` says of a pair: in flows what was found, out flow lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel

from fourierkd.config.load import RunConfig
from fourierkd.data.check import leaves
from fourierkd.data.found import Found
from fourierkd.data.images import read_header
from fourierkd.distill.roles import Roles
from fourierkd.errors import listed

BIGGER = 2  # times the image that a pipeline may scale to, before it is worth a word


def model_words(model: BaseModel) -> str:
    """The classes that a model is made of, and its size."""
    parts = [type(model).__name__, type(getattr(model, "backbone", model)).__name__]
    head = getattr(model, "decode_head", None)
    if head is not None:
        parts.append(type(head).__name__)
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{', '.join(parts)}, {count / 1e6:.3g} million parameters"


def tap_words(role: str, roles: Roles) -> str:
    """Where a role is tapped, and at which strides of the student."""
    ours, theirs = roles.taps[role]
    text = ours if ours == theirs else f"{ours} and, of the teacher, {theirs}"
    if role in roles.strides:
        text += f", stride {', '.join(map(str, roles.strides[role][0]))}"
    return text


def said_of_data(config: RunConfig, found: Found | None) -> list[str]:
    """What of the data that were found is not as one may expect, a sentence each.

    Args:
        config: the run of the student alone.
        found: None where its own config names the data.
    """
    if found is None:
        return []
    said = []
    if "test" not in found.splits:
        what = (
            "that is the benchmark's way"
            if found.format == "cityscapes"
            else ("that flatters what a study tunes; give a test split for final numbers")
        )
        said.append(f"no test split: final scores are on val, too; {what}")
    width, height = read_header(found.splits["train"].example).loaded
    scales: dict[tuple[int, ...], str] = {}
    for key in ("train_dataloader", "val_dataloader"):
        for leaf in leaves(config[key].dataset.to_dict()):
            scales |= {step["scale"]: key for step in leaf["pipeline"] if _is_scale(step)}
    large = [scale for scale in scales if max(scale) > BIGGER * max(width, height)]
    if large:
        said.append(
            f"images of {width}x{height} are scaled to {listed([str(s) for s in large])}, as the "
            "student's own config has it: scale and crop_size stand in data.py"
        )
    return said


def _is_scale(step: Mapping[str, Any]) -> bool:
    scale = step.get("scale")
    return isinstance(scale, tuple) and all(isinstance(side, int) for side in scale)


def data_words(found: Found | None, config: RunConfig, count: int) -> str:
    """Where the data are, how many images in each split, and which classes."""
    if found is None:
        leaf = next(leaves(config.train_dataloader.dataset.to_dict()))
        return f"the student's own: {leaf.get('type')} in {leaf.get('data_root')}, {count} classes"
    parts = []
    for split, part in found.splits.items():
        boxes = "" if part.objects is None else f" with {part.objects} boxes"
        where = part.files.get("ann_file") or " and ".join(part.files["data_prefix"].values())
        parts.append(
            f"{split} {part.images} images{boxes} ({where.replace('{{fileDirname}}/', '')})"
        )
    names = f": {listed(found.classes, 8)}" if found.classes else ""
    return f"{found.format} in {found.root}: {', '.join(parts)}; {count} classes{names}"


def schedule_words(config: RunConfig) -> str:
    """How long a run trains."""
    loop = config.train_cfg
    length = f"{loop['max_iters']} iterations" if loop.get("max_iters") else None
    length = length or f"{loop.get('max_epochs')} epochs"
    return f"{length} of {config.train_dataloader.batch_size} images a step, the student's own"
