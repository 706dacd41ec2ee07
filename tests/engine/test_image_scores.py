"""Scores of single images: values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fourierkd.engine.image_scores import Detection, image_ap50, image_miou, task_of
from fourierkd.errors import DataError
from fourierkd.tracking.prediction_pictures import Boxes

NONE = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def boxes(*known: tuple[float, int] | tuple[float, int, float]) -> Boxes:
    """Boxes of 10x10 at x, of a class, with a score."""
    bboxes = np.array([[k[0], 0, k[0] + 10, 10] for k in known], np.float32).reshape(-1, 4)
    scores = np.array([k[2] for k in known if len(k) > 2], np.float32)
    return Boxes(bboxes, np.array([k[1] for k in known], np.int64), scores)


def test_miou_is_the_mean_over_the_classes_of_the_truth() -> None:
    truth = torch.tensor([[0, 0, 1, 1], [255, 255, 1, 1]])
    answer = torch.tensor([[0, 1, 1, 1], [2, 1, 2, 1]])
    # class 0: 1 of 2; class 1: 3 of 5; class 2 is not there, what is ignored does not count
    assert image_miou(truth, answer, classes=3) == pytest.approx(100 * (1 / 2 + 3 / 5) / 2)
    assert image_miou(truth, truth, classes=3) == 100
    assert image_miou(truth, 2 - truth.clamp(max=1) * 2, classes=3) == 0
    assert math.isnan(image_miou(torch.full((2, 2), 255), answer[:, :2], classes=3))


def test_ap50_ranks_all_detections_of_the_image() -> None:
    truth = boxes((0, 0), (100, 1))
    assert image_ap50(truth, NONE, boxes((0, 0, 0.9), (100, 1, 0.8))) == 1
    # a sure one of no truth, of either class: 1/2 at recall 1/2, 2/3 at recall 1
    for label in (0, 7):
        found = boxes((200, label, 0.99), (0, 0, 0.9), (100, 1, 0.8))
        assert image_ap50(truth, NONE, found) == pytest.approx(2 / 3)
    # less sure than the right ones it costs nothing
    assert image_ap50(truth, NONE, boxes((200, 7, 0.1), (0, 0, 0.9), (100, 1, 0.8))) == 1
    assert image_ap50(truth, NONE, boxes((0, 1, 0.9), (100, 0, 0.8))) == 0  # of the other class
    assert image_ap50(truth, NONE, boxes((4, 0, 0.9))) == 0  # an IoU of 6/14
    assert image_ap50(truth, NONE, boxes((3, 0, 0.9))) == pytest.approx(0.5)  # of 7/13
    # the second one on a box is wrong
    assert image_ap50(truth, NONE, boxes((0, 0, 0.9), (1, 0, 0.8), (100, 1, 0.7))) == (
        pytest.approx(0.5 + 0.5 * 2 / 3)
    )
    assert image_ap50(truth, boxes((200, 0)), boxes((200, 0, 0.99), (0, 0, 0.9))) == 0.5
    assert image_ap50(truth, NONE, Boxes(NONE.bboxes, NONE.labels, np.zeros(0))) == 0
    assert math.isnan(image_ap50(NONE, boxes((0, 0)), boxes((0, 0, 0.9))))


def test_a_detections_truth_is_the_data_sets_own() -> None:
    instances = [
        {"bbox": [0, 0, 10, 10], "bbox_label": 1, "ignore_flag": 0},
        {"bbox": [5, 5, 9, 9], "bbox_label": 0, "ignore_flag": 1},
    ]
    counted, ignored = Detection().truth({}, {"instances": instances})
    assert (counted.labels.tolist(), ignored.labels.tolist()) == ([1], [0])
    assert Detection().drawn((counted, ignored)) is counted


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(DataError, match=r"predictions are drawn of .*, got \['pred_score'\]"):
        task_of({"pred_score": 1}, 2, [])
