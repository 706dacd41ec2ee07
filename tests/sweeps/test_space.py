import optuna
import pytest

from fourierkd.errors import ConfigError
from sweeps.space import (
    branches,
    check_space,
    describe,
    match,
    resolve,
    shared_parameters,
    short_names,
    suggest,
)

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
        {"loss_weight": 2.0, "noise": False, "mask": "low_pass", "mask.low_pass.cutoff": 0.25}
    )
    options, parameters = resolve(SPACE, trial)
    assert options == {
        "model.losses.fourier.loss.loss_weight": 2.0,
        "model.losses.fourier.loss.noise": False,
        "model.losses.fourier.loss.mask": {"type": "LowPass", "cutoff": 0.25},
        "train_cfg.max_iters": 20,
    }
    assert parameters == {
        "loss_weight": 2.0,
        "noise": False,
        "mask": "low_pass",
        "mask.low_pass.cutoff": 0.25,
    }


def test_nodes_inside_lists_are_resolved():
    trial = optuna.trial.FixedTrial(
        {
            "loss_weight": 1.0,
            "noise": True,
            "mask": "product",
            "mask.product.masks.0.center": 0.5,
        }
    )
    options, parameters = resolve(SPACE, trial)
    assert options["model.losses.fourier.loss.mask"]["masks"] == [
        {"type": "Gaussian", "center": 0.5},
        "x",
    ]
    assert parameters["mask.product.masks.0.center"] == 0.5


def test_names_are_the_shortest_unique_tails():
    space = {
        "model.losses.a.loss.loss_weight": suggest.float(0, 1),
        "model.losses.b.loss.loss_weight": suggest.float(0, 1),
        "optim_wrapper.optimizer.lr": suggest.float(0, 1),
    }
    assert list(short_names(space).values()) == ["a.loss.loss_weight", "b.loss.loss_weight", "lr"]


def test_shared_parameters_leave_out_what_a_choice_brings():
    assert shared_parameters(SPACE) == ["loss_weight", "noise", "mask"]


def test_a_study_samples_the_described_ranges():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds = set()
    for _ in range(40):
        options, parameters = resolve(SPACE, study.ask())
        kinds.add(parameters["mask"])
        assert 0.1 <= options["model.losses.fourier.loss.loss_weight"] <= 100
        assert ("mask.low_pass.cutoff" in parameters) == (parameters["mask"] == "low_pass")
    assert kinds == {"all_pass", "low_pass", "product"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"loss_weight": 2.0, "noise": False, "mask": "all_pass"},
        {"loss_weight": 2.0, "noise": True, "mask": "low_pass", "mask.low_pass.cutoff": 0.25},
        {"loss_weight": 9.0, "noise": True, "mask": "product", "mask.product.masks.0.center": 0.1},
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
        SPACE, optuna.trial.FixedTrial({"loss_weight": 2.0, "noise": False, "mask": "all_pass"})
    )
    parameters, why = match(SPACE, {**options, **change})
    assert parameters is None
    assert word in why


def test_match_needs_every_option():
    parameters, why = match(SPACE, {"train_cfg.max_iters": 20})
    assert parameters is None
    assert why == "model.losses.fourier.loss.loss_weight is not given"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: suggest.float(100, 0.1),
            "low must be below high, got (100, 0.1); use suggest.float(0.1, 100)",
        ),
        (lambda: suggest.float(1, 1), "low must be below high"),
        (lambda: suggest.float(0, 1, log=True), "log=True needs low > 0, got 0"),
        (lambda: suggest.float("0", 1), "low must be a finite number, got '0'"),
        (lambda: suggest.float(0, float("inf")), "high must be a finite number"),
        (lambda: suggest.float(0, 1, step=2), "step must be in"),
        (lambda: suggest.float(1, 10, log=True, step=1), "step must be in"),
        (lambda: suggest.int(5, 2), "low must be below high"),
        (lambda: suggest.int(0.5, 2), "low must be a whole number, got 0.5"),
        (lambda: suggest.categorical([]), "takes a list of values"),
        (lambda: suggest.categorical("ab"), "takes a list of values"),
        (lambda: suggest.categorical([{"type": "x"}]), "suggest.choice(name=value, ...)"),
        (lambda: suggest.categorical([1, 1]), "each value once"),
        (suggest.choice, "needs a named value"),
        (lambda: suggest.flaot(0, 1), "did you mean 'float'?"),
    ],
)
def test_bad_nodes_are_refused(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a.b": 1}, "needs a suggest node"),
        ({"a": suggest.float(0, 1), "a.b": 1}, "space holds a and an option inside it"),
        ({"a..b": suggest.float(0, 1)}, "dotted option"),
        ({"a": suggest.float(0, 1), "b": object()}, "plain values"),
        ([], "dict of dotted option"),
    ],
)
def test_bad_spaces_are_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        check_space(space)


def test_describe_tells_spaces_apart():
    first, second = ({"lr": suggest.float(0.1, high)} for high in (1, 2))
    assert describe(first) != describe(second)
    assert describe(first) == {
        "lr": {"suggest": "float", "low": 0.1, "high": 1.0, "log": False, "step": None}
    }


def test_branches_take_every_option_of_every_choice():
    masks = suggest.choice(
        all_pass="a", low=dict(cutoff=suggest.float(0, 1)), high=dict(cutoff=suggest.float(0, 1))
    )
    space = {
        "model.loss": suggest.choice(
            plain=dict(weight=suggest.float(0, 1)),
            masked=dict(mask=masks, sphere=suggest.choice(none=None, on=suggest.float(1, 2))),
        ),
        "model.connector": suggest.choice(conv="auto", relu=dict(type="ConvModule")),
        "model.noise": suggest.categorical([True, False]),
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
