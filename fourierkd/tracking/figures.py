"""Pictures of spectra for W&B and reports: in flow centred log amplitudes, out flow RGB arrays.

By numpy, cv2 and PIL alone, so that a hook can draw one in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from fourierkd.errors import ConfigError
from fourierkd.run_dir import write_atomic

SMALLEST_PANEL, LARGEST_PANEL = 176, 352  # px of a panel's longer side
MARGIN, GAP = 14, 18
CAPTION = 16  # px a line
SIGN = "difference: red, the student has more; blue, less"
INK, PALE = (38, 38, 38), (110, 110, 110)
# Blue to white to red, even steps on both sides: ColorBrewer's RdBu (C. Brewer, 2003), reversed.
DIVERGING_ANCHORS = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (255, 255, 255),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write an RGB picture, (height, width, 3) bytes, whole or not at all."""
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    write_atomic(path, encoded.tobytes())


def spectra_picture(
    student: np.ndarray,
    teacher: np.ndarray,
    mask: np.ndarray | None,
    title: str,
    caption: Sequence[str] = (),
) -> np.ndarray:
    """Draw teacher, student and their difference side by side, the mask's contour over them.

    Teacher and student share one colour range (the 0.5 to 99.5 percentiles of both); the
    difference is student minus teacher in log10 units, white at zero, with a symmetric range. The
    contour is where the mask is half way between its least and its greatest weight.

    Args:
        student: (H, W), log10 amplitude, DC in the middle (``fftshift``).
        teacher: (H, W), the same.
        mask: (H, W), weight per frequency, DC in the middle; constant or None: no contour.
        title: One line above the panels.
        caption: Lines below them; the last one goes on with what the colours of the difference
            mean.

    Returns:
        (h, w, 3), uint8, RGB.

    Raises:
        ConfigError: the shapes differ or are not (H, W).
    """
    for name, value in (("teacher", teacher), ("mask", mask)):
        if value is not None and (value.ndim != 2 or value.shape != student.shape):
            raise ConfigError(
                f"{name} and student spectra need one shape (H, W)",
                value=(value.shape, student.shape),
            )
    teacher, student = _finite(teacher), _finite(student)
    centre = (student.shape[1] // 2 + 0.5) / student.shape[1]
    height, width = _panel_size(*student.shape)
    if max(student.shape) > LARGEST_PANEL:
        teacher, student = (
            cv2.resize(v, (width, height), interpolation=cv2.INTER_AREA) for v in (teacher, student)
        )
    difference = student - teacher
    low, high = _range(np.concatenate([teacher.ravel(), student.ravel()]))
    spread = max(float(np.percentile(np.abs(difference), 99.5)), 1e-3)

    line = None if mask is None else _contour(_finite(mask), height, width)
    panels = []
    for name, values, (bottom, top), colours, unit in (
        ("teacher", teacher, (low, high), _sequential(), "log10 amplitude"),
        ("student", student, (low, high), _sequential(), "log10 amplitude"),
        (
            "student - teacher",
            difference,
            (-spread, spread),
            _diverging(),
            "log10 ratio",
        ),
    ):
        last = len(colours) - 1
        index = np.clip((values - bottom) / (top - bottom) * last + 0.5, 0, last).astype(np.uint8)
        picture = cv2.resize(colours[index], (width, height), interpolation=cv2.INTER_NEAREST)
        if line is not None:
            _draw(picture, line, light=colours is _sequential())
        panels.append((name, picture, bottom, top, colours, unit))
    note = "line: mask at half level" if line is not None else ""
    lines = [*caption[:-1], f"{caption[-1]}; {SIGN}"] if caption else []
    return _page(panels, centre, title, note, lines)


def _page(
    panels: list[tuple[str, np.ndarray, float, float, np.ndarray, str]],
    centre: float,
    title: str,
    note: str,
    caption: Sequence[str],
) -> np.ndarray:
    """Panels in a row on white: names above, frequency ticks, colour bars and caption below."""
    height, width = panels[0][1].shape[:2]
    column = max(width, 150)
    top = 50
    bottom = top + height + 54
    page = np.full(
        (
            bottom + CAPTION * len(caption),
            2 * MARGIN + len(panels) * column + (len(panels) - 1) * GAP,
            3,
        ),
        255,
        np.uint8,
    )
    for row, text in enumerate(caption):
        write_text(page, MARGIN, bottom + CAPTION * row + 4, text, 11, PALE, "left")
    write_text(page, MARGIN, 16, title, 15, INK, "left")
    write_text(page, page.shape[1] - MARGIN, 16, note, 11, PALE, "right")
    for k, (name, picture, low, high, colours, unit) in enumerate(panels):
        left = MARGIN + k * (column + GAP) + (column - width) // 2
        middle, right, dc = left + width / 2, left + width, left + centre * width
        page[top - 1 : top + height + 1, left - 1 : right + 1] = 150
        page[top : top + height, left:right] = picture
        for x in (left, int(dc), right - 1):
            page[top + height : top + height + 5, x] = 90
        page[top + height + 23 : top + height + 32, left:right] = colours[
            np.linspace(0, len(colours) - 1, width).astype(np.uint8)
        ]
        write_text(page, middle, top - 11, name, 13, INK, "middle")
        y = top + height + 12
        write_text(page, left, y, "-1", 11, PALE, "left")
        write_text(page, dc, y, "0", 11, PALE, "middle")
        write_text(page, right, y, "1 Nyquist", 11, PALE, "right")
        y = top + height + 42
        write_text(page, left, y, _number(low), 11, INK, "left")
        write_text(page, middle, y, unit, 11, PALE, "middle")
        write_text(page, right, y, _number(high), 11, INK, "right")
    return page


def _finite(values: np.ndarray) -> np.ndarray:
    """As float; what is not finite takes the smallest finite value."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    if finite.all():
        return values
    return np.where(finite, values, values[finite].min() if finite.any() else 0.0)


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return (low, high) if high - low > 1e-6 else (low - 0.5, low + 0.5)


def _panel_size(height: int, width: int) -> tuple[int, int]:
    """Panel size in px: an integer multiple of a small spectrum, a shrunk large one."""
    longer = max(height, width)
    if longer > LARGEST_PANEL:
        return (
            max(round(height * LARGEST_PANEL / longer), 24),
            max(round(width * LARGEST_PANEL / longer), 24),
        )
    scale = -(-SMALLEST_PANEL // longer)
    return max(height * scale, 24), max(width * scale, 24)


def _contour(mask: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """Distance in px to the line at half of the mask's range; None for a constant mask."""
    low, high = float(mask.min()), float(mask.max())
    if high - low <= 1e-6 * max(abs(high), 1e-12):
        return None
    scaled = ((mask - low) / (high - low)).astype(np.float32)
    smooth = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    slope = cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125),
    )
    flat = slope < 1e-4  # a plateau that happens to lie at the level is no line
    return np.where(flat, np.float32(1e3), np.abs(smooth - 0.5) / np.maximum(slope, 1e-4))


