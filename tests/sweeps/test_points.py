import json

import optuna
import pytest

from sweeps.points import branches, choices, match, resolve, size
from sweeps.space import Methods, Tunable, check_space, describe, parameter_name, suggest

SPACE = {
    "model.losses.fourier.loss.loss_weight": suggest.float(0.1, 100, log=True),
    "model.losses.fourier.loss.noise": suggest.categorical([True, False]),
    "model.losses.fourier.loss.mask": suggest.choice(
        all_pass=dict(type="AllPass"),
        low_pass=dict(type="LowPass", cutoff=suggest.float(0.1, 1.0)),
        product=dict(
            type="Product", masks=[dict(type="Gaussian", center=suggest.float(0, 0.5)), "x"]
        ),
    ),
    "train_cfg.max_iters": 20,
}


def test_resolve_nested_choice():
    trial = optuna.trial.FixedTrial(
        {
            "fourier.loss_weight": 2.0,
            "fourier.noise": False,
            "fourier.mask": "low_pass",
            "fourier.mask.low_pass.cutoff": 0.25,
        }
    )
    options, parameters = resolve(SPACE, trial)
    assert options == {
        "model.losses.fourier.loss.loss_weight": 2.0,
        "model.losses.fourier.loss.noise": False,
        "model.losses.fourier.loss.mask": {"type": "LowPass", "cutoff": 0.25},
        "train_cfg.max_iters": 20,
    }
    assert parameters == {
        "fourier.loss_weight": 2.0,
        "fourier.noise": False,
        "fourier.mask": "low_pass",
        "fourier.mask.low_pass.cutoff": 0.25,
    }


def test_nodes_inside_lists_are_resolved():
    trial = optuna.trial.FixedTrial(
        {
            "fourier.loss_weight": 1.0,
            "fourier.noise": True,
            "fourier.mask": "product",
            "fourier.mask.product.masks.0.center": 0.5,
        }
    )
    options, parameters = resolve(SPACE, trial)
    assert options["model.losses.fourier.loss.mask"]["masks"] == [
        {"type": "Gaussian", "center": 0.5},
        "x",
    ]
    assert parameters["fourier.mask.product.masks.0.center"] == 0.5


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("model.losses.cwd.loss.loss_weight", "cwd.loss_weight"),
        ("model.losses.cwd.loss.mask.cutoff", "cwd.mask.cutoff"),
        ("model.losses.cwd.loss", "cwd"),
        ("model.losses.cwd.connector", "cwd.connector"),
        ("model.losses.cwd", "cwd"),
        ("model.losses.cwd.lossy", "cwd.lossy"),
        ("model.losses", "model.losses"),
        ("optim_wrapper.optimizer.lr", "optim_wrapper.optimizer.lr"),
        ("method", "method"),
    ],
)
def test_a_parameter_is_named_by_its_option_alone(option, name):
    assert parameter_name(option) == name
    for more in ({}, {"model.losses.other.loss.loss_weight": suggest.float(0, 1)}):
        space = {option: suggest.float(0, 1), **more}
        assert next(iter(resolve(space, optuna.create_study().ask())[1])) == name


def test_a_study_samples_the_described_ranges():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds = set()
    for _ in range(40):
        options, parameters = resolve(SPACE, study.ask())
        kinds.add(parameters["fourier.mask"])
        assert 0.1 <= options["model.losses.fourier.loss.loss_weight"] <= 100
        assert ("fourier.mask.low_pass.cutoff" in parameters) == (
            parameters["fourier.mask"] == "low_pass"
        )
    assert kinds == {"all_pass", "low_pass", "product"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"fourier.loss_weight": 2.0, "fourier.noise": False, "fourier.mask": "all_pass"},
        {
            "fourier.loss_weight": 2.0,
            "fourier.noise": True,
            "fourier.mask": "low_pass",
            "fourier.mask.low_pass.cutoff": 0.25,
        },
        {
            "fourier.loss_weight": 9.0,
            "fourier.noise": True,
            "fourier.mask": "product",
            "fourier.mask.product.masks.0.center": 0.1,
        },
    ],
)
def test_match_is_the_inverse_of_resolve(parameters):
    options, _ = resolve(SPACE, optuna.trial.FixedTrial(parameters))
    assert match(SPACE, options) == (parameters, "")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model.losses.fourier.loss.loss_weight": 1000.0}, "1000.0"),
        ({"model.losses.fourier.loss.noise": 1}, "noise"),
        ({"model.losses.fourier.loss.mask": dict(type="HighPass")}, "HighPass"),
        ({"train_cfg.max_iters": 30}, "30"),
        ({"model.other": 1}, "model.other is not in the space"),
    ],
)
def test_match_says_what_lies_outside(change, word):
    options, _ = resolve(
        SPACE,
        optuna.trial.FixedTrial(
            {"fourier.loss_weight": 2.0, "fourier.noise": False, "fourier.mask": "all_pass"}
        ),
    )
    parameters, why = match(SPACE, {**options, **change})
    assert parameters is None
    assert word in why


def test_match_needs_every_option():
    parameters, why = match(SPACE, {"train_cfg.max_iters": 20})
    assert parameters is None
    assert why == "model.losses.fourier.loss.loss_weight is not given"


