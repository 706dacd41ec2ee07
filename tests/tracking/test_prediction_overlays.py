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


def tracked(folder: Path, answers: dict[str, Any]) -> tuple[RunDir, dict[str, Any], Path]:
    """A run with such predictions, the pictures that W&B has, and the folder of their files."""
    run_dir = RunDir(folder).create(REQUEST)
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    run_dir.append(ROWS[0])
    backend.log(ROWS[0])
    add_predictions(run_dir, answers, score=12.5)
    backend.predictions()
    backend.close(State.COMPLETE, {"val/mIoU": 0.7})
    (segment,) = segments(run_dir.wandb)
    rows = [row for row in history(segment) if any(k.startswith("predictions/") for k in row)]
    return (
        run_dir,
        {k: {**v, "iter": r["iter"]} for r in rows for k, v in r.items() if k != "iter"},
        (segment / "files"),
    )


def test_masks_lie_over_the_input(home: Path, tmp_path: Path) -> None:
    run_dir, images, files = tracked(tmp_path / "run", MASKS)
    assert list(images) == [f"predictions/{name}" for name in ("1", "2", "worst", "best")]
    assert missing(run_dir) == ""
    shown = images["predictions/worst"]
    assert (shown["iter"], shown["caption"]) == (20, "w.png (worst), mIoU 12.5")
    assert np.asarray(Image.open(files / shown["path"])).shape == (144, 192, 3)
    assert list(shown["masks"]) == ["truth", "teacher", "student"]
    mask = np.asarray(Image.open(files / shown["masks"]["truth"]["path"]))
    np.testing.assert_array_equal(mask[::3, ::3], TRUTH)
    # what is no class has the next number: W&B's file would make a 0 of its 255
    mask = np.asarray(Image.open(files / shown["masks"]["student"]["path"]))
    assert np.unique(mask).tolist() == [3]
    told = json.dumps(inspect(files.parent))
    assert all(json.dumps(json.dumps(name))[2:-2] in told for name in (*NAMES, "ignored"))


def test_boxes_have_names_scores_and_the_pictures_threshold(home: Path, tmp_path: Path) -> None:
    _, images, files = tracked(tmp_path / "run", BOXES)
    shown = images["predictions/1"]
    assert list(shown["boxes"]) == ["truth", "student"]
    truth, student = (
        json.loads((files / shown["boxes"][who]["path"]).read_text())["box_data"]
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
    with caplog.at_level(logging.WARNING):
        backend.predictions()
    assert [r.message.partition(" is missing")[0] for r in caplog.records] == [
        "W&B: the picture of predictions 2"
    ]
    backend.close(State.COMPLETE, {})
    (segment,) = segments(run_dir.wandb)
    sent = [k for row in history(segment) for k in row if k.startswith("predictions/")]
    assert sent == ["predictions/1", "predictions/worst", "predictions/best"]
    assert missing(run_dir) == "1 of 4 predictions"


def test_a_run_that_is_sent_again_has_its_predictions(home: Path, tmp_path: Path) -> None:
    run_dir, images, _ = tracked(tmp_path / "run", MASKS)
    WandbBackend(run_dir, REQUEST, CONFIG).close(State.COMPLETE, {})
    (segment,) = segments(run_dir.wandb)
    sent = [k for row in history(segment) for k in row if k.startswith("predictions/")]
    assert sent == list(images)


def test_numbers_of_many_classes_stay_within_what_a_mask_holds() -> None:
    few = {0: "sky", 126: "tree", 255: "ignored"}
    assert _numbers(few) == {0: 0, 126: 126, 255: 127}
    assert _numbers({3: "sky", 149: "tree", 255: "ignored"}) == {3: 0, 149: 1, 255: 2}
