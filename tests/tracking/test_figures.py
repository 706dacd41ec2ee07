"""Pictures of spectra: the right colour at the right place, at any size."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fourierkd.errors import ConfigError
from fourierkd.tracking.figures import CAPTION, LARGEST_PANEL, spectra_picture

TOP, MARGIN = 50, 14


def panels(picture: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """The three panels of a picture whose spectra are at least 150 px wide when drawn."""
    step = (picture.shape[1] - 2 * MARGIN - width) // 2
    return [picture[TOP : TOP + height, MARGIN + k * step :][:, :width] for k in range(3)]


def spectrum(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, size))


def test_every_bin_is_a_square_of_the_right_colour() -> None:
    teacher = np.zeros((16, 16))
    student = np.zeros((16, 16))
    student[3, 5], teacher[12, 10] = 2.0, 2.0
    picture = spectra_picture(student, teacher, None, "t")
    left, middle, right = panels(picture, 176, 176)
    cell = np.s_[3 * 11 : 4 * 11, 5 * 11 : 6 * 11]
    other = np.s_[12 * 11 : 13 * 11, 10 * 11 : 11 * 11]
    dark, bright = left[0, 0], middle[cell][0, 0]
    assert (middle[cell] == bright).all()
    assert (left[other] == bright).all()
    assert dark.sum() < bright.sum()
    assert (left[cell] == dark).all()
    assert (right[0, 0] == 255).all()  # no difference is white
    assert right[cell][5, 5, 0] > right[cell][5, 5, 2]  # more than the teacher: red
    assert right[other][5, 5, 2] > right[other][5, 5, 0]  # less: blue
    assert len(np.unique(right.reshape(-1, 3), axis=0)) == 3


def test_the_contour_lies_where_the_mask_is_half() -> None:
    y, x = np.mgrid[:16, :16] - 8
    low_pass = 1 / (1 + np.exp((np.hypot(x, y) - 4.0) / 0.5))
    flat = np.zeros((16, 16))
    drawn = panels(spectra_picture(flat, flat, low_pass, "t"), 176, 176)[2]
    rows, columns = np.nonzero((drawn != 255).any(-1))
    middle = 8.5 * 11  # px of the DC bin's middle
    radius = np.hypot(rows + 0.5 - middle, columns + 0.5 - middle) / 11
    assert len(rows) > 2 * np.pi * 4 * 11
    assert radius.min() > 3.5
    assert radius.max() < 4.5


def test_a_constant_mask_and_a_plateau_at_half_draw_no_line() -> None:
    flat = np.zeros((16, 16))
    plain = spectra_picture(flat, flat, None, "t")
    assert (spectra_picture(flat, flat, np.full((16, 16), 0.7), "t") == plain).all()
    plateau = np.full((16, 16), 0.5)
    plateau[:4], plateau[-4:] = 0.0, 1.0
    drawn = panels(spectra_picture(flat, flat, plateau, "t"), 176, 176)[2]
    assert (drawn[70:106] == 255).all()


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((8, 8), (176, 176)),
        ((50, 84), (150, 252)),
        ((21, 33), (126, 198)),
        ((700, 350), (LARGEST_PANEL, LARGEST_PANEL // 2)),
        ((1, 40), (24, 200)),
    ],
)
def test_any_size_is_drawn_with_its_own_proportions(
    shape: tuple[int, int], drawn: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    picture = spectra_picture(rng.normal(size=shape), rng.normal(size=shape), None, "t")
    assert picture.dtype == np.uint8
    assert picture.shape == (drawn[0] + 104, 3 * max(drawn[1], 150) + 64, 3)


def test_values_that_are_not_finite_take_the_lowest_colour() -> None:
    teacher = spectrum(16)
    student = teacher.copy()
    student[2, 2] = -np.inf
    left, middle, right = panels(spectra_picture(student, teacher, None, "t"), 176, 176)
    assert (middle[2 * 11] != left[2 * 11]).any()
    assert (right[2 * 11 + 5, 2 * 11 + 5] != 255).any()


def test_title_and_ranges_are_written() -> None:
    a, b = spectrum(16), spectrum(16, seed=1)
    one, two = (spectra_picture(a, b, None, title) for title in ("layer4", "layer3"))
    assert (one[:30] != two[:30]).any()
    assert (one[30:] == two[30:]).all()
    scaled = spectra_picture(3 * a, 3 * b, None, "layer4")
    assert (scaled[50:226] == one[50:226]).mean() > 0.98  # the same picture
    assert (scaled[-24:] != one[-24:]).any()  # with other numbers below


def test_a_caption_is_below_and_says_what_the_colours_mean() -> None:
    a, b = spectrum(16), spectrum(16, seed=1)
    plain = spectra_picture(a, b, None, "t")
    picture = spectra_picture(a, b, None, "t", ("student layer4, teacher layer4", "mean over 4"))
    assert len(picture) == len(plain) + 2 * CAPTION
    assert (picture[: len(plain) - CAPTION] == plain[:-CAPTION]).all()
    lines = picture[len(plain) - CAPTION // 2 :].min(axis=(1, 2)) < 255
    assert np.count_nonzero(np.diff(lines.astype(int)) == 1) >= 2  # two lines of ink


def test_a_mismatch_is_named() -> None:
    with pytest.raises(ConfigError, match="teacher and student spectra need one shape"):
        spectra_picture(spectrum(16), spectrum(8), None, "t")
    with pytest.raises(ConfigError, match="mask and student"):
        spectra_picture(spectrum(16), spectrum(16), np.ones(16), "t")


def test_drawing_loads_no_matplotlib() -> None:
    code = "import sys, fourierkd.tracking.figures as f; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
