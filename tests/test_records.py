"""What passes between processes: the same on both sides, and damage named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.errors import ConfigError, RunError
from fourierkd.records import (
    MINIMIZE,
    TEST,
    Best,
    Checkpoints,
    Conditions,
    Direction,
    Metric,
    Phase,
    Request,
    Result,
    State,
    Stop,
    Tracking,
    as_scores,
    checked_direction,
    scores,
    scores_of_classes,
    single_request,
)

FILE = Path("/run/result.json")
REQUEST = Request(
    config="/c.py",
    seed=3,
    options={"a.b": [1, None, {"type": "LowPass"}], "lr": 0.1},
    study="shapes",
    phase=Phase.FINAL,
    method="tuned",
    trial=7,
    parameters={"loss_weight": 0.5},
    test_split=TEST,
    wandb=Tracking(project="kd", tags=["a"]),
)
RESULT = Result(
    state=State.COMPLETE,
    metric=Metric("error", MINIMIZE),
    best=Best(4, 0.5),
    metrics={"val/error": 0.5, "test/error": None},
    classes={"val": {"a road": 0.25, "sky": None}},
    iters=8,
    seconds={"total": 2.5},
    parameters={"student": 3},
    conditions=Conditions(teacher_sha256="ab", data="cd", threads=2, host="here", commit="ef"),
    teacher_maps={"kept": 3, "why_live": None},
    checkpoints=Checkpoints(best="checkpoints/best.pth"),
)


@pytest.mark.parametrize("record", [REQUEST, RESULT, Result(state=State.FAILED)])
def test_a_record_comes_back_from_its_file(record):
    text = json.dumps(record.to_json(), allow_nan=False)
    assert type(record).from_json(json.loads(text), FILE, "delete it") == record


def test_json_holds_words_and_no_members_of_enumerations():
    written = RESULT.to_json()
    assert [type(written[key]) for key in ("state", "metric", "direction")] == [str] * 3
    assert written["metric"] == "error"
    assert written["direction"] == "minimize"
    assert written["teacher_sha256"] == "ab"
    assert type(REQUEST.to_json()["phase"]) is str
    assert f"{State.FAILED:>7}" == " failed" == " " + str(State.FAILED)
    assert {"failed": 1}[State.FAILED] == 1


def test_a_result_of_an_older_version_is_read():
    old = {"state": "complete", "metric": "mIoU", "best": {"iter": 1, "value": 5}}
    read = Result.from_json({**old, "teacher_sha256": "ab"}, FILE, "")
    assert read.metric == Metric("mIoU", Direction.MAXIMIZE)
    assert read.value == 5
    assert read.conditions == Conditions(teacher_sha256="ab")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Result, {"state": "complete", "bset": None}, "got 'bset'; did you mean 'best'"),
        (Result, {"state": "done"}, r"\(state: .*'complete', 'pruned', 'failed' or 'stopped'\)"),
        (Result, {}, r"\(state: Field required\)"),
        (Result, {"state": "complete", "best": {"iter": "4", "value": 1}}, r"\(best.iter: .*int"),
        (Result, {"state": "complete", "metric": 5}, r"\(metric.name: .*string"),
        (Result, {"state": "complete", "direction": "up", "metric": "a"}, r"\(metric.direction: "),
        (Result, {"state": "complete", "threads": "two"}, r"\(conditions.threads: "),
        (Request, {"config": "a"}, r"\(seed: Field required\)"),
        (Request, {"config": "a", "seed": "3"}, r"\(seed: .*integer"),
        (Request, {"config": "a", "seed": 3, "phase": "last"}, r"\(phase: "),
        (Request, {"config": "a", "seed": 3, "optoins": {}}, "did you mean 'options'"),
        (Request, {"config": "a", "seed": 3, "wandb": {"entty": "x"}}, "got 'wandb.entty'"),
        (Stop, {"state": "pruned"}, r"\(reason: "),
    ],
)
def test_what_is_no_record_is_named(kind, value, words):
    with pytest.raises(RunError, match=words) as error:
        kind.from_json(value, FILE, "delete it")
    text = str(error.value)
    assert text.startswith(f"{FILE} must hold a run's {kind.__name__.lower()}")
    assert text.endswith("delete it")
    assert "\n" not in text


def test_a_metric_has_a_direction():
    assert Metric("mIoU").better(2.0, than=1.0)
    assert not Metric("mIoU").better(1.0, than=1.0)
    assert Metric("error", MINIMIZE).better(1.0, than=2.0)
    assert Metric("mIoU").key("test") == "test/mIoU"
    with pytest.raises(ConfigError, match="'maximize' or 'minimize', got 'up'"):
        checked_direction("up")


def test_scores_are_found_by_split():
    row = {"iter": 3, "val/mIoU": 1.0, "val/aAcc": 2.0, "test/mIoU": 3.0, "values/x": 4.0}
    assert scores(row) == {"mIoU": 1.0, "aAcc": 2.0}
    assert as_scores(scores(row, TEST), TEST) == {"test/mIoU": 3.0}
    assert RESULT.score("val") == 0.5
    assert RESULT.score(TEST) is None


def test_a_run_by_itself_belongs_to_no_study():
    request = single_request("c.py", {}, wandb_mode="disabled")
    assert request.config == str(Path("c.py").absolute())
    assert single_request("mmdet::x", {}).config == "mmdet::x"
    assert (request.phase, request.study, request.split) == (Phase.SINGLE, None, "val")


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("mIoU", "IoU"),
        ("mAcc", "Acc"),
        ("bbox_mAP", "bbox_AP"),
        ("bbox_mAP_m", "bbox_AP_m"),
        ("bbox_mAP_50", "bbox_AP_50"),
        ("mAP", "AP"),
        ("AP50", "AP50"),
        ("aAcc", None),  # no mean over classes
    ],
)
def test_a_class_has_its_part_of_the_metric(metric, score):
    names = ("IoU", "Acc", "AP", "AP50", "bbox_AP", "bbox_AP_50", "bbox_AP_m")
    row = {"classes": ["a", "b"], "scores": {name: [i, None] for i, name in enumerate(names)}}
    found = scores_of_classes(row, Metric(metric))
    assert found == ({} if score is None else {"a": names.index(score), "b": None})
