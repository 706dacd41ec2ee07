"""The report's section of predictions: which runs, which panels, and what the browser is given."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fourierkd.analysis.predictions import LARGEST, predictions
from fourierkd.analysis.report import write_report
from fourierkd.analysis.results import results_table
from fourierkd.run_dir import RunDir
from tests.predictions import NAMES, add_predictions

Build = Callable[..., RunDir]
TRUTH = np.zeros((48, 64), int)
TRUTH[10:30, 10:30] = 1
PALETTE = {"student_alone": "#111111", "pkd": "#222222", "cwd": "#333333"}


def pixels(panel: dict[str, str]) -> np.ndarray:
    head, _, data = panel["data"].partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def final(build: Build, method: str, seed: int, answer: int | None, **known) -> RunDir:
    """A final run whose student sees ``answer`` everywhere; None leaves no pictures."""
    run = build(f"{method}_{seed}", phase="final", method=method, seed=seed, test=30.0, **known)
    if answer is not None:
        answers = {"truth": TRUTH, "student": np.full((48, 64), answer)}
        if method != "student_alone":
            answers["teacher"] = np.full((48, 64), 1)
        add_predictions(run, answers, score=10.0 * answer + seed)
    return run


def test_one_seed_that_most_methods_have_and_each_methods_own_student(
    build_run: Build, tmp_path: Path
) -> None:
    runs = [
        final(build_run, "student_alone", 100, 0),
        final(build_run, "student_alone", 101, 0),
        final(build_run, "pkd", 100, None),
        final(build_run, "pkd", 101, 2),
        final(build_run, "cwd", 100, 1, state="failed", reason="x"),
    ]
    found = predictions(results_table(runs), tmp_path, PALETTE)
    assert found["seed"] == 101
    assert [m["name"] for m in found["methods"]] == ["student_alone", "pkd"]
    assert [name for _, name, _ in found["legend"]] == list(NAMES)
    assert [image["image"] for image in found["images"]] == ["a.png", "b.png"]
    for image in found["images"]:
        # the teacher is of the method that has one
        assert [p["name"] for p in image["beside"]] == ["input", "truth", "teacher"]
        alone, pkd = (pixels(panel) for panel in image["students"])
        assert alone.shape == (144, 192, 3)
        assert max(alone.shape) <= LARGEST
        grey, other = (187, 187, 187), (86, 180, 233)
        assert (alone[5, 5] == grey).all()
        assert (pkd[5, 5] == other).all()
        truth = pixels(image["beside"][1])
        assert (truth[5, 5] == grey).all()
        assert (truth[31, 31] == (230, 159, 0)).all()
        assert [p["note"] for p in image["students"]] == ["mIoU 101.0", "mIoU 121.0"]
    rules = [[(e["rule"], e["image"]) for e in own] for own in found["extremes"]]
    assert rules == [[("worst", "w.png"), ("best", "a.png")]] * 2
    panels = [[p["name"] for p in own[0]["panels"]] for own in found["extremes"]]
    assert panels == [["input", "truth", "student"], ["input", "truth", "teacher", "student"]]


def test_the_page_shows_one_method_at_a_time_and_names_come_escaped(
    build_run: Build, tmp_path: Path
) -> None:
    methods = ("student_alone", "pkd")
    runs = [final(build_run, m, s, 2 * i) for i, m in enumerate(methods) for s in (100, 101)]
    page = write_report(tmp_path, results_table(runs)).read_text()
    assert page.count("<h2") == page.count("</h2>")
    buttons = re.findall(r'<input type="radio" name="by-method" value="(\d)"( checked)?', page)
    assert buttons == [("0", " checked"), ("1", "")]
    parts = re.findall(r'data-method="(\d)"( hidden)?', page)
    assert len(parts) == 2 * (2 + 2)  # two fixed images, the worst and the best
    assert all(bool(hidden) == (number != "0") for number, hidden in parts)
    assert "2 a &lt;b&gt; &amp; &#39;c&#39;" in page
    assert "<b>" not in page.partition('id="predictions"')[2].partition("<h2")[0]
    section = page.partition('id="predictions"')[2].partition("<h2")[0]
    assert len(section) < 200_000


def test_without_pictures_there_is_no_section(build_run: Build, tmp_path: Path) -> None:
    runs = [final(build_run, m, s, None) for m in ("student_alone", "pkd") for s in (100, 101)]
    assert predictions(results_table(runs), tmp_path, PALETTE) == {}
    assert "Predictions" not in write_report(tmp_path, results_table(runs)).read_text()
    final(build_run, "pkd", 100, 1).prediction_picture("1").unlink()
    assert ">Predictions</h2>" in write_report(tmp_path, results_table(runs)).read_text()
