"""Parallel coordinates: every trial once, at its values, in a handful of traces."""

from __future__ import annotations

import optuna
import pytest

from fourierkd.analysis.parallel import ABSENT, SHADES, parallel_axes, parallel_figure


@pytest.fixture
def study() -> optuna.Study:
    """300 trials of a weight in log scale, a mask, and a cutoff that only one mask has."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    weight = optuna.distributions.FloatDistribution(0.1, 1000.0, log=True)
    mask = optuna.distributions.CategoricalDistribution(["low", "none"])
    cutoff = optuna.distributions.FloatDistribution(0.0, 1.0)
    for i in range(300):
        params: dict[str, object] = {"weight": 10.0 ** (i % 3), "mask": ("low", "none")[i % 2]}
        space: dict[str, optuna.distributions.BaseDistribution] = {"weight": weight, "mask": mask}
        if params["mask"] == "low":
            params["cutoff"], space["cutoff"] = i / 300, cutoff
        study.add_trial(
            optuna.create_trial(params=params, distributions=space, value=float((i * 7) % 300))
        )
    return study


def test_trials_lie_at_their_values(study: optuna.Study) -> None:
    found = parallel_axes(study, ["weight", "mask", "cutoff"], "mIoU")
    assert [axis.name for axis in found.axes] == ["mIoU", "weight", "mask", "cutoff"]
    assert found.axes[1].ticks == [(0.0, "1"), (0.5, "10"), (1.0, "100")]  # in log scale
    assert [text for _, text in found.axes[2].ticks] == ["low", "none"]
    assert found.axes[3].ticks[-1] == (ABSENT, "not there")
    best = found.trials.index(study.best_trial.number)
    assert best == len(found.trials) - 1 == 299  # drawn last, so above all
    assert found.shares[best] == found.places[best][0] == 1.0
    rows = dict(zip(found.trials, found.places, strict=True))
    assert rows[1][1:] == [0.5, 1.0, ABSENT]
    assert rows[298][1:] == [0.5, 0.0, 1.0]  # the greatest cutoff


def test_the_figure_has_few_traces_and_every_trial(study: optuna.Study) -> None:
    figure = parallel_figure(study, ["weight", "mask", "cutoff"], label="mIoU")
    assert 1 < len(figure.data) <= SHADES
    drawn = [text for trace in figure.data for text in trace.text if text]
    assert {drawn.count(f"trial {i}") for i in range(300)} == {4}  # a point an axis
    words = [note.text for note in figure.layout.annotations]
    assert [name for name in words if name in ("mIoU", "weight", "mask", "cutoff")] == [
        "mIoU",
        "weight",
        "mask",
        "cutoff",
    ]


def test_of_an_error_the_least_is_best() -> None:
    study = optuna.create_study(direction="minimize")
    weight = optuna.distributions.FloatDistribution(0.0, 1.0)
    for value in (3.0, 1.0, 2.0):
        study.add_trial(
            optuna.create_trial(params={"w": value / 3}, distributions={"w": weight}, value=value)
        )
    found = parallel_axes(study, ["w"], "error")
    assert found.trials == [0, 2, 1]
    assert found.shares == [0.0, 0.5, 1.0]
