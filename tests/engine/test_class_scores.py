"""Scores of classes: what the watched metrics say, by hand, and that their own result stays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric, VOCMetric
from mmseg.evaluation import IoUMetric

from fourierkd.engine.class_scores import merged, watch

NAMES = ("road", "traffic light", 'a/b.c,"d"', "nobody")
BOXES = [  # image, class, box, of the truth
    (1, 0, (0, 0, 20, 20)),
    (1, 1, (30, 30, 90, 90)),
    (2, 0, (10, 10, 40, 40)),
    (2, 0, (50, 50, 70, 70)),
]
FOUND = [  # the same and its score: one right, one too small, one missed, one of nothing
    (1, 0, (0, 0, 20, 20), 0.9),
    (1, 1, (30, 30, 90, 72), 0.8),  # overlaps by 0.7
    (2, 0, (80, 0, 99, 20), 0.7),
    (2, 0, (50, 50, 70, 70), 0.6),
]


def segmentation(images: int = 5) -> list[dict]:
    """Samples of three of the four classes, with pixels that are not labelled."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(images):
        truth, guess = rng.integers(0, 3, (2, 1, 9, 12))
        truth[rng.random(truth.shape) < 0.1] = 255
        parts = {"pred_sem_seg": guess, "gt_sem_seg": truth}
        samples.append({name: {"data": torch.from_numpy(part)} for name, part in parts.items()})
    return samples


def evaluated(metric, samples, *, size: int | None = None, classes=NAMES) -> dict:
    metric.dataset_meta = {"classes": classes}
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(size or len(samples))


def counted(samples) -> np.ndarray:
    matrix = np.zeros((len(NAMES), len(NAMES)), np.int64)
    for sample in samples:
        truth, guess = (sample[k]["data"].numpy() for k in ("gt_sem_seg", "pred_sem_seg"))
        np.add.at(matrix, (truth[truth != 255], guess[truth != 255]), 1)
    return matrix


@pytest.mark.parametrize("size", [5, 4], ids=["all", "one_sample_is_padding"])
def test_iou_accuracy_and_confusion_by_hand(size):
    samples = segmentation()
    metric = IoUMetric()
    (watched,) = watch([metric])
    given = evaluated(metric, samples, size=size)
    assert given == evaluated(IoUMetric(), samples, size=size)  # not a digit is another
    matrix = counted(samples[:size])
    found = watched.found
    assert found.classes == list(NAMES)
    assert found.arrays["confusion"].dtype == np.int64
    np.testing.assert_array_equal(found.arrays["confusion"], matrix)
    right, true, guessed = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(
            found.scores["IoU"], 100 * right / (true + guessed - right), rtol=1e-6
        )
        np.testing.assert_allclose(found.scores["Acc"], 100 * right / true, rtol=1e-6)
    assert np.isnan(found.scores["IoU"][3])
    assert given["mIoU"] == pytest.approx(np.nanmean(found.scores["IoU"]), abs=0.005)


def test_a_metric_is_watched_over_many_evaluations():
    samples, metric = segmentation(), IoUMetric(iou_metrics=["mDice", "mFscore"])
    (watched,) = watch([metric])
    for part in (samples, samples[:2], samples):
        evaluated(metric, part)
        np.testing.assert_array_equal(watched.found.arrays["confusion"], counted(part))
    assert list(watched.found.scores) == ["Dice", "Acc", "Fscore", "Precision", "Recall"]


def test_one_name_twice_is_told_apart():
    metric = IoUMetric()
    (watched,) = watch([metric])
    evaluated(metric, segmentation(), classes=("sky", "tree", "sky", "car"))
    assert watched.found.classes == ["sky #0", "tree", "sky #2", "car"]


class Own(IoUMetric):
    def compute_metrics(self, results):
        return {"mine": 1.0}


class Named(IoUMetric):
    default_prefix = "seg"


def test_what_computes_otherwise_is_left_alone():
    own, named = Own(), Named()
    assert watch([own]) == []
    assert evaluated(own, segmentation()) == {"mine": 1.0}
    (watched,) = watch([named])
    assert "seg/mIoU" in evaluated(named, segmentation())
    assert merged([watched]) == watched.found


def test_a_surprise_leaves_the_score_as_it_is(monkeypatch):
    samples, metric = segmentation(), IoUMetric()
    (watched,) = watch([metric])
    monkeypatch.setattr(watched, "read", lambda known: known[7])
    assert evaluated(metric, samples) == evaluated(IoUMetric(), samples)
    assert merged([watched]) is None


