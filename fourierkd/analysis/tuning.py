"""What tuning found: trials flow in; an Optuna study, importances, sentences, figures flow out.

Optuna's own study knows the search space; a table alone does not, so its ranges are taken from the
trials.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fourierkd.analysis.figures import PALETTE, blank_figure
from fourierkd.analysis.results import PARAM, RUNNING, metric_of, parameters
from fourierkd.analysis.selection import ARM, START_POINT, origin
from fourierkd.analysis.selection import trials as searched
from fourierkd.records import Metric, State

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from plotly.graph_objects import Figure

STATE_STYLES = {  # state of a trial -> colour and symbol
    "complete": (PALETTE[4], "circle"),
    "pruned": (PALETTE[5], "x"),
    "failed": (PALETTE[1], "triangle-down"),
}
LOG_RATIO = 20  # positive values that span more than this ratio are taken as searched in log scale


def study_from_table(table: pd.DataFrame, *, metric: Metric | None = None) -> optuna.Study:
    """An in-memory Optuna study with the trials of a results table, numbered as they were.

    Args:
        table: a results table; the trials of the search are used (``selection.trials``).
        metric: which way is better; None: as the table says of its own.

    Returns:
        The study. A numeric parameter is searched between its smallest and largest value, in log
        scale where these are positive and span more than ``LOG_RATIO``; any other is a choice of
        the values seen. A pruned trial has the value that it had. Stopped runs and missing numbers
        are failed trials. Arms and start points have their name as user attribute ``arm`` or
        ``start``, as a study's own have.
    """
    import optuna
    from optuna.trial import TrialState

    study = optuna.create_study(direction=metric_of(table, metric).direction.value)
    trials = searched(table)
    space = {
        str(name)[len(PARAM) :]: _distribution(trials[name].dropna())
        for name in trials.columns
        if str(name).startswith(PARAM) and trials[name].notna().any()
    }
    states: dict[str, TrialState] = {
        State.COMPLETE: TrialState.COMPLETE,
        State.PRUNED: TrialState.PRUNED,
        RUNNING: TrialState.RUNNING,
    }
    for row in trials.sort_values("trial").to_dict("records"):
        while len(study.get_trials(deepcopy=False)) < row["trial"]:
            study.add_trial(optuna.create_trial(state=TrialState.FAIL))
        chosen = parameters(row)
        state = states.get(row["state"], TrialState.FAIL)
        value = None if pd.isna(row["value"]) else row["value"]
        if state == TrialState.COMPLETE and value is None:
            state = TrialState.FAIL
        study.add_trial(
            optuna.create_trial(
                state=state,
                params=chosen,
                distributions={name: space[name] for name in chosen},
                value=value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                user_attrs=_named(row),
            )
        )
    return study


def complete_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that ended with a value."""
    import optuna

    return study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])


def shared_parameters(study: optuna.Study) -> list[str]:
    """Parameters of every complete trial that has any: others exist for some choices only."""
    chosen = [set(trial.params) for trial in complete_trials(study) if trial.params]
    return sorted(set.intersection(*chosen)) if chosen else []


def varied_parameters(study: optuna.Study) -> list[str]:
    """Those of ``shared_parameters`` that took two values or more: these can explain something."""
    trials = [trial for trial in complete_trials(study) if trial.params]
    return [
        name
        for name in shared_parameters(study)
        if len({str(trial.params[name]) for trial in trials}) > 1
    ]


def drawn_parameters(study: optuna.Study, most: int = 8) -> list[str]:
    """At most ``most`` parameters that took two values or more, those of the most trials first."""
    seen: dict[str, list[str]] = {}
    for trial in complete_trials(study):
        for name, value in trial.params.items():
            seen.setdefault(name, []).append(str(value))
    names = [name for name, values in seen.items() if len(set(values)) > 1]
    return sorted(names, key=lambda name: (-len(seen[name]), name))[:most]


def importances(study: optuna.Study) -> pd.Series:
    """Share of the trials' variation that each parameter explains (PED-ANOVA), largest first.

    Returns:
        Series indexed by parameter, in [0, 1], sum 1; empty with fewer than two trials that have
        parameters or where no parameter varied.

    References:
        Watanabe, Bansal, Hutter, "PED-ANOVA", IJCAI 2023 (Optuna's default evaluator).
    """
    import optuna

    names = varied_parameters(study)
    if not names:
        return pd.Series(dtype=float, name="importance")
    found = optuna.importance.get_param_importances(study, params=names)
    return pd.Series(found, dtype=float, name="importance").sort_values(ascending=False)


