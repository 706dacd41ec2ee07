"""What a schedule does not say by itself is said before the training."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.registry import OPTIMIZERS

from fourierkd.config.load import load_config
from fourierkd.config.schedules import check_schedules, scaled_lr
from fourierkd.engine.run import run
from fourierkd.engine.switches import check_switches
from fourierkd.errors import ConfigError
from tests.engine.conftest import HERE

TOY = HERE / "toy_config.py"  # 20 iterations


def said(schedule, **options) -> list[str]:
    dotted = {key.replace("__", "."): value for key, value in options.items()}
    return check_schedules(load_config(TOY, {"param_scheduler": schedule, **dotted}))


def one_cycle(**more) -> dict:
    return {"type": "OneCycleLR", "eta_max": 1e-2, "total_steps": 20, "by_epoch": False, **more}


def test_what_is_meant_is_not_spoken_of():
    linear = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 5, "by_epoch": False}
    poly = {"type": "PolyLR", "begin": 5, "end": 20, "by_epoch": False}
    assert said([linear, poly]) == []
    assert said(one_cycle()) == []
    assert said(None) == []
    converted = {"type": "CosineAnnealingLR", "T_max": 50, "end": 50, "convert_to_iter_based": True}
    assert said(converted) == []


def test_a_cycle_shorter_than_the_training_is_refused(make_run):
    with pytest.raises(ConfigError, match="after its total_steps=12, got 'a training of 20'"):
        said(one_cycle(total_steps=12))
    run_dir = make_run(options={"param_scheduler": one_cycle(total_steps=12)})
    with pytest.raises(ConfigError, match="set param_scheduler's total_steps to 20 too"):
        run(run_dir, resume=False)  # a study's runs come this way
    assert not run_dir.scalars.exists()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (one_cycle(total_steps=20, pct_start=0.05), "ZeroDivisionError.*'pct_start': 0.05"),
        (one_cycle(div_factor=0), "ZeroDivisionError.*'div_factor': 0"),
        (one_cycle(eta_max="1e-3"), "TypeError.*'eta_max': '1e-3'"),
        (one_cycle(anneal_strategy="cosine"), "OneCycleLR refuses its values.*cosine"),
        ({"type": "LinearLR", "start_factor": 0, "end": 5, "by_epoch": False}, "ZeroDivisionError"),
        ({"type": "StepLR", "step_size": 0, "by_epoch": False}, "can use .ZeroDivisionError"),
        ({"type": "PolyLR", "power": "1", "end": 5, "by_epoch": False}, "TypeError.*'power': '1'"),
        (
            {"type": "PolyLR", "end": 2.5, "by_epoch": False},
            "a learning rate is a number from 0 on, also at iter 2, got -0.00",
        ),
        ({"type": "ExponentialLR", "gamma": -1, "by_epoch": False}, "at iter 1, got -0.01;"),
        ({"type": "ExponentialLR", "gamma": 1e200, "by_epoch": False}, "at iter 2, got inf;"),
        (
            {"type": "LinearParamScheduler", "param_name": "x", "end": 2, "by_epoch": False},
            "can use .KeyError: 'x'",
        ),
        ({"type": "MultiStepLR", "milestones": ["8"], "by_epoch": False}, "list of whole numbers"),
        (
            {"type": "LinearLR", "start_factor": 0.1, "end": 5, "by_epoch": True, "x": 1},
            "unknown key of LinearLR",
        ),
    ],
)
def test_a_schedule_that_cannot_be_gone_through_is_refused(schedule, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        said([schedule])
    assert "\n" not in str(caught.value)


@OPTIMIZERS.register_module(force=True)
class OfMatrices(torch.optim.SGD):
    """An optimizer that looks at what it is given."""

    def __init__(self, params, lr: float) -> None:
        params = [p for group in params for p in group["params"]]
        if any(p.ndim < 2 for p in params):
            raise ValueError("matrices only")
        super().__init__(params, lr=lr)


def test_what_wants_the_models_own_parameters_is_left_to_the_run():
    poly = {"type": "PolyLR", "end": 20, "by_epoch": False}
    assert said([poly], optim_wrapper__optimizer={"type": "OfMatrices", "lr": 0.1}) == []
    assert said([one_cycle(eta_max=[1e-2, 1e-3])]) == []  # a peak for each group


def test_a_cycle_of_epochs_in_iterations_is_as_long_as_the_training():
    cycle = one_cycle(total_steps=2, by_epoch=True, convert_to_iter_based=True)
    assert said(cycle, train_cfg={"max_epochs": 2}) == []
    with pytest.raises(ConfigError, match="set param_scheduler's total_steps to 3 too"):
        said(cycle, train_cfg={"max_epochs": 3})


def test_schedules_by_iterations_meet_the_length_of_a_training_by_epochs(make_run, capfd):
    epochs = {
        "train_cfg": {"max_epochs": 2},  # of four iterations
        "train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True},
    }
    short = make_run(options={**epochs, "param_scheduler": one_cycle(total_steps=7)})
    with pytest.raises(ConfigError, match="total_steps=7, got 'a training of 8'"):
        run(short, resume=False)
    assert not short.scalars.exists()
    long = make_run("long", {**epochs, "param_scheduler": one_cycle(total_steps=9)})
    assert run(long, resume=False).state == "complete"
    assert "OneCycleLR ends at iter 9, after the training's end at 8" in capfd.readouterr().out


def test_a_schedule_without_an_end_is_named():
    for kind in ("LinearLR", "PolyLR"):
        line = f"{kind} has no end, so it hardly begins: set its end to 20"
        assert said([{"type": kind, "by_epoch": False}]) == [line]
    cosine = {"type": "CosineAnnealingLR", "eta_min": 0.0, "by_epoch": False}
    assert len(said([cosine])) == 1
    assert said([{**cosine, "T_max": 20}]) == []


def test_a_learning_rate_that_nothing_reads_is_named_and_no_study_tunes_it(make_run):
    line = "OneCycleLR goes by its eta_max=0.01 and does not use optim_wrapper.optimizer.lr"
    assert said(one_cycle(), optim_wrapper__optimizer__lr=1e-7) == [f"{line}=1e-07"]
    options = {"param_scheduler": one_cycle(), "optim_wrapper.optimizer.lr": 1e-7}
    with pytest.raises(ConfigError, match="lr, got 1e-07; tune eta_max"):
        run(make_run(options=options, study="of_the_rate"), resume=False)


def test_a_schedule_by_epochs_beside_iterations_is_named():
    (line,) = said({"type": "MultiStepLR", "milestones": [8, 11]})
    assert line.startswith("MultiStepLR goes by epochs and the training by iterations")


def test_a_schedule_that_goes_on_after_the_end_is_named(make_run):
    warm = {"type": "LinearLR", "start_factor": 0.001, "begin": 0, "end": 500, "by_epoch": False}
    late = {"type": "PolyLR", "begin": 0, "end": 100, "by_epoch": False}
    lines = [
        "the warm-up ends at iter 500, after the training's end at 20",
        "PolyLR ends at iter 100, after the training's end at 20",
        "OneCycleLR ends at iter 40, after the training's end at 20",
    ]
    assert said([warm, late, one_cycle(total_steps=40)]) == lines
    assert said({"model": [warm]}) == lines[:1]  # by optimizer
    run_dir = make_run(options={"param_scheduler": [warm], "train_cfg.max_iters": 1})
    run(run_dir, resume=False)
    facts = json.loads(run_dir.environment.read_text())
    assert facts["warnings"] == ["the warm-up ends at iter 500, after the training's end at 1"]


def test_learning_rate_is_scaled_as_mmengine_does(make_run):
    options = {"auto_scale_lr": {"enable": True, "base_batch_size": 12}, "param_scheduler": None}
    assert scaled_lr(load_config(TOY, options)) == (1e-2, 1e-2 * 3 / 12, 3)
    run_dir = make_run(options=options)
    run(run_dir, resume=False)
    rates = [r["train/lr"] for r in run_dir.rows() if "train/lr" in r]
    assert rates == pytest.approx([1e-2 * 3 / 12] * 2)
    assert scaled_lr(load_config(TOY)) is None


def test_learning_rates_that_cannot_be_scaled_are_refused():
    on = {"auto_scale_lr": {"enable": True, "base_batch_size": 12}}
    with pytest.raises(ConfigError, match="OneCycleLR does not use.*eta_max to 0.0025 yourself"):
        scaled_lr(load_config(TOY, {**on, "param_scheduler": one_cycle()}))
    with pytest.raises(ConfigError, match="needs base_batch_size"):
        check_switches(load_config(TOY, {"auto_scale_lr": {"enable": True}}))
