"""The teacher's metric against its claim and against random weights."""

from __future__ import annotations

import pytest
import torch

from fourierkd.config.load import load_config
from fourierkd.doctor.metric import (
    Claim,
    Constant,
    Score,
    check_metric,
    evaluate,
    judge,
    read_claim,
    run_claim,
)
from fourierkd.errors import ConfigError
from fourierkd.records import MINIMIZE, Metric
from tests.doctor.conftest import CONFIG

ALL = Score({"mIoU": 75.0}, 100, 100)
PART = Score({"mIoU": 70.0}, 20, 100)


def claim(value: float, images: int | None = None) -> Claim:
    return Claim("mIoU", value, 0.01 * value, images, "the config")


@pytest.mark.parametrize(
    ("score", "claimed", "status"),
    [
        (ALL, claim(75.2), "ok"),
        (ALL, claim(78.0), "fail"),
        (ALL, claim(20.0), "fail"),  # better than claimed is another teacher, too
        (PART, claim(75.2), "ok"),
        (PART, claim(99.0), "fail"),
        (PART, claim(70.1, images=20), "ok"),
        (PART, claim(75.2, images=20), "fail"),
        (ALL, None, "ok"),
    ],
)
def test_claims(score, claimed, status):
    check = judge(score, Metric("mIoU"), claimed, [5.0, 10.0])
    assert check.status == status
    assert check.facts["random"] == [5.0, 10.0]


@pytest.mark.parametrize(("best", "status"), [(10.0, "ok"), (60.0, "warn"), (75.0, "fail")])
def test_random_weights_are_the_floor(best, status):
    assert judge(ALL, Metric("mIoU"), None, [1.0, best]).status == status


@pytest.mark.parametrize(
    ("score", "status"),
    [(78.0, "ok"), (7.63, "fail"), (8.2, "warn"), (10.9, "warn"), (12.0, "ok")],
)
def test_one_class_everywhere_is_a_floor_too(score, status):
    background = Constant("background", 7.63)
    check = judge(Score({"mIoU": score}, 20, 20), Metric("mIoU"), None, [0.86], constant=background)
    assert check.status == status
    assert "'background' everywhere 7.63" in check.value


@pytest.mark.parametrize(("score", "status"), [(95.0, "fail"), (97.0, "warn"), (98.0, "ok")])
def test_a_floor_near_the_best_leaves_room(score, status):
    common = Constant("road", 95.0)
    check = judge(Score({"aAcc": score}, 20, 20), Metric("aAcc"), None, [1.0], constant=common)
    assert check.status == status


@pytest.mark.parametrize(("best", "status"), [(120.0, "ok"), (90.0, "warn"), (75.0, "fail")])
def test_of_an_error_random_weights_are_the_ceiling(best, status):
    assert judge(ALL, Metric("mIoU", MINIMIZE), None, [1000.0, best]).status == status


def test_what_is_not_claimed_can_be():
    assert "teacher_metric=dict(mIoU=75)" in judge(ALL, Metric("mIoU"), None, [1.0]).advice
    assert "dict(mIoU=70, images=20)" in judge(PART, Metric("mIoU"), None, [1.0]).advice


def test_the_claim_of_a_config():
    assert read_claim({}) is None
    assert read_claim({"teacher_metric": {"mIoU": 78.0}}) == Claim(
        "mIoU", 78.0, 0.78, None, "the config"
    )
    given = {"mIoU": 78.0, "tolerance": 0.0, "images": 8}
    assert read_claim({"teacher_metric": given}) == Claim("mIoU", 78.0, 0.0, 8, "the config")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (78.0, "names one metric"),
        ({"tolerance": 1.0}, "names one metric"),
        ({"mIoU": 1.0, "mAcc": 1.0}, "names one metric"),
        ({"mIoU": "78"}, "teacher_metric.mIoU is a number"),
        ({"mIoU": 78.0, "tolerance": -1}, "teacher_metric.tolerance is a number"),
    ],
)
def test_a_malformed_claim(given, message):
    with pytest.raises(ConfigError, match=message):
        read_claim({"teacher_metric": given})


def test_the_first_images_are_scored_rounded_up_to_batches(subject):
    with subject() as built:
        model = built.model.teacher.model
        assert evaluate(built, model, images=4).images == 6
        whole = evaluate(built, model, images=100)
        assert (whole.images, whole.total) == (12, 12)
        assert 80 < whole.metrics["acc"] <= 100


def test_claimed_metric_is_looked_up_and_held(subject):
    with subject({"teacher_metric": {"acc": 50.0, "tolerance": 1.0}}) as built:
        check = check_metric(built, images=12)
        assert check.status == "fail"
        assert "claimed 50 by the config, allowed ±1" in check.value
        value = check.facts["value"]
    with subject({"teacher_metric": {"acc": value}}) as built:
        assert check_metric(built, images=12).status in ("ok", "warn")
    with subject({"teacher_metric": {"ac": value}}) as built:
        check = check_metric(built, images=12)
        assert check.status == "fail"
        assert "gives no 'ac'" in check.value


def test_without_validation_there_is_nothing_to_score(subject):
    none = {"val_dataloader": None, "val_evaluator": None}
    with subject(none) as built:
        assert check_metric(built, images=12).status == "skip"
    with subject({**none, "teacher_metric": {"acc": 90.0}}) as built:
        assert check_metric(built, images=12).status == "fail"


def test_a_run_folder_claims_for_its_best_checkpoint(tmp_path, options):
    from fourierkd.records import Checkpoints, Request, Result, State
    from fourierkd.run_dir import RunDir, write_atomic

    config = load_config(CONFIG, options())
    run_dir = RunDir(tmp_path / "run").create(Request(config=str(CONFIG), seed=0))
    write_atomic(run_dir.config, config.pretty_text)
    run_dir.best_checkpoint().parent.mkdir()
    torch.save({}, run_dir.best_checkpoint())
    best = Checkpoints(best="checkpoints/best.pth")
    run_dir.write_result(Result(state=State.COMPLETE, metrics={"val/acc": 91.0}, checkpoints=best))
    best = str(run_dir.best_checkpoint())
    assert run_claim(config, best) == Claim("acc", 91.0, 0.91, None, "the teacher's run folder")
    assert run_claim(config, str(run_dir.checkpoint(7))) is None
    other = load_config(CONFIG, {**options(), "val_dataloader.batch_size": 4})
    assert run_claim(other, best) is None
    assert run_claim(config, str(tmp_path / "teacher.pth")) is None
