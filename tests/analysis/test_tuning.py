"""A study rebuilt from a table has the table's trials, and finds the parameter that mattered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
import pandas as pd
import pytest

from fourierkd.analysis import tuning
from fourierkd.analysis.results import results_table
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def table(study_runs: list[RunDir]) -> pd.DataFrame:
    return results_table(study_runs)


def test_trials_keep_their_numbers_states_and_values(table: pd.DataFrame) -> None:
    study = tuning.study_from_table(table)
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 12
    assert states[5] == "FAIL"
    assert states[7] == states[10] == "PRUNED"
    assert states.count("COMPLETE") == 9
    row = table[table["trial"] == 3].iloc[0]
    assert study.trials[3].value == row["value"]
    assert study.trials[3].params["loss_weight"] == row["param.loss_weight"]
    assert study.trials[0].params == {}  # the student alone
    assert study.trials[3].distributions["loss_weight"].log
    best = table[(table["phase"] == "trial") & (table["state"] == "complete")]["value"].max()
    assert study.best_value == best


def test_a_missing_trial_number_is_a_failed_trial(table: pd.DataFrame) -> None:
    study = tuning.study_from_table(table[table["trial"] != 4])
    assert study.trials[4].state.name == "FAIL"
    assert (
        study.trials[6].params["loss_weight"]
        == (table.loc[table["trial"] == 6, "param.loss_weight"].iloc[0])
    )


def test_runs_of_rung_and_finals_are_no_trials(build_run: Build) -> None:
    runs = [
        build_run("t", phase="trial", trial=0, parameters={"w": 1.0}),
        build_run("r", phase="rung", trial=0, value=80.0, parameters={"w": 1.0}),
        build_run("f", phase="final", trial=0, test=90.0, parameters={"w": 1.0}),
    ]
    assert [t.value for t in tuning.study_from_table(results_table(runs)).trials] == [30.0]


def test_where_a_trial_came_from_is_kept_and_said(build_run: Build) -> None:
    runs = [
        build_run(f"{i}", phase=phase, method=method, trial=i, value=value, parameters={"w": value})
        for i, (phase, method, value) in enumerate(
            (("baseline", "pkd", 2.0), ("trial", "by_hand", 3.0), ("trial", "trial", 1.0))
        )
    ]
    study = tuning.study_from_table(results_table(runs))
    assert [t.user_attrs for t in study.trials] == [{"arm": "pkd"}, {"start": "by_hand"}, {}]
    assert "seed: trial 1 (by_hand), mIoU 3 on val" in tuning.sentence(study, "mIoU")
    assert "Set by hand, not proposed by the sampler: trial 1 (by_hand)." in tuning.note(study)
    sampled = tuning.study_from_table(results_table(runs[2:]))
    assert "Set by hand" not in tuning.note(sampled)


def test_parameters_shared_varied_and_drawn(table: pd.DataFrame) -> None:
    study = tuning.study_from_table(table)
    assert tuning.shared_parameters(study) == ["loss_weight", "mask", "noise"]
    assert tuning.varied_parameters(study) == ["loss_weight", "mask", "noise"]
    assert tuning.drawn_parameters(study)[-1] == "mask.low_pass.cutoff"
    assert tuning.drawn_parameters(study, most=2) == ["loss_weight", "mask"]


def test_importance_finds_the_parameter_that_matters() -> None:
    generator = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    uniform = optuna.distributions.FloatDistribution(0, 1)
    for _ in range(60):
        params = {name: float(generator.uniform()) for name in ("idle", "strong")}
        value = 10 * params["strong"] + generator.normal(0, 0.1)
        space = dict.fromkeys(params, uniform)
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    shares = tuning.importances(study)
    assert list(shares.index) == ["strong", "idle"]
    assert shares["strong"] > 0.8
    assert shares.sum() == pytest.approx(1.0)


def test_nothing_to_explain_gives_no_importance(table: pd.DataFrame) -> None:
    assert tuning.importances(tuning.study_from_table(table.iloc[:0])).empty
    one = table[(table["trial"] == 3) & (table["phase"] == "trial")]
    assert tuning.importances(tuning.study_from_table(one)).empty


def test_sentence_and_note(table: pd.DataFrame) -> None:
    study = tuning.study_from_table(table)
    text = tuning.sentence(study, "mIoU")
    assert text.startswith(
        "12 trials (9 complete, 2 pruned, 1 fail). Best at the search's seed: trial "
    )
    assert "loss_weight=" in text
    assert "mask.low_pass.cutoff" in tuning.note(study)
    empty = optuna.create_study(direction="maximize")
    empty.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    assert tuning.sentence(empty, "mIoU") == "1 trials (1 fail)."


def test_importance_is_drawn_largest_on_top() -> None:
    figure = tuning.importance_figure(pd.Series({"big": 0.9, "small": 0.1}))
    assert list(figure.data[0].y) == ["small", "big"]
    assert list(figure.data[0].text) == ["0.10", "0.90"]


def test_history_shows_how_every_trial_ended(table: pd.DataFrame) -> None:
    study = tuning.study_from_table(table)
    history = tuning.history_figure(study, label="mIoU")
    assert list(history.data[0].x) == [0, 1, 2, 3, 4, 6, 8, 9, 11]  # the complete ones
    drawn = {trace.name: trace for trace in history.data}
    assert list(drawn["best so far"].y)[-1] == study.best_value
    assert list(drawn["pruned"].x) == [7, 10]
    assert set(drawn["pruned"].y) == {19.0}
    assert list(drawn["failed"].x) == [5]
    assert drawn["failed"].y[0] < 19.0
    assert len({trace.marker.symbol for trace in history.data if trace.mode == "markers"}) == 3
