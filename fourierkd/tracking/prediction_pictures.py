"""Pictures of predictions: in flow an image and what truth and models say of it, out flow pages.

Segmentation: label maps in flat colours; detection: boxes over the image. The colours are those of
Okabe and Ito (2008), told apart with any colour vision; of more classes they repeat, so a region
carries the number of its class, a box its name, or number where names are long. By numpy, cv2 and
PIL alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from fourierkd.tracking.figures import GAP, INK, MARGIN, PALE, text_width, write_text

SMALLEST_PANEL, LARGEST_PANEL = 192, 384  # px of a panel's longer side
NARROWEST = 176  # px of a column, so that its note fits
LEGEND_LINE = 20  # px
WIDEST_NAME = 0.4  # of a panel's width
THRESHOLD = 0.3  # the lowest score of a box that is drawn, as MMDetection's demos have it
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (0, 0, 0),
)  # fmt: skip
BACKGROUND, IGNORED = (187, 187, 187), (255, 255, 255)
BACKGROUND_NAMES = ("background", "bg")
NO_CLASS = "ignored"  # in a legend
FIXED_IMAGES = 6
WORST, BEST = "worst", "best"  # what pictures are called, beside the fixed ones' numbers
INPUT, TRUTH, TEACHER, STUDENT = "input", "truth", "teacher", "student"

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        bboxes: (n, 4), x1, y1, x2, y2 in px of the image.
        labels: (n,), their classes.
        scores: (n,), in [0, 1]; None for a truth.
    """

    bboxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def where(self, chosen: np.ndarray) -> Boxes:
        """Those that ``chosen`` (n,), a mask or indices, names."""
        scores = None if self.scores is None else self.scores[chosen]
        return Boxes(self.bboxes[chosen], self.labels[chosen], scores)

    def drawn(self) -> Boxes:
        """Those of at least ``THRESHOLD``, the surest last; all of a truth."""
        if self.scores is None:
            return self
        order = np.argsort(self.scores, kind="stable")
        return self.where(order[self.scores[order] >= THRESHOLD])

    def scaled(self, width: float, height: float) -> Boxes:
        """In px of an image that is so many times as wide and as high."""
        times = np.array([width, height, width, height])
        return Boxes((self.bboxes * times).astype(np.float32), self.labels, self.scores)


Answer: TypeAlias = np.ndarray | Boxes  # a label map (H, W), or boxes


@dataclass(frozen=True)
class Page:
    """A picture and how to read it.

    Attributes:
        pixels: (h, w, 3), uint8, RGB.
        panels: name -> x, y, width, height of the panel in the picture.
        legend: class -> its name, of all classes that are drawn.
        answers: what truth and models say, in px of a panel.
    """

    pixels: np.ndarray
    panels: dict[str, tuple[int, int, int, int]]
    legend: dict[int, str]
    answers: dict[str, Answer]


def prediction_page(
    image: np.ndarray,
    answers: Mapping[str, Answer],
    names: Sequence[str],
    title: str,
    notes: Mapping[str, str],
) -> Page:
    """Draw the image and beside it each answer in a panel of its own, with a legend below.

    Args:
        image: (H, W, 3), uint8, RGB.
        answers: ``truth``, ``teacher``, ``student`` -> a label map (H, W), or boxes, in px of the
            image. A label that is no class is drawn as ignored, in white.
        names: of the classes.
        title: one line above the panels.
        notes: panel -> what stands beside its name.
    """
    shown = panel_of(image)
    height, width = shown.shape[:2]
    scaled = {name: scaled_answer(answer, image, height, width) for name, answer in answers.items()}
    legend = legend_of(scaled, names)
    panels = {INPUT: shown}
    panels |= {name: painted(shown, answer, names) for name, answer in scaled.items()}

    column, top = max(width, NARROWEST), 50
    total = 2 * MARGIN + len(panels) * column + (len(panels) - 1) * GAP
    lines = legend_lines(legend, total - 2 * MARGIN)
    page = np.full((top + height + 12 + LEGEND_LINE * len(lines) + 6, total, 3), 255, np.uint8)
    write_text(page, MARGIN, 16, title, 15, INK, "left")
    places = {}
    for k, (name, panel) in enumerate(panels.items()):
        left = MARGIN + k * (column + GAP)
        page[top - 1 : top + height + 1, left - 1 : left + width + 1] = 150
        page[top : top + height, left : left + width] = panel
        places[name] = (left, top, width, height)
        write_text(page, left, top - 11, name, 13, INK, "left")
        start = left + text_width(name, 13) + 7
        write_text(page, start, top - 10, notes.get(name, ""), 11, PALE, "left")
    draw_legend(page, top + height + 22, lines, legend, names)
    return Page(page, places, legend, scaled)


