import warnings

import optuna
import pytest

from fourierkd.errors import ConfigError
from sweeps.points import resolve
from sweeps.samplers import make_pruner, make_sampler
from sweeps.space import suggest
from sweeps.study_file import load_study

FINITE = {"a": suggest.choice(x=1, y={"b": suggest.int(1, 3)}), "c": suggest.categorical([0, 1])}


def test_every_trial_has_a_stream_of_its_own(study_file):
    config = load_study(study_file)

    def first(number):
        study = optuna.create_study(sampler=make_sampler(config, number))
        return study.ask().suggest_float("x", 0, 1)

    assert first(1) == first(1)
    assert len({first(number) for number in range(5)}) == 5


def test_the_sampler_gives_no_warning(study_file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        make_sampler(load_study(study_file), 0)


def test_pruners():
    assert isinstance(make_pruner(None), optuna.pruners.NopPruner)
    median = make_pruner({"type": "MedianPruner", "n_startup_trials": 2})
    assert isinstance(median, optuna.pruners.MedianPruner)
    patient = make_pruner(
        {"type": "PatientPruner", "wrapped_pruner": {"type": "MedianPruner"}, "patience": 1}
    )
    assert isinstance(patient, optuna.pruners.PatientPruner)
    with pytest.raises(ConfigError, match="did you mean 'MedianPruner'"):
        make_pruner({"type": "MedianPrunner"})
    with pytest.raises(ConfigError, match="did you mean 'n_startup_trials'"):
        make_pruner({"type": "MedianPruner", "n_startup_trial": 2})


@pytest.mark.parametrize(
    "kind", ["GridSampler", "BruteForceSampler", "RandomSampler", "QMCSampler", "CmaEsSampler"]
)
def test_samplers_by_name(study_file, kind):
    config = load_study(study_file, {"space": FINITE, "sampler.type": kind})
    study = optuna.create_study()
    points = []
    for number in range(12):
        study.sampler = make_sampler(config, number)
        trial = study.ask()
        points.append(str(resolve(FINITE, trial)[0]))
        study.sampler = optuna.samplers.RandomSampler()
        study.tell(trial, float(number))
    assert isinstance(make_sampler(config, 0), getattr(optuna.samplers, kind))
    if kind == "GridSampler":  # 2 * 3 * 2 points, those of a=x thrice
        assert len(set(points)) == 8
    if kind == "BruteForceSampler":
        assert len(set(points[:8])) == 8
    assert len(set(points)) > 2


def test_arguments_of_a_sampler(study_file):
    def made(**keys):
        return make_sampler(load_study(study_file, {"sampler": keys}), 0)

    assert made(type="TPESampler", n_ei_candidates=3)._n_ei_candidates == 3
    for keys, words in (
        ({"type": "TPESamplr"}, "did you mean 'TPESampler'"),
        ({"type": "TPESampler", "n_ei_candidate": 3}, "did you mean 'n_ei_candidates'"),
        ({"type": "RandomSampler", "seed": 1}, "sampler.seed is the study's"),
        ({"type": "QMCSampler", "qmc_type": "sobl"}, "sobl"),
        ({"type": "GridSampler"}, "GridSampler goes through a finite space"),
        ({"type": "BruteForceSampler"}, "give every suggest.float a step"),
    ):
        with pytest.raises(ConfigError, match=words):
            made(**keys)
    with pytest.raises(ConfigError, match="sampler must be a dict"):
        make_sampler(load_study(study_file, {"sampler": 5}), 0)


def test_a_grid_has_an_end(study_file):
    space = {f"k{i}": suggest.int(1, 10) for i in range(6)}
    with pytest.raises(ConfigError, match="at most 100000 points, got 1000000"):
        make_sampler(load_study(study_file, {"space": space, "sampler.type": "GridSampler"}), 0)


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "MedianPrunner"},
        {"type": "MedianPruner", "n_startup": 1},
        {"type": "MedianPruner", "n_startup_trials": -1},
        "median",
    ],
)
def test_a_bad_pruner_is_refused_before_anything_is_written(run_tiny, tmp_path, spec):
    with pytest.raises(ConfigError, match="prun|MedianPruner"):
        run_tiny(pruner=spec)
    assert not (tmp_path / "work").exists()
