"""Pictures of predictions in W&B's own files: masks and boxes with the names of the classes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_wandb_backend import CONFIG, REQUEST, ROWS

from fourierkd.records import State
from fourierkd.run_dir import RunDir
from fourierkd.tracking.prediction_overlays import _numbers
from fourierkd.tracking.prediction_pictures import Boxes
from fourierkd.tracking.record import missing
from fourierkd.tracking.wandb_backend import WandbBackend
from tests.predictions import NAMES, add_predictions
from tests.wandb_files import history, inspect, segments

TRUTH = np.zeros((48, 64), int)
TRUTH[10:30, 10:30] = 1
MASKS = {"truth": TRUTH, "teacher": np.full((48, 64), 2), "student": np.full((48, 64), 255)}
BOXES = {
    "truth": Boxes(np.array([[10, 10, 30, 30]], np.float32), np.array([1])),
    "student": Boxes(
        np.array([[10, 10, 30, 30], [0, 0, 5, 5]], np.float32),
        np.array([2, 1]),
        np.array([0.75, 0.1], np.float32),
    ),
}


def tracked(folder: Path, answers: dict[str, Any]) -> tuple[RunDir, Path]:
    """A run with such predictions, and W&B's folder of it."""
    run_dir = RunDir(folder).create(REQUEST)
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    run_dir.append(ROWS[0])
    backend.log(ROWS[0])
    add_predictions(run_dir, answers, score=12.5)
    backend.predictions()
    backend.close(State.COMPLETE, {"val/mIoU": 0.7})
    (segment,) = segments(run_dir.wandb)
    return run_dir, segment


def logged(segment: Path) -> dict[str, dict[str, Any]]:
    """Key -> what is said of its picture, by names with points, and its ``iter``."""
    found: dict[str, dict[str, Any]] = {}
    for row in history(segment):
        for name, value in row.items():
            if name.startswith("predictions/"):
                key, _, part = name.partition(".")
                found.setdefault(key, {"iter": row["iter"]})[part] = value
    return found


def test_masks_lie_over_the_input(home: Path, tmp_path: Path) -> None:
    run_dir, segment = tracked(tmp_path / "run", MASKS)
    pictures = logged(segment)
    assert list(pictures) == [f"predictions/{name}" for name in ("1", "2", "worst", "best")]
    assert missing(run_dir) == ""
    shown = pictures["predictions/worst"]
    assert (shown["iter"], shown["caption"]) == (20, "w.png (worst), mIoU 12.5")

    def pixels(name: str) -> np.ndarray:
        return np.asarray(Image.open(segment / "files" / shown[name]))

    assert pixels("path").shape == (144, 192, 3)
    np.testing.assert_array_equal(pixels("masks.truth.path")[::3, ::3], TRUTH)
    assert np.unique(pixels("masks.teacher.path")).tolist() == [2]
    # what is no class has the next number: W&B's file would make a 0 of its 255
    assert np.unique(pixels("masks.student.path")).tolist() == [3]
    configs = [r["config"]["update"] for r in inspect(segment) if r["type"] == "config"]
    names = configs[-1]["_wandb"]["mask/class_labels"]
    assert len(names) == 4 * 3
    for told in names.values():
        assert list(told["value"].values()) == [*NAMES, "ignored"]


def test_boxes_have_names_scores_and_the_pictures_threshold(home: Path, tmp_path: Path) -> None:
    _, segment = tracked(tmp_path / "run", BOXES)
    shown = logged(segment)["predictions/1"]
    assert not any(part.startswith(("masks", "boxes.teacher")) for part in shown)
    truth, student = (
        json.loads((segment / "files" / shown[f"boxes.{who}.path"]).read_text())["box_data"]
        for who in ("truth", "student")
    )
    assert truth[0]["position"] == {"minX": 30, "minY": 30, "maxX": 90, "maxY": 90}  # three times
    assert (truth[0]["box_caption"], truth[0]["domain"]) == ("disc", "pixel")
    (surest,) = student
    assert (surest["class_id"], surest["box_caption"]) == (2, f"{NAMES[2]} 0.75")
    assert surest["scores"] == {"score": 0.75}


def test_one_that_cannot_be_logged_costs_itself_and_a_warning(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    add_predictions(run_dir, MASKS, score=1.0)
    run_dir.prediction_picture("2").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, logger="fourierkd.tracking"):
        backend.predictions()
    (told,) = [r.getMessage() for r in caplog.records if r.name == "fourierkd.tracking"]
    assert told.startswith("W&B: the picture of predictions 2 is missing there: ")
    backend.close(State.COMPLETE, {})
    (segment,) = segments(run_dir.wandb)
    assert list(logged(segment)) == ["predictions/1", "predictions/worst", "predictions/best"]
    assert missing(run_dir) == "1 of 4 predictions"


def test_a_run_that_is_sent_again_has_its_predictions(home: Path, tmp_path: Path) -> None:
    run_dir, first = tracked(tmp_path / "run", MASKS)
    sent = logged(first)
    WandbBackend(run_dir, REQUEST, CONFIG).close(State.COMPLETE, {})
    (segment,) = segments(run_dir.wandb)
    assert list(logged(segment)) == list(sent)


def test_numbers_of_many_classes_stay_within_what_a_mask_holds() -> None:
    few = {0: "sky", 126: "tree", 255: "ignored"}
    assert _numbers(few) == {0: 0, 126: 126, 255: 127}
    assert _numbers({3: "sky", 149: "tree", 255: "ignored"}) == {3: 0, 149: 1, 255: 2}