def panel_size(height: int, width: int) -> tuple[int, int]:
    """Of an image in px: an integer multiple of a small one, a shrunk large one."""
    longer = max(height, width)
    if longer > LARGEST_PANEL:
        shrunk = LARGEST_PANEL / longer
        return max(round(height * shrunk), 1), max(round(width * shrunk), 1)
    scale = -(-SMALLEST_PANEL // longer)
    return (height * scale, width * scale) if longer < SMALLEST_PANEL else (height, width)


def panel_of(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) in the size of ``panel_size``."""
    height, width = panel_size(*image.shape[:2])
    shrinks = height < image.shape[0]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(image, (width, height), interpolation=kind)


def colour_of(label: int, names: Sequence[str]) -> RGB:
    """RGB of a class: the palette's in turn, grey for a background, white for what is no class."""
    if not 0 <= label < len(names):
        return IGNORED
    if names[label].lower() in BACKGROUND_NAMES:
        return BACKGROUND
    before = sum(name.lower() in BACKGROUND_NAMES for name in names[:label])
    return COLOURS[(label - before) % len(COLOURS)]


def scaled_answer(answer: Answer, image: np.ndarray, height: int, width: int) -> Answer:
    """An answer on an image (H, W, 3), in px of a panel of that size."""
    if isinstance(answer, Boxes):
        return answer.scaled(width / image.shape[1], height / image.shape[0])
    labels = np.clip(answer, -1, 65534).astype(np.uint16)  # -1 is none, as 65535
    kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    resized = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    return resized.astype(kind)


def legend_of(answers: Mapping[str, Answer], names: Sequence[str]) -> dict[int, str]:
    """Class -> its name, of all that are drawn; what is no class is ``NO_CLASS``."""
    found: set[int] = set()
    for answer in answers.values():
        labels = answer.drawn().labels if isinstance(answer, Boxes) else answer
        found.update(np.unique(labels).tolist())
    known = sorted(label for label in found if 0 <= label < len(names))
    legend = {label: names[label] for label in known}
    others = found.difference(known)
    return legend | ({min(others): NO_CLASS} if others else {})


def legend_lines(legend: Mapping[int, str], width: int) -> list[list[tuple[int, int]]]:
    """Lines of (left, class), broken at ``width`` px."""
    lines: list[list[tuple[int, int]]] = []
    left = width
    for label in legend:
        wide = 17 + text_width(_entry(label, legend), 11) + 16
        if left + wide > width or not lines:
            lines.append([])
            left = 0
        lines[-1].append((left, label))
        left += wide
    return lines


def draw_legend(
    page: np.ndarray,
    top: int,
    lines: Sequence[Sequence[tuple[int, int]]],
    legend: Mapping[int, str],
    names: Sequence[str],
) -> None:
    """Draw swatches and names, in place, ``LEGEND_LINE`` px a line.

    Args:
        page: (h, w, 3), uint8, RGB.
        top: the middle of the first line, in px.
        lines, legend: of ``legend_lines`` and ``legend_of``.
        names: of the classes.
    """
    for row, line in enumerate(lines):
        y = top + LEGEND_LINE * row
        for left, label in line:
            page[y - 6 : y + 6, MARGIN + left : MARGIN + left + 12] = PALE
            swatch = page[y - 5 : y + 5, MARGIN + left + 1 : MARGIN + left + 11]
            swatch[:] = colour_of(label, names)
            text = _entry(label, legend)
            write_text(page, MARGIN + left + 17, y, text, 11, INK, "left")


def _entry(label: int, legend: Mapping[int, str]) -> str:
    return legend[label] if legend[label] == NO_CLASS else f"{label} {legend[label]}"


def painted(image: np.ndarray, answer: Answer, names: Sequence[str]) -> np.ndarray:
    """A label map in flat colours with numbers, or the image with boxes; (H, W, 3), uint8, RGB."""
    if isinstance(answer, Boxes):
        return _with_boxes(image, answer.drawn(), names)
    table = np.array([colour_of(k, names) for k in range(len(names) + 1)], np.uint8)
    panel: np.ndarray = table[np.minimum(answer, len(names))]
    for label in np.unique(answer).tolist():
        if label < len(names) and names[label].lower() not in BACKGROUND_NAMES:
            _number(panel, answer == label, label, names)
    return panel


def _number(panel: np.ndarray, region: np.ndarray, label: int, names: Sequence[str]) -> None:
    """Write a class's number where its region is widest, if there is room."""
    padded = np.pad(region.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if depth[y, x] >= 4 + text_width(str(label), 11) / 2:
        write_text(panel, float(x), float(y), str(label), 11, _ink_on(label, names), "middle")


def _with_boxes(image: np.ndarray, boxes: Boxes, names: Sequence[str]) -> np.ndarray:
    panel = image.copy()
    longest = max((text_width(name, 10) for name in names), default=0)
    named = longest <= panel.shape[1] * WIDEST_NAME  # else numbers, as in the legend
    for i, (label, box) in enumerate(zip(boxes.labels.tolist(), boxes.bboxes, strict=True)):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = colour_of(label, names)
        cv2.rectangle(panel, (x1, y1), (x2 - 1, y2 - 1), colour, 2)
        text = names[label] if named and 0 <= label < len(names) else str(label)
        if boxes.scores is not None:
            text += f" {boxes.scores[i]:.2f}"
        below = y1 < 14  # no room above
        top = min(max(y1 if below else y1 - 14, 0), panel.shape[0] - 14)
        left = min(max(x1, 0), max(panel.shape[1] - text_width(text, 10) - 6, 0))
        panel[top : top + 14, left : left + text_width(text, 10) + 6] = colour
        write_text(panel, left + 3, top + 7, text, 10, _ink_on(label, names), "left")
    return panel


def _ink_on(label: int, names: Sequence[str]) -> RGB:
    red, green, blue = colour_of(label, names)
    return (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else (255, 255, 255)
