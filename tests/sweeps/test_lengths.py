"""Trainings of another length: everything that counts iterations goes along."""

from __future__ import annotations

import math

import pytest

from fourierkd.errors import ConfigError
from sweeps.lengths import length, scaled


def loop(iterations: int = 1000, interval: int = 100, **more):
    return {"max_iters": iterations, "val_interval": interval, **more}


def schedule(*schedules, warmups=None, **own):
    return {"train_cfg": loop(**own), "param_scheduler": list(schedules), "warmups": warmups or {}}


def by_iterations(kind: str, **own):
    return {"type": kind, "by_epoch": False, **own}


def test_everything_is_scaled_together():
    whole = schedule(
        by_iterations("LinearLR", start_factor=0.001, begin=0, end=50),
        by_iterations("MultiStepLR", begin=50, end=1000, milestones=[600, 900], gamma=0.1),
        by_iterations("mmengine.CosineAnnealingLR", T_max=500, begin=500, end=1000),
        warmups={"fourier": 200, "pkd": 0},
        val_begin=300,
    )
    assert length(whole) == 1000
    assert scaled(whole, 800) == {
        "train_cfg.max_iters": 800,
        "train_cfg.val_interval": 80,
        "train_cfg.val_begin": 240,
        "param_scheduler.0.begin": 0,
        "param_scheduler.0.end": 40,
        "param_scheduler.1.begin": 40,
        "param_scheduler.1.end": 800,
        "param_scheduler.1.milestones": [480, 720],
        "param_scheduler.2.begin": 400,
        "param_scheduler.2.end": 800,
        "param_scheduler.2.T_max": 400,
        "model.losses.fourier.warmup_iters": 160,
    }


def test_the_same_length_needs_no_option():
    assert scaled(schedule(by_iterations("PolyLR", end=1000)), 1000) == {}


def test_one_schedule_or_one_for_each_optimizer():
    cycle = by_iterations("OneCycleLR", total_steps=640, eta_max=0.01)
    whole = {"train_cfg": loop(640, 128), "param_scheduler": cycle}
    assert scaled(whole, 501)["param_scheduler.total_steps"] == 501
    whole["param_scheduler"] = {"student": [cycle], "losses": cycle}
    options = scaled(whole, 501)
    assert options["param_scheduler.student.0.total_steps"] == 501
    assert options["param_scheduler.losses.total_steps"] == 501


@pytest.mark.parametrize("iterations", [501, 512, 333, 739, 1280])
def test_there_are_as_many_validations_as_before(iterations):
    interval = scaled({"train_cfg": loop(640, 128)}, iterations)["train_cfg.val_interval"]
    assert math.ceil(iterations / interval) == 5  # one is at the end, whatever the interval


def test_what_begins_goes_on_beginning():
    short = scaled(schedule(by_iterations("LinearLR", begin=0, end=1), iterations=1000), 300)
    assert (short["param_scheduler.0.begin"], short["param_scheduler.0.end"]) == (0, 1)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"train_cfg": {"max_epochs": 12}}, r"by iterations: .*max_epochs': 12.*train by iter"),
        (schedule({"type": "PolyLR", "end": 9}), "param_scheduler.0 goes by epochs, got 'PolyLR'"),
        (
            schedule(by_iterations("LinearLR", convert_to_iter_based=True)),
            "goes by epochs, got 'LinearLR'",
        ),
        (schedule(by_iterations("ExponentialLR", gamma=0.9)), "cannot scale .*got 'Exponential"),
        (schedule(by_iterations("ReduceOnPlateauLR")), "cannot scale param_scheduler.0"),
    ],
)
def test_what_cannot_be_scaled_is_named(whole, message):
    with pytest.raises(ConfigError, match=message) as raised:
        scaled(whole, 500)
    assert "\n" not in str(raised.value)
