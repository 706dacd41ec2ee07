"""Run folders with pictures of predictions that were made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fourierkd.engine.image_scores import Detection, Segmentation
from fourierkd.engine.predictions import Choice, prediction_row, save_predictions
from fourierkd.run_dir import RunDir
from fourierkd.tracking.prediction_pictures import Answer, Boxes, prediction_page

NAMES = ("background", "disc", "a <b> & 'c'")
IMAGE = np.dstack([*np.meshgrid(np.arange(64), np.arange(48)), np.full((48, 64), 99)])


def add_predictions(
    run_dir: RunDir,
    answers: Mapping[str, Answer],
    *,
    score: float,
    chosen: tuple[tuple[str, str, str], ...] = (
        ("1", "fixed", "a.png"),
        ("2", "fixed", "b.png"),
        ("worst", "worst", "w.png"),
        ("best", "best", "a.png"),
    ),
) -> None:
    """Write the same answers as pictures of every image."""
    boxes = isinstance(answers["truth"], Boxes)
    task = Detection() if boxes else Segmentation(len(NAMES), 255)
    scores = {who: score for who in answers if who != "truth"}
    drawn = []
    for choice in (Choice(*one) for one in chosen):
        page = prediction_page(IMAGE.astype(np.uint8), answers, NAMES, choice.image, {})
        row = prediction_row(run_dir, choice, task, scores, page, NAMES)
        drawn.append(({"iter": 20, **row}, page))
    save_predictions(run_dir, drawn)