def test_branches_take_every_option_of_every_choice():
    masks = suggest.choice(
        all_pass="a", low=dict(cutoff=suggest.float(0, 1)), high=dict(cutoff=suggest.float(0, 1))
    )
    space = {
        "loss": suggest.choice(
            plain=dict(weight=suggest.float(0, 1)),
            masked=dict(mask=masks, sphere=suggest.choice(none=None, on=suggest.float(1, 2))),
        ),
        "connector": suggest.choice(conv="auto", relu=dict(type="ConvModule")),
        "noise": suggest.categorical([True, False]),
    }
    masked = {"loss": "masked", "loss.masked.mask": "all_pass", "loss.masked.sphere": "none"}
    low = {"loss.masked.mask": "low", "loss.masked.mask.low.cutoff": 0.5}
    on = {"loss.masked.sphere": "on", "loss.masked.sphere.on": 1.5}
    high = {"loss.masked.mask": "high", "loss.masked.mask.high.cutoff": 0.5}
    assert branches(space) == [
        {"loss": "plain", "loss.plain.weight": 0.5, "connector": "conv"},
        {**masked, "connector": "relu"},
        {**masked, **low, **on, "connector": "conv"},
        {**masked, **high, "connector": "relu"},
    ]
    tried = [{"loss": "plain", "loss.plain.weight": 0.5, "connector": "conv"}]
    assert branches(space, tried) == branches(space)[1:]
    for branch in branches(space):  # a sampler may fill the rest in
        study = optuna.create_study()
        study.enqueue_trial(branch)
        _, parameters = resolve(space, study.ask())
        assert branch.items() <= parameters.items()
    assert branches({"x": suggest.float(0, 1)}) == []


def test_the_middle_of_a_range_is_on_its_scale_and_grid():
    space = {
        "a": suggest.choice(on=None),
        "b": suggest.float(1, 100, log=True),
        "c": suggest.float(0, 1, step=0.3),
        "d": suggest.int(1, 8, step=3),
        "e": suggest.int(1, 100, log=True),
        "f": [suggest.int(0, 3)],
    }
    (branch,) = branches(space)
    assert branch == {"a": "on", "b": 10.0, "c": 0.6, "d": 4, "e": 10, "f.0": 2}
    study = optuna.create_study()
    study.enqueue_trial(branch)
    assert resolve(space, study.ask())[1] == branch  # inside of every range


WEIGHT = "model.losses.a.loss.loss_weight"


METHODS = {
    "method": Methods(
        {
            "plain": {},
            "a": {WEIGHT: Tunable(suggest.float(1.0, 100.0, log=True), 4.0)},
            "masked": {
                WEIGHT: Tunable(suggest.float(1.0, 100.0, log=True), 9.0),
                "model.losses.a.loss.mask": Tunable(
                    suggest.mask(), dict(type="HighPass", cutoff=0.5)
                ),
                "model.losses.a.connector": Tunable(suggest.categorical(["auto", "X"]), "auto"),
            },
        }
    ),
    "optim_wrapper.optimizer.lr": suggest.float(0, 1),
}


def test_a_method_brings_its_own_parameters():
    check_space(METHODS)
    lr = {"optim_wrapper.optimizer.lr": 0.5}
    trial = optuna.trial.FixedTrial({"method": "a", "a.loss_weight": 3.0, **lr})
    assert resolve(METHODS, trial) == (
        {"method": "a", WEIGHT: 3.0, **lr},
        {"method": "a", "a.loss_weight": 3.0, **lr},
    )
    assert resolve(METHODS, optuna.trial.FixedTrial({"method": "plain", **lr}))[0] == {
        "method": "plain",
        **lr,
    }
    assert json.loads(json.dumps(describe(METHODS)))["method"]["suggest"] == "method"


def test_an_arm_that_names_a_method_alone_has_its_own_values():
    lr = {"optim_wrapper.optimizer.lr": 0.5}
    assert match(METHODS, {"method": "a", **lr}) == (
        {"method": "a", "a.loss_weight": 4.0, **lr},
        "",
    )
    found, _ = match(METHODS, {"method": "masked", WEIGHT: 2.0, **lr})
    assert found == {
        "method": "masked",
        "a.loss_weight": 2.0,
        "a.mask": "high_pass",
        "a.mask.high_pass.cutoff": 0.5,
        "a.connector": "auto",
        **lr,
    }
    options, _ = resolve(METHODS, optuna.trial.FixedTrial(found))
    assert match(METHODS, options) == (found, "")
    for arm, why in (
        ({"method": "other", **lr}, "method='other' is outside"),
        ({"method": "plain", WEIGHT: 2.0, **lr}, f"{WEIGHT} is not in the space"),
        ({"method": "a", WEIGHT: 200.0, **lr}, f"{WEIGHT}=200.0 is outside"),
    ):
        parameters, said = match(METHODS, arm)
        assert parameters is None
        assert why in said


def test_branches_and_size_go_through_methods():
    lr = {"optim_wrapper.optimizer.lr": 0.5}
    found = branches(METHODS, tried=[{"method": "a"}])
    assert [(b["method"], b.get("a.mask")) for b in found] == [
        ("plain", None),
        ("masked", "low_pass"),
        ("masked", "high_pass"),
        ("masked", "band_pass"),
    ]
    assert found[0] == {"method": "plain", **lr}
    assert found[1]["a.loss_weight"] == pytest.approx(10)
    assert found[1]["a.mask.low_pass.cutoff"] == pytest.approx(0.4)
    assert size(METHODS) == float("inf")
    switch = Tunable(suggest.categorical([1, 2, 3]), 1)
    finite = {"method": Methods({"plain": {}, "a": {"x": switch, "y": switch}})}
    assert size(finite) == 10
    assert choices(finite) == {"method": ["plain", "a"], "x": [1, 2, 3], "y": [1, 2, 3]}
