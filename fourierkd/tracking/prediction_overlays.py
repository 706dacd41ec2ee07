"""Predictions for W&B: in flows a run folder's picture with its arrays, out flows an image whose
masks or boxes W&B lays over it, each with the names of the classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fourierkd.run_dir import Row, RunDir
from fourierkd.tracking.prediction_pictures import (
    INPUT,
    NO_CLASS,
    STUDENT,
    TEACHER,
    THRESHOLD,
    TRUTH,
)

MOST = 128  # numbers of a mask


def overlaid(run_dir: RunDir, row: Row) -> Any:
    """The ``wandb.Image`` of a picture of predictions.

    Args:
        row: of ``RunDir.prediction_rows``.

    Returns:
        The input, with ``truth``, ``teacher`` (where there is one) and ``student`` over it: masks,
        or the boxes that the picture has.
    """
    import wandb
    from PIL import Image

    x, y, width, height = row["panels"][INPUT]
    with Image.open(run_dir.prediction_picture(row["name"])) as picture:
        pixels = np.asarray(picture.convert("RGB").crop((x, y, x + width, y + height)))
    names = {label: name for label, name, _ in row["legend"]}
    with np.load(run_dir.prediction_arrays, allow_pickle=False) as file:
        start = f"{row['name']}_"
        arrays = {k.removeprefix(start): file[k] for k in file.files if k.startswith(start)}
    numbers = _numbers(names)
    of_number = {number: names[label] for label, number in numbers.items()}
    overlays: dict[str, dict[str, Any]] = {"masks": {}, "boxes": {}}
    for who in (TRUTH, TEACHER, STUDENT):
        if who in arrays:
            mask = _renumbered(arrays[who], numbers)
            overlays["masks"][who] = {"mask_data": mask, "class_labels": of_number}
        elif f"{who}_bboxes" in arrays:
            boxes = _boxes(arrays, who, names)
            overlays["boxes"][who] = {"box_data": boxes, "class_labels": names}
    given = {kind: own for kind, own in overlays.items() if own}
    return wandb.Image(pixels, caption=_caption(row), file_type="jpg", **given)


def _numbers(names: dict[int, str]) -> dict[int, int]:
    """Label -> its number in W&B's mask, whose numbers above 127 come out as 0.

    A class keeps its own where all of them may; what is no class comes after them.
    """
    classes = sorted(label for label, name in names.items() if name != NO_CLASS)
    own = classes if max(classes, default=0) < MOST - 1 else range(len(classes))
    numbers = dict(zip(classes, own, strict=True))
    return numbers | {label: max(own, default=-1) + 1 for label in names.keys() - numbers}


def _renumbered(labels: np.ndarray, numbers: dict[int, int]) -> np.ndarray:
    mask = np.zeros(labels.shape, np.uint8)
    for label, number in numbers.items():
        mask[labels == label] = number
    return mask


def _boxes(arrays: dict[str, np.ndarray], who: str, names: dict[int, str]) -> list[dict[str, Any]]:
    found = []
    scores = arrays.get(f"{who}_scores")
    for i, (box, label) in enumerate(
        zip(arrays[f"{who}_bboxes"].tolist(), arrays[f"{who}_labels"].tolist(), strict=True)
    ):
        if scores is not None and scores[i] < THRESHOLD:
            continue
        caption = names.get(label, str(label))
        entry = {
            "position": dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True)),
            "domain": "pixel",
            "class_id": label,
            "box_caption": caption if scores is None else f"{caption} {scores[i]:.2f}",
        }
        if scores is not None:
            entry["scores"] = {"score": float(scores[i])}
        found.append(entry)
    return found


def _caption(row: Row) -> str:
    score = "–" if row["score"] is None else f"{row['score']:.4g}"
    return f"{row['image']} ({row['rule']}), {row['measure']} {score}"
