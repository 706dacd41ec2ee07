"""Statistics of labels: in flow label maps or boxes of images, out flow rows of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from fourierkd.tracking.prediction_pictures import Answer, Boxes

SMALL, MEDIUM = 32.0, 96.0  # px; COCO's limits of areas are their squares


class LabelCounts:
    """What the labels of images are, class by class.

    Attributes:
        images: how many were added.
        ignored: pixels of label maps that are no class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.images = self.ignored = 0
        self._with = np.zeros(len(names), np.int64)  # images with the class
        self._pixels = np.zeros(len(names), np.int64)
        self._sides: list[list[np.ndarray]] = [[] for _ in names]
        self.boxes = False

    def add(self, labels: Answer) -> None:
        """Count one image's label map (H, W), or its boxes in px."""
        self.images += 1
        if isinstance(labels, Boxes):
            self.boxes = True
            sizes = np.maximum(labels.bboxes[:, 2:] - labels.bboxes[:, :2], 0)
            sides = np.sqrt(sizes[:, 0] * sizes[:, 1])
            for label in np.unique(labels.labels).tolist():
                self._with[label] += 1
                self._sides[label].append(sides[labels.labels == label])
            return
        known = (labels >= 0) & (labels < len(self.names))
        counts = np.bincount(labels[known], minlength=len(self.names))
        self.ignored += int((~known).sum())
        self._pixels += counts
        self._with += counts > 0

    def rows(self) -> list[dict[str, Any]]:
        """A row a class: in how many images it is; its pixels and their share of those that count;
        or its boxes, how many are small, medium and large by COCO's limits, and their sides.

        A side is the square root of the area, in px; None where there is no box.
        """
        return [self._row(number) for number in range(len(self.names))]

    def _row(self, number: int) -> dict[str, Any]:
        row = {"class": self.names[number], "images": int(self._with[number])}
        if not self.boxes:
            total = int(self._pixels.sum())
            pixels = int(self._pixels[number])
            return row | {"pixels": pixels, "share": pixels / total if total else None}
        found = self._sides[number]
        sides = np.concatenate(found) if found else np.zeros(0)
        small, large = int((sides < SMALL).sum()), int((sides >= MEDIUM).sum())
        quantiles = np.quantile(sides, (0, 0.5, 1)).tolist() if len(sides) else [None] * 3
        return row | {
            "boxes": len(sides),
            "small": small,
            "medium": len(sides) - small - large,
            "large": large,
            **dict(zip(("side_min", "side_median", "side_max"), quantiles, strict=True)),
        }


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV with a head; None is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
