"""The hook of classes: what lies in the run folder after training, a stop, a kill and a test."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fourierkd.engine.hooks.classes import ClassesHook
from fourierkd.engine.run import run
from fourierkd.records import TEST, VAL
from fourierkd.run_dir import RunDir
from tests.engine.conftest import without_the_hook
from tests.engine.test_run import Killed, act_at, kill

EVALUATOR = {"type": "mmseg.IoUMetric", "iou_metrics": ["mIoU"]}
SEG = {"metric": "mIoU", "val_evaluator": EVALUATOR, "test_evaluator": EVALUATOR}

COCO = {"type": "mmdet.CocoMetric", "metric": "bbox"}
DET = {
    "metric": "bbox_mAP",
    "val_evaluator": COCO,
    "test_evaluator": COCO,
    "model.student.type": "ToyBoxes",
}


def arrays_of(run_dir: RunDir, split: str) -> dict[str, np.ndarray]:
    with np.load(run_dir.class_arrays(split), allow_pickle=False) as arrays:
        return dict(arrays)


def lines(run_dir: RunDir) -> list[dict]:
    return [json.loads(line) for line in run_dir.classes.read_text().splitlines()]


def test_classes_of_every_validation_and_arrays_of_the_best(make_run):
    run_dir = make_run(options=SEG, test_split="test")
    result = run(run_dir, resume=False)
    rows = run_dir.class_rows(VAL)
    assert list(rows) == [5, 10, 15, 20]
    scores = {r["iter"]: r["val/mIoU"] for r in run_dir.rows() if "val/mIoU" in r}
    for iteration, row in rows.items():
        assert row["classes"] == ["off", "on"]
        assert list(row["scores"]) == ["IoU", "Acc"]
        assert np.mean(row["scores"]["IoU"]) == pytest.approx(scores[iteration], abs=0.006)
    (tested,) = run_dir.class_rows(TEST).values()
    best = result.best.iter
    assert tested["iter"] == best
    # the toy tests on its val images
    assert tested["scores"] == rows[best]["scores"]
    named = dict(zip(["off", "on"], rows[best]["scores"]["IoU"], strict=True))
    assert result.classes == {"val": named, "test": named} == run_dir.read_result().classes
    for split in (VAL, TEST):
        arrays = arrays_of(run_dir, split)
        assert arrays["iter"] == best
        assert list(arrays["classes"]) == ["off", "on"]
        matrix = arrays["confusion"]
        assert matrix.sum() == 12 * 12 * 12  # every pixel of every image, once
        union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        np.testing.assert_allclose(100 * matrix.diagonal() / union, list(named.values()))


def test_average_precision_and_curves_of_a_detector(make_run):
    run_dir = make_run(options=DET, test_split="test")
    result = run(run_dir, resume=False)
    rows = run_dir.class_rows(VAL)
    assert list(rows) == [5, 10, 15, 20]
    scores = {r["iter"]: r["val/bbox_mAP"] for r in run_dir.rows() if "val/bbox_mAP" in r}
    names = [f"bbox_AP{part}" for part in ("", "_50", "_75", "_s", "_m", "_l")]
    for iteration, row in rows.items():
        assert list(row["scores"]) == names
        assert np.mean(row["scores"]["bbox_AP"]) == pytest.approx(scores[iteration], abs=0.0006)
        assert row["scores"]["bbox_AP_l"] == [None, None]  # every box is 6x6
    assert result.classes["val"] == result.classes["test"]
    assert list(result.classes["val"]) == ["off", "on"]
    for split in (VAL, TEST):
        arrays = arrays_of(run_dir, split)
        assert arrays["iter"] == result.best.iter
        assert arrays["bbox_precision"].shape == (2, 10, 101)
        # the area under the curves is the average precision
        area = arrays["bbox_precision"].mean((1, 2))
        np.testing.assert_allclose(area, list(result.classes["val"].values()), rtol=1e-5)


def test_two_runs_of_one_process_keep_their_classes_apart(make_run):
    runs = [make_run(name, options) for name, options in (("seg", SEG), ("det", DET))]
    kinds = [list(run(own, resume=False).classes["val"]) for own in runs]
    assert kinds == [["off", "on"], ["off", "on"]]
    found = [set(own.class_rows(VAL)[20]["scores"]) for own in runs]
    assert not found[0] & found[1]


@pytest.mark.parametrize("options", [SEG, DET], ids=["seg", "det"])
def test_the_score_is_that_of_a_run_without_the_hook(make_run, monkeypatch, options):
    watched = run(make_run("watched", options), resume=False)
    monkeypatch.setattr(ClassesHook, "_watch", lambda *args: None)
    monkeypatch.setattr(ClassesHook, "_write", lambda *args, **kwargs: None)
    bare_dir = make_run("bare", options)
    bare = run(bare_dir, resume=False)
    assert not bare_dir.classes.exists()
    assert (bare.best, bare.metrics) == (watched.best, watched.metrics)
    assert bare.classes == {}


def test_arrays_are_of_the_best_validation_though_a_later_one_is_worse(make_run):
    """Beside a metric that knows no classes, by which the run is judged."""
    values = {"type": "GivenValues", "values": ["1", "9", "2", "3"], "name": "acc"}
    options = {"val_evaluator": [values, EVALUATOR], "test_evaluator": [EVALUATOR]}
    run_dir = make_run(options={**options, "metric": "acc"})
    result = run(run_dir, resume=False)
    assert result.best.iter == 10
    assert arrays_of(run_dir, VAL)["iter"] == 10
    assert list(run_dir.class_rows(VAL)) == [5, 10, 15, 20]
    assert result.classes == {}  # no class has a part of this metric


def test_scored_on_val_the_test_classes_are_those_of_the_best_validation(make_run):
    result = run(make_run(options=SEG, test_split="val"), resume=False)
    assert result.classes["test"] == result.classes["val"]
    assert len(result.classes["val"]) == 2


@pytest.mark.parametrize("at", [13, 15], ids=["between_validations", "in_one"])
def test_killed_and_resumed_run_has_the_classes_of_the_whole_one_once(make_run, at, monkeypatch):
    whole = make_run("whole", SEG, test_split="test")
    run(whole, resume=False)
    cut = make_run("cut", {**SEG, **act_at(13, kill)} if at == 13 else SEG, test_split="test")
    if at == 15:  # after the row of a validation, before its arrays
        monkeypatch.setattr("fourierkd.engine.hooks.classes.write_atomic", _kill_at_call(2))
    with pytest.raises(Killed):
        run(cut, resume=False)
    monkeypatch.undo()
    if at == 13:
        without_the_hook(cut, SEG)
    with open(cut.classes, "ab") as file:
        file.write(b'{"iter": 15, "split": "val", "cla')  # and in the middle of a line
    run(cut, resume=True)
    for split in (VAL, TEST):
        assert cut.class_rows(split) == whole.class_rows(split)
        ours, theirs = arrays_of(cut, split), arrays_of(whole, split)
        assert ours.keys() == theirs.keys()
        assert all((ours[key] == theirs[key]).all() for key in ours)
    assert cut.read_result().classes == whole.read_result().classes


def _kill_at_call(number: int):
    calls = []

    def die(path, data):
        calls.append(path)
        if len(calls) == number:
            raise Killed
        path.write_bytes(data)

    return die


def test_a_test_that_is_done_again_counts_once(make_run):
    run_dir = make_run(options=SEG, test_split="test")
    whole = run(run_dir, resume=False)
    run_dir.result.unlink()
    assert run(run_dir, resume=True).classes == whole.classes
    assert sum(line.get("split") == "test" for line in lines(run_dir)) == 2
    assert len(run_dir.class_rows(TEST)) == 1


def test_an_evaluator_without_classes_leaves_none_and_says_so_once(make_run, capfd):
    run_dir = make_run()
    result = run(run_dir, resume=False)
    assert not run_dir.classes.exists()
    assert not run_dir.class_arrays(VAL).exists()
    assert result.classes == {}
    said = capfd.readouterr()
    assert (said.out + said.err).count("no scores of classes on val: ToyAccuracy") == 1