def _draw(picture: np.ndarray, distance: np.ndarray, *, light: bool) -> None:
    """Draw an anti-aliased line into ``picture``: white with a dark rim on dark maps, else dark."""
    strokes = ((2.0, 0.0), (1.1, 255.0)) if light else ((1.0, 20.0),)
    for half_width, level in strokes:
        near = distance < half_width + 0.5
        alpha = np.clip(half_width + 0.5 - distance[near], 0.0, 1.0)[:, None]
        picture[near] = (picture[near] * (1 - alpha) + level * alpha + 0.5).astype(np.uint8)


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"


def write_text(
    page: np.ndarray,
    x: float,
    y: float,
    text: str,
    size: int,
    colour: tuple[int, int, int],
    side: str,
) -> None:
    """Write a line into ``page``: ``x`` is its left, middle or right, ``y`` its middle."""
    if not text:
        return
    ink, above = _glyphs(text, size)
    left = max(round(x - {"left": 0.0, "middle": 0.5, "right": 1.0}[side] * ink.shape[1]), 0)
    area = page[max(round(y) + above, 0) :, left:][: ink.shape[0], : ink.shape[1]]
    alpha = ink[: area.shape[0], : area.shape[1], None]
    area[:] = (area * (1 - alpha) + np.asarray(colour, np.float32) * alpha + 0.5).astype(np.uint8)


def text_width(text: str, size: int) -> int:
    """How many px wide ``write_text`` writes a line."""
    return int(_glyphs(text, size)[0].shape[1]) if text else 0


@lru_cache(maxsize=256)
def _glyphs(text: str, size: int) -> tuple[np.ndarray, int]:
    """A line's ink, (h, w) in 0 to 1, and its top relative to the line's middle. Slow: kept."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 4  # drawn large and shrunk: at 11 px the font's own hinting eats the spaces
    font = ImageFont.load_default(scale * size)
    left, top, right, bottom = font.getbbox(text, anchor="lm")
    width, height = -(-(right - left) // scale), -(-(bottom - top) // scale)
    image = Image.new("L", (scale * max(int(width), 1), scale * max(int(height), 1)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font, anchor="lm")
    return np.asarray(image.reduce(scale), dtype=np.float32) / 255.0, round(top / scale)


@lru_cache(maxsize=1)
def _sequential() -> np.ndarray:
    """(256, 3), uint8, RGB: viridis."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    result: np.ndarray = cv2.cvtColor(
        cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB
    )[0]
    return result


@lru_cache(maxsize=1)
def _diverging() -> np.ndarray:
    """(255, 3), uint8, RGB: blue to red; an odd number, so that zero is white."""
    anchors = np.asarray(DIVERGING_ANCHORS, dtype=np.float64)
    where = np.linspace(0, 254, len(anchors))
    channels = [np.interp(np.arange(255), where, anchors[:, c]) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)
