"""What a step's record is judged by."""

from __future__ import annotations

import pytest
from torch import nn

from fourierkd.doctor.step import LevelRecord, Step
from fourierkd.doctor.step_checks import (
    check_connectors,
    check_levels,
    check_losses,
    check_shares,
    check_taps,
    check_unused,
    crossed_stages,
)


def record(level: int = 0, **changes) -> LevelRecord:
    """A healthy level: stride 8 of 64 x 64 pixels, half of the gradient each."""
    return LevelRecord(
        **{
            "loss": "fourier",
            "level": level,
            "from_tap": True,
            "student": (2, 4, 8, 8),
            "connected": (2, 6, 8, 8),
            "teacher": (2, 6, 8, 8),
            "connector": "Conv2d",
            "attached": True,
            "teacher_constant": False,
            "own": 1.0,
            "rest": 1.0,
            "task": 1.0,
            "prediction": 1.0,
            **changes,
        }
    )


def step(*levels: LevelRecord, **changes) -> Step:
    """A step of one loss with these levels."""
    nothing: dict = {field: {} for field in Step._fields}
    seen = {"levels": list(levels), "student_gradients": {"fourier": 1.0}}
    return Step(**{**nothing, **seen, "student_rest": {"fourier": 3.0}, **changes})


def test_shares_by_level_and_over_all():
    check = check_shares(step(record(), record(1, own=3.0)), {"fourier": [2.0, 2.0]})
    assert check.status == "ok"
    assert check.facts["fourier"]["levels"] == [0.5, 0.75]
    own, rest = 10**0.5, 2**0.5
    assert check.facts["fourier"]["share"] == pytest.approx(own / (own + rest))


@pytest.mark.parametrize(
    ("own", "proposed"), [(1e4, "loss_weight 0.0002"), (1e-4, "loss_weight 2e+04")]
)
def test_a_drowned_side_is_told_the_weight_of_equal_shares(own, proposed):
    check = check_shares(step(record(own=own)), {"fourier": [2.0]})
    assert check.status == "warn"
    assert proposed in check.advice


def test_weights_by_level_get_a_factor():
    check = check_shares(step(record(), record(1, own=1e4)), {"fourier": [2.0, 1.0]})
    assert check.status == "warn"
    assert "times the weights of fourier" in check.advice
    assert check_shares(step(record(own=0.0, rest=0.0)), {}).status == "skip"


def test_a_loss_on_heads_is_shared_at_the_parameters_it_reaches():
    check = check_shares(step(), {"fourier": [2.0]})
    assert check.facts["fourier"]["share"] == 0.25
    assert check.value == "fourier: 25 % at the student's parameters"
    assert check_shares(step(student_gradients={"fourier": 0.0}), {}).status == "skip"


def test_strides_are_compared_by_level():
    apart = record(1, student=(2, 4, 4, 4))
    check = check_levels([record(), apart], (64, 64), {})
    assert check.status == "fail"
    assert check.value == "fourier.1: stride 16 of the student against 8 of the teacher"
    check = check_levels([record()], (64, 64), {"fourier": ["teacher neck stride 4"]})
    assert check.status == "ok"
    assert check.value == "fourier: stride 8 of both\nfourier: left out teacher neck stride 4"
    odd = record(student=(2, 4, 13, 13), teacher=(2, 6, 12, 12))  # paddings differ
    assert check_levels([odd], (100, 100), {}).status == "ok"
    coarse = record(student=(2, 4, 2, 2), teacher=(2, 6, 2, 2))  # 96 rows at stride 64 make two
    assert check_levels([coarse], (96, 128), {}).value == "fourier: stride 64 of both"


def test_connectors_give_the_teachers_channels():
    assert check_connectors([record()]).value == "fourier.0: 4 -> 6 by Conv2d, 8x8"
    check = check_connectors([record(connected=(2, 5, 8, 8))])
    assert check.status == "fail"
    assert "the teacher has 6 channels of 2 images" in check.value
    unequal = {"connected": (2, 4, 8, 8), "connector": "none", "any_width": True}
    assert check_connectors([record(**unequal)]).value == "fourier.0: 4 -> 4, 8x8"
    resized = check_connectors([record(connected=(2, 6, 4, 4))])
    assert (resized.status, resized.value[-15:]) == ("ok", "resized for 8x8")


def test_every_named_loss_is_looked_for():
    losses = {"loss_ce": 1.0, "distill.a.loss": 2.0}
    assert check_losses(losses, ["a"], []).status == "ok"
    check = check_losses(losses, ["a", "b"], [])
    assert check.status == "fail"
    assert "b missing" in check.value
    broken = check_losses({**losses, "loss_ce": float("inf")}, ["a"], [])
    assert "not finite: loss_ce" in broken.value
    assert check_losses(losses, [], []).status == "fail"


def test_taps_need_the_students_task_and_answer():
    assert check_taps([record()]).status == "ok"
    assert check_taps([record(prediction=None)]).status == "ok"
    assert check_taps([record(task=0.0)]).status == "fail"
    assert check_taps([record(prediction=0.0)]).status == "fail"
    assert check_taps([record(from_tap=False)]).status == "fail"
    assert check_taps([]).status == "skip"


def test_taps_of_unlike_stages_that_both_models_have():
    model = nn.ModuleDict({"layer2": nn.Identity(), "layer4": nn.Identity()})
    entry = {"student_tap": "layer2", "teacher_tap": "layer4"}
    crossed = crossed_stages({"fourier": entry}, model, model)
    assert crossed == ["fourier: layer2 of the student against layer4 of the teacher"]
    check = check_taps([record()], crossed)
    assert (check.status, crossed[0] in check.value) == ("warn", True)
    neck = nn.ModuleDict({"layer2": nn.Identity(), "neck": nn.Identity()})
    for losses, student in (
        ({"fourier": {"student_tap": "layer2", "teacher_tap": "layer2"}}, model),
        ({"fourier": {"student_tap": ["neck"], "teacher_tap": ["layer4"]}}, neck),
        ({"iou": {"student_head": "head", "teacher_head": "head"}}, model),
    ):
        assert crossed_stages(losses, student, model) == []


def test_unused_parameters_are_named():
    check = check_unused(["a", "b", "c", "d"], 9)
    assert check.status == "warn"
    assert "4 of 9 tensors without a gradient: a, b, c and 1 more" in check.value
    assert check_unused([], 9).status == "ok"
