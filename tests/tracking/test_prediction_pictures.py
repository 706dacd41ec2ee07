"""What a page of predictions shows, read off its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from fourierkd.tracking.prediction_pictures import (
    BACKGROUND,
    COLOURS,
    IGNORED,
    THRESHOLD,
    Boxes,
    Page,
    colour_of,
    panel_size,
    prediction_page,
)

NAMES = ("background", "disc", "triangle")
IMAGE = np.full((64, 64, 3), 90, np.uint8)


def at(page: Page, panel: str, x: float, y: float) -> tuple[int, ...]:
    """The colour at fractions of a panel."""
    left, top, width, height = page.panels[panel]
    return tuple(page.pixels[top + int(y * height), left + int(x * width)].tolist())


def halves(left: int, right: int) -> np.ndarray:
    labels = np.full((64, 64), left)
    labels[:, 32:] = right
    return labels


def test_each_panel_has_its_own_label_map_and_nothing_else() -> None:
    answers = {"truth": halves(1, 255), "teacher": halves(1, 2), "student": halves(2, 0)}
    page = prediction_page(IMAGE, answers, NAMES, "a.png", {"student": "mIoU 12.3"})
    assert list(page.panels) == ["input", "truth", "teacher", "student"]
    assert {panel[2:] for panel in page.panels.values()} == {(192, 192)}  # 64 px three times
    disc, triangle = COLOURS[:2]
    assert at(page, "input", 0.1, 0.1) == at(page, "input", 0.9, 0.9) == (90, 90, 90)
    assert (at(page, "truth", 0.05, 0.1), at(page, "truth", 0.95, 0.1)) == (disc, IGNORED)
    assert (at(page, "teacher", 0.49, 0.1), at(page, "teacher", 0.51, 0.1)) == (disc, triangle)
    assert (at(page, "student", 0.05, 0.1), at(page, "student", 0.95, 0.1)) == (
        triangle,
        BACKGROUND,
    )
    assert page.legend == {0: "background", 1: "disc", 2: "triangle", 255: "ignored"}
    np.testing.assert_array_equal(page.answers["student"][::3, ::3], halves(2, 0))
    # below the panels every class has its colour
    below = page.pixels[page.panels["input"][1] + 192 + 8 :].reshape(-1, 3)
    for colour in (BACKGROUND, disc, triangle):
        assert (below == colour).all(1).sum() >= 100


def test_without_a_teacher_there_is_no_panel_of_one() -> None:
    answers = {"truth": halves(0, 1), "student": halves(0, 1)}
    alone = prediction_page(IMAGE, answers, NAMES, "a", {})
    both = prediction_page(IMAGE, {**answers, "teacher": halves(0, 1)}, NAMES, "a", {})
    assert "teacher" not in alone.panels
    assert alone.pixels.shape[1] < both.pixels.shape[1]


def test_a_number_stands_in_a_region_that_has_room_and_only_there() -> None:
    labels = np.zeros((64, 64), int)
    labels[20:44, 20:44] = 1  # 72 px wide on the page
    labels[2:4, 2:4] = 2  # 6 px
    page = prediction_page(IMAGE, {"truth": labels, "student": labels}, NAMES, "", {})
    left, top, _, _ = page.panels["truth"]
    panel = page.pixels[top : top + 192, left : left + 192]
    square, speck = panel[60:132, 60:132].reshape(-1, 3), panel[6:12, 6:12].reshape(-1, 3)
    ink = (square != COLOURS[0]).any(1).mean()
    assert 0 < ink < 0.05
    assert (speck == COLOURS[1]).all()


def test_boxes_are_drawn_where_they_are_and_from_the_threshold_on() -> None:
    truth = Boxes(np.array([[8, 24, 40, 56]], np.float32), np.array([1]))
    found = Boxes(
        np.array([[8, 24, 40, 56], [44, 24, 60, 40]], np.float32),
        np.array([1, 2]),
        np.array([THRESHOLD, THRESHOLD - 0.01], np.float32),
    )
    page = prediction_page(IMAGE, {"truth": truth, "student": found}, NAMES, "", {})
    for panel in ("truth", "student"):
        for x, y in ((24, 55.6), (8.1, 40), (39.6, 40)):  # below, left, right
            assert at(page, panel, x / 64, y / 64) == COLOURS[0]
        assert at(page, panel, 24 / 64, 40 / 64) == (90, 90, 90)  # inside
        assert at(page, panel, 44.1 / 64, 32 / 64) == (90, 90, 90)  # too unsure
    assert at(page, "input", 8.1 / 64, 40 / 64) == (90, 90, 90)
    assert page.legend == {1: "disc"}
    np.testing.assert_array_equal(page.answers["student"].bboxes, 3 * found.bboxes)
    assert len(page.answers["student"].scores) == 2  # all of them are kept


@pytest.mark.parametrize(
    ("size", "panel"),
    [((64, 64), (192, 192)), ((300, 200), (300, 200)), ((1024, 2048), (192, 384))],
)
def test_panels_are_neither_tiny_nor_huge(size: tuple[int, int], panel: tuple[int, int]) -> None:
    assert panel_size(*size) == panel
    labels = np.zeros(size, int)
    labels[:, size[1] // 2 :] = 1
    page = prediction_page(np.zeros((*size, 3), np.uint8), {"truth": labels}, NAMES, "", {})
    assert page.panels["truth"][2:] == panel[::-1]
    assert (at(page, "truth", 0.02, 0.02), at(page, "truth", 0.98, 0.02)) == (
        BACKGROUND,
        COLOURS[0],
    )


def test_a_class_has_one_colour_wherever_and_a_background_takes_none() -> None:
    names = [*"abcdefgh", "background", "i"]
    colours = [colour_of(k, names) for k in range(len(names))]
    assert colours[:8] == list(COLOURS)
    assert colours[8:] == [BACKGROUND, COLOURS[0]]
    assert colour_of(255, names) == colour_of(-1, names) == IGNORED