@pytest.fixture
def annotations(tmp_path):
    """A COCO file whose categories are in another order than the data set's classes."""
    ids = {name: 10 * (len(NAMES) - i) for i, name in enumerate(NAMES)}
    boxes = [
        {
            "id": i,
            "image_id": image,
            "category_id": ids[NAMES[label]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        for i, (image, label, (x0, y0, x1, y1)) in enumerate(BOXES, 1)
    ]
    images = [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in (1, 2)]
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": boxes}))
    return str(path)


def detections(found=FOUND) -> list[dict]:
    samples = []
    for image in (1, 2):
        own = [one for one in found if one[0] == image]
        truth = [one for one in BOXES if one[0] == image]
        none = {"bboxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
        samples.append(
            {
                "img_id": image,
                "ori_shape": (100, 100),
                "pred_instances": {
                    "bboxes": torch.tensor([one[2] for one in own]).float().reshape(-1, 4),
                    "labels": torch.tensor([one[1] for one in own], dtype=torch.long),
                    "scores": torch.tensor([one[3] for one in own]),
                },
                "gt_instances": {
                    "bboxes": torch.tensor([one[2] for one in truth]).float().reshape(-1, 4),
                    "labels": torch.tensor([one[1] for one in truth], dtype=torch.long),
                },
                "ignored_instances": none,
            }
        )
    return samples


def test_average_precision_of_each_class_by_hand(annotations):
    metric = CocoMetric(ann_file=annotations)
    (watched,) = watch([metric])
    given = evaluated(metric, detections())
    assert given == evaluated(CocoMetric(ann_file=annotations), detections())
    found = watched.found
    assert found.classes == list(NAMES)
    ap = found.scores["bbox_AP"]
    # road: right, wrong, right, of three: precision 1 up to a recall of 1/3, then 2/3 up to 2/3
    points = [1.0 if r <= 33 else 2 / 3 if r <= 66 else 0.0 for r in range(101)]
    assert ap[0] == pytest.approx(np.mean(points))
    assert ap[1] == pytest.approx(0.5)  # overlaps of 0.5 to 0.7, of ten up to 0.95
    assert np.isnan(ap[2:]).all()
    assert given["coco/bbox_mAP"] == pytest.approx(np.nanmean(ap), abs=0.0005)
    assert found.scores["bbox_AP_50"][1] == pytest.approx(1)
    assert found.scores["bbox_AP_75"][1] == 0.0
    # 20x20 boxes and one of 30x30 are small, one of 60x60 is medium
    assert found.scores["bbox_AP_s"][0] == pytest.approx(ap[0])
    assert found.scores["bbox_AP_m"][1] == pytest.approx(0.5)
    assert np.isnan(found.scores["bbox_AP_l"]).all()
    curves = found.arrays["bbox_precision"]
    assert curves.shape == (4, 10, 101)
    np.testing.assert_allclose(curves[0], [points] * 10, rtol=1e-6)
    assert list(found.arrays["thresholds"]) == pytest.approx(np.linspace(0.5, 0.95, 10))
    assert list(found.arrays["recall"]) == pytest.approx(np.linspace(0, 1, 101))


def test_a_detector_that_finds_nothing_scores_zero_where_there_is_something(annotations):
    metric = CocoMetric(ann_file=annotations)
    (watched,) = watch([metric])
    assert evaluated(metric, detections([])) == {}
    np.testing.assert_array_equal(watched.found.scores["bbox_AP"], [0, 0, np.nan, np.nan])
    assert evaluated(metric, detections())["coco/bbox_mAP"] > 0  # and goes on
    assert watched.found.scores["bbox_AP"][1] == pytest.approx(0.5)


def test_the_classes_of_a_subset_have_their_own_values(annotations):
    metric = CocoMetric(ann_file=annotations)
    (watched,) = watch([metric])
    found = [(image, 0, box, score) for image, label, box, score in FOUND if label == 1]
    evaluated(metric, detections(found), classes=(NAMES[1], "unheard of"))
    assert watched.found.scores["bbox_AP"][0] == pytest.approx(0.5)
    assert np.isnan(watched.found.scores["bbox_AP"][1])


def test_voc_has_classes_and_curves():
    metric = VOCMetric(iou_thrs=[0.5, 0.75], eval_mode="area")
    (watched,) = watch([metric])
    given = evaluated(metric, detections()[:1])
    assert given == evaluated(VOCMetric(iou_thrs=[0.5, 0.75], eval_mode="area"), detections()[:1])
    found = watched.found
    np.testing.assert_allclose(found.scores["AP50"], [1, 1, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.scores["AP75"], [1, 0, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.scores["AP"], [1, 0.5, np.nan, np.nan], rtol=1e-6)
    curves = found.arrays["bbox_precision"]
    assert curves.shape == (4, 2, 101)
    np.testing.assert_allclose(curves[0], 1, rtol=1e-6)
    np.testing.assert_allclose(curves[1, 1], 0)
    assert np.isnan(curves[2:]).all()
    recalls = VOCMetric(metric="recall")
    (watched,) = watch([recalls])
    evaluated(recalls, detections()[:1])
    assert watched.found is None
