"""Contact sheets of labelled images: in flow images and their labels, out flows one picture.

Each image carries its boxes, or has its label map beside it; colours, numbers and names of classes
are those of the pictures of predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fourierkd.tracking.figures import GAP, INK, MARGIN, PALE, text_width, write_text
from fourierkd.tracking.prediction_pictures import (
    LEGEND_LINE,
    Answer,
    Boxes,
    draw_legend,
    legend_lines,
    legend_of,
    painted,
    panel_of,
    scaled_answer,
)

WIDEST = 1800  # px of a sheet, unless a single image is wider
NAME_LINE, TITLE = 16, 34  # px above an image, and above them all
SHORTENED = "…"


class Labelled(NamedTuple):
    """An image and its labels.

    Attributes:
        pixels: (H, W, 3), uint8, RGB.
        labels: a label map (H, W), or boxes in px of the image.
        name: what it is called.
    """

    pixels: np.ndarray
    labels: Answer
    name: str


def label_sheet(images: Sequence[Labelled], names: Sequence[str], title: str) -> np.ndarray:
    """Draw images with their labels in rows, a legend below.

    Args:
        images: at least one; their sizes may differ.
        names: of the classes. A label of a map that is no class is drawn as ignored, in white.
        title: one line above them.

    Returns:
        (h, w, 3), uint8, RGB.
    """
    tiles = [_tile(image, names) for image in images]
    wide, high = (max(tile.shape[axis] for tile in tiles) for axis in (1, 0))
    columns = max(1, min(len(tiles), (WIDEST - 2 * MARGIN + GAP) // (wide + GAP)))
    rows = -(-len(tiles) // columns)
    total = max(2 * MARGIN + columns * (wide + GAP) - GAP, 2 * MARGIN + text_width(title, 15))
    legend = legend_of({str(i): image.labels for i, image in enumerate(images)}, names)
    lines = legend_lines(legend, total - 2 * MARGIN)
    bottom = TITLE + rows * (high + NAME_LINE + GAP)
    sheet = np.full((bottom + LEGEND_LINE * len(lines) + 6, total, 3), 255, np.uint8)
    write_text(sheet, MARGIN, 16, title, 15, INK, "left")
    for number, (tile, image) in enumerate(zip(tiles, images, strict=True)):
        left = MARGIN + number % columns * (wide + GAP)
        top = TITLE + number // columns * (high + NAME_LINE + GAP) + NAME_LINE
        write_text(sheet, left, top - 8, _fitting(image.name, wide), 11, PALE, "left")
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    draw_legend(sheet, bottom + 4, lines, legend, names)
    return sheet


def _tile(image: Labelled, names: Sequence[str]) -> np.ndarray:
    """The image with its boxes, or the image and its label map."""
    shown = panel_of(image.pixels)
    height, width = shown.shape[:2]
    labels = painted(shown, scaled_answer(image.labels, image.pixels, height, width), names)
    if isinstance(image.labels, Boxes):
        return labels
    between = np.full((height, 2, 3), 255, np.uint8)
    return np.concatenate([shown, between, labels], axis=1)


def _fitting(name: str, width: int) -> str:
    """The end of a long name, which tells files apart."""
    if text_width(name, 11) <= width:
        return name
    while name and text_width(SHORTENED + name, 11) > width:
        name = name[1:]
    return SHORTENED + name
