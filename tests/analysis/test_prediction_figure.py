"""Pictures of predictions side by side: which panels a figure has, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fourierkd.analysis.prediction_figure import extremes_figure, image_figure, images_of
from fourierkd.analysis.predictions import predictions
from fourierkd.analysis.results import results_table
from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir
from tests.analysis.test_predictions import PALETTE, final


def test_an_image_has_the_student_of_every_method(
    build_run: Callable[..., RunDir], tmp_path: Path
) -> None:
    runs = [final(build_run, "student_alone", 100, 0), final(build_run, "pkd", 100, 2)]
    found = predictions(results_table(runs), tmp_path, PALETTE)
    assert images_of(found) == ["a.png", "b.png"]
    assert images_of({}) == []
    figure = image_figure(found, "b.png")
    shown = {ax.get_title(): ax.get_images() for ax in figure.axes if ax.get_images()}
    assert list(shown) == [
        "input",
        "truth",
        "teacher\nmIoU 120.0",
        "student_alone\nmIoU 100.0",
        "pkd\nmIoU 120.0",
    ]
    pixel = shown["pkd\nmIoU 120.0"][0].get_array()[5, 5]
    assert pixel.tolist() == [86, 180, 233]  # what its student says everywhere
    assert figure.get_suptitle() == "b.png (val), seed 100"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["0 background", "1 disc", "2 a <b> & 'c'"]
    assert image_figure(found).get_suptitle() == "a.png (val), seed 100"
    for unknown in ("c.png", 2, -1):
        with pytest.raises(ConfigError, match=r"no such image.*known: a.png, b.png"):
            image_figure(found, unknown)

    worst = extremes_figure(found, "worst")
    titles = [ax.get_title() for ax in worst.axes if ax.get_images()]
    assert titles == [
        "student_alone: w.png",
        "truth",
        "student\nmIoU 100.0",
        "pkd: w.png",
        "truth",
        "teacher\nmIoU 120.0",
        "student\nmIoU 120.0",
    ]
    with pytest.raises(ConfigError, match="name worst or best"):
        extremes_figure(found, "median")