def sentence(study: optuna.Study, metric: str) -> str:
    """How the trials ended, and the best one with its parameters."""
    states = pd.Series([trial.state.name.lower() for trial in study.get_trials(deepcopy=False)])
    counts = ", ".join(f"{count} {state}" for state, count in states.value_counts().items())
    text = f"{len(states)} trials ({counts})."
    if not complete_trials(study):
        return text
    best = study.best_trial
    chosen = ", ".join(f"{name}={short(value)}" for name, value in best.params.items())
    named = next((f" ({best.user_attrs[k]})" for k in ("arm", "start") if k in best.user_attrs), "")
    with_what = f" with {chosen}" if chosen else ", without a tuned parameter"
    return (
        f"{text} Best at the search's seed: trial {best.number}{named}, {metric} "
        f"{short(best.value)} on val{with_what}."
    )


def note(study: optuna.Study) -> str:
    """How importance is made, which parameters it leaves out, and which trials are set by hand."""
    every = {name for trial in complete_trials(study) for name in trial.params}
    fixed = every - set(varied_parameters(study))
    text = (
        "Tuning saw train and val only. Importance is PED-ANOVA's over the complete trials: with "
        "few trials a hint, not a finding."
    )
    if fixed:
        names = ", ".join(sorted(fixed))
        text += f" Left out of it, as only some trials have them or they never varied: {names}."
    starts = [
        f"trial {trial.number} ({trial.user_attrs['start']})"
        for trial in study.get_trials(deepcopy=False)
        if "start" in trial.user_attrs
    ]
    if starts:
        text += f" Set by hand, not proposed by the sampler: {', '.join(starts)}."
    return text


def importance_figure(importances: pd.Series) -> Figure:
    """Share of each parameter, the largest on top (what ``importances`` returns)."""
    figure = blank_figure(height=90 + 32 * len(importances))
    shown = importances[::-1]
    figure.add_bar(
        x=shown.to_numpy(),
        y=list(shown.index),
        orientation="h",
        marker_color=PALETTE[0],
        text=[f"{value:.2f}" for value in shown],
        textposition="outside",
        cliponaxis=False,
    )
    figure.update_xaxes(title="share of variation explained", range=[0, 1.08])
    return figure.update_yaxes(showgrid=False).update_layout(showlegend=False)


def history(study: optuna.Study) -> pd.DataFrame:
    """How the trials went.

    Returns:
        A row a trial that has ended, in their order: ``trial``, ``state`` (``complete``, ``pruned``
        or ``failed``), ``value`` (of a pruned one the last that it told), ``drawn`` (the value, or
        a place below all where there is none) and ``best`` (so far; NaN but at complete ones).
    """
    from optuna.trial import TrialState

    states = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    rows = [
        (trial.number, states[trial.state], _last_value(trial))
        for trial in study.get_trials(deepcopy=False)
        if trial.state in states
    ]
    found = pd.DataFrame(rows, columns=["trial", "state", "value"])
    low, high = found["value"].min(), found["value"].max()
    below = low - 0.08 * ((high - low) or abs(high) or 1.0)
    complete = found["value"].where(found["state"] == "complete")
    best = complete.cummax() if study.direction.name == "MAXIMIZE" else complete.cummin()
    return found.assign(drawn=found["value"].fillna(below), best=best)


def history_figure(study: optuna.Study, *, label: str) -> Figure:
    """Value of every trial in their order, and the best so far; pruned ones at the value they had,
    failed ones, which have none, below all.
    """
    found = history(study)
    figure = blank_figure(height=300)
    for state, (colour, symbol) in STATE_STYLES.items():
        own = found[found["state"] == state]
        if len(own):
            value = "" if state == "failed" else ": %{y:.4g}"
            figure.add_scatter(
                x=own["trial"],
                y=own["drawn"],
                name=state,
                mode="markers",
                marker={"color": colour, "size": 7, "symbol": symbol},
                hovertemplate=f"trial %{{x}}, {state}{value}<extra></extra>",
            )
    best = found.dropna(subset=["best"])
    figure.add_scatter(
        x=best["trial"],
        y=best["best"],
        name="best so far",
        mode="lines",
        line={"color": PALETTE[0], "width": 2, "shape": "hv"},
    )
    figure.update_xaxes(title="trial", dtick=_whole(len(found)))
    return figure.update_yaxes(title=label)


def short(value: object) -> str:
    """A parameter or metric as text: floats with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last_value(trial: optuna.trial.FrozenTrial) -> float:
    """Its value, or of a pruned one the last that it told; NaN where there is none."""
    if trial.value is not None:
        return trial.value
    told = trial.intermediate_values
    return told[max(told)] if told else math.nan


def _named(row: dict[str, Any]) -> dict[str, str]:
    """User attributes of an arm or a start point; none of a sampled trial."""
    kind, _, name = origin(row).rpartition(" ")
    return {{ARM: "arm", START_POINT: "start"}[kind]: name} if kind else {}


def _distribution(values: pd.Series) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if pd.api.types.is_float_dtype(values):
        low, high = float(values.min()), float(values.max())
        return FloatDistribution(low, high, log=low > 0 and high / low > LOG_RATIO)
    return CategoricalDistribution(sorted(values.unique().tolist()))


def _whole(count: int) -> int:
    """A tick step that shows whole trial numbers, at most about 12 of them."""
    return max(1, math.ceil(count / 12))
