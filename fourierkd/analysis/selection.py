"""Which trial is chosen: a results table flows in, the candidates and the chosen one flow out.

The best of many single values is the luckiest as much as the best: with a seed deviation of the
size of the differences it is the truly best of twelve in half of all studies. So the best few
trials are run again with fresh seeds (phase ``rung``), and the best mean there is chosen. All of it
is on the validation split.

A comparison that tunes its methods has a search for each: its rows are those of ``of_search``, of
which everything below is asked.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from fourierkd.analysis.results import PARAM, metric_of, metric_values, parameters
from fourierkd.records import MINIMIZE, Metric, Phase, State

TUNED = "tuned"  # the chosen trial among the methods of the final runs, where no arm equals it
SAMPLED = "trial"  # method of a trial that the sampler proposed
ARM, START_POINT = "arm", "start point"  # origins of trials that the sampler did not propose
TRIAL_PHASES = (Phase.BASELINE, Phase.TRIAL)


def searches(table: pd.DataFrame) -> list[str | None]:
    """The searches that a table's trials belong to: None is a study's one search, a name that of a
    method which a comparison tunes.
    """
    found = trials(table)
    if "tunes" not in found:
        return [None] if len(found) else []
    names: list[str | None] = [str(name) for name in found["tunes"].dropna().unique()]
    return [None, *names] if found["tunes"].isna().any() else names


def of_search(table: pd.DataFrame, tunes: str | None) -> pd.DataFrame:
    """The part of a table that one search is chosen from: its trials, rung and final runs.

    Args:
        table: a results table.
        tunes: the tuned method, whose final runs are those of its name; None: the study's one
            search, with every final run.
    """
    if "tunes" not in table:
        return table if tunes is None else table.iloc[:0]
    if tunes is None:
        return table[table["tunes"].isna()]
    finals = (table["phase"] == Phase.FINAL) & (table["method"] == tunes)
    return table[(table["tunes"] == tunes) | finals]


def trials(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are trials of a search: runs of rung and finals repeat some of these."""
    return table[table["trial"].notna() & table["phase"].isin(TRIAL_PHASES)]


def shortlist(table: pd.DataFrame, count: int, *, metric: Metric | str | None = None) -> list[int]:
    """Numbers of the ``count`` best complete trials by their one value, best first.

    Args:
        table: a results table.
        count: how many at most; there are fewer where fewer trials have a value.
        metric: as for ``metric_values``.

    Returns:
        Trial numbers. Of equal values the earlier trial comes first; of trials with equal
        parameters only the best one counts, since they are one candidate.
    """
    scored = _scored(trials(table), metric)
    upwards = metric_of(table, metric).direction == MINIMIZE
    ordered = scored.sort_values(["score", "trial"], ascending=[upwards, True])
    known: list[dict[str, object]] = []
    chosen: list[int] = []
    for row in ordered.to_dict("records"):
        if len(chosen) == count:
            break
        own = parameters(row)
        if own and own in known:
            continue
        known.append(own)
        chosen.append(int(row["trial"]))
    return chosen


def candidates(table: pd.DataFrame, *, metric: Metric | str | None = None) -> pd.DataFrame:
    """What the choice was made from, the chosen trial first.

    Args:
        table: a results table.
        metric: as for ``metric_values``.

    Returns:
        One row per trial of the rung, or the best trial alone where there was no rung: ``trial,
        origin`` (``sampled``, ``arm <name>`` or ``start point <name>``), ``search`` (value at the
        search's seed), ``rung`` (mean over its fresh seeds), ``rung_runs`` (how many have a value),
        ``final`` (mean over the final seeds), ``final_runs``, ``chosen``, and the trial's
        ``param.<name>``. All values are on val; those of the final runs exist for the chosen trial
        only. The order is that of the choice: more rung runs with a value, then the better mean,
        then the better value of the search, then the earlier trial.
    """
    searched = trials(table).set_index("trial")
    search_scores = _scored(trials(table), metric).set_index("trial")["score"]
    rung = table[table["phase"] == Phase.RUNG]
    rung_scores = _scored(rung, metric).groupby("trial")["score"]
    numbers = [int(number) for number in rung["trial"].unique() if number in searched.index]
    if not numbers:
        numbers = shortlist(table, 1, metric=metric)
    found = pd.DataFrame({"trial": pd.Series(numbers, dtype="int64")})
    found["origin"] = [origin(searched.loc[number]) for number in numbers]
    found["search"] = found["trial"].map(search_scores).astype(float)
    found["rung"] = found["trial"].map(rung_scores.mean()).astype(float)
    found["rung_runs"] = found["trial"].map(rung_scores.count()).fillna(0).astype("int64")
    upwards = metric_of(table, metric).direction == MINIMIZE
    found = found.sort_values(
        ["rung_runs", "rung", "search", "trial"],
        ascending=[False, upwards, upwards, True],
        ignore_index=True,
    )
    found["final"], found["final_runs"] = math.nan, 0
    found["chosen"] = found.index == 0
    if len(found):
        method = _method_of(table, searched.loc[found["trial"].iloc[0]])
        finals = _on_val(
            table[(table["phase"] == Phase.FINAL) & (table["method"] == method)], metric
        )
        found.loc[0, "final"], found.loc[0, "final_runs"] = finals.mean(), len(finals)
    names = [name for name in table.columns if str(name).startswith(PARAM)]
    return found.join(searched[names], on="trial")


def choose(table: pd.DataFrame, *, metric: Metric | str | None = None) -> int | None:
    """Number of the chosen trial (see ``candidates``); None where no trial has a value."""
    found = candidates(table, metric=metric)
    return int(found["trial"].iloc[0]) if len(found) else None


def chosen_row(table: pd.DataFrame, *, metric: Metric | str | None = None) -> Hashable | None:
    """Index of the chosen trial's row in the table, or None."""
    number = choose(table, metric=metric)
    searched = trials(table)
    return None if number is None else searched.index[searched["trial"] == number][0]


def tuned_method(table: pd.DataFrame, *, metric: Metric | str | None = None) -> str | None:
    """Which method of the final runs is the chosen trial.

    Returns:
        ``tuned``; or the arm that has the chosen trial's parameters and whose runs it shares; None
        where nothing was chosen or no final run is of it.
    """
    index = chosen_row(table, metric=metric)
    return None if index is None else _method_of(table, table.loc[index])


def set_by_hand(table: pd.DataFrame, *, metric: Metric | str | None = None) -> str:
    """The name of the start point that the chosen trial is; empty where the search found it."""
    index = chosen_row(table, metric=metric)
    found = "" if index is None else origin(table.loc[index])
    return found.removeprefix(f"{START_POINT} ") if found.startswith(START_POINT) else ""


def origin(row: Mapping[str, Any] | pd.Series) -> str:
    """Where a trial came from: ``sampled``, ``arm <name>`` or ``start point <name>``."""
    if row["phase"] == Phase.BASELINE:
        return f"{ARM} {row['method']}"
    sampled = row["method"] in (SAMPLED, row.get("tunes"))
    return "sampled" if sampled else f"{START_POINT} {row['method']}"


def found_by_tuning(table: pd.DataFrame, *, metric: Metric | str | None = None) -> pd.DataFrame:
    """What each tuned method of a comparison was tuned to.

    Args:
        table: a results table.
        metric: as for ``metric_values``.

    Returns:
        One row per tuned method: ``method``, ``trials`` (runs of its search, failed and pruned ones
        included), ``ended`` (of these, in which states), and of its chosen trial the columns of
        ``candidates``, missing where no trial has a value. Empty where no method was tuned.
    """
    rows = []
    for tunes in searches(table):
        if tunes is None:
            continue
        own = of_search(table, tunes)
        searched = own[own["phase"].isin(TRIAL_PHASES)]
        counts = searched["state"].value_counts()
        ended = ", ".join(f"{count} {state}" for state, count in counts.items())
        chosen = candidates(own, metric=metric).head(1).to_dict("records")
        row = {"method": tunes, "trials": len(searched), "ended": ended}
        rows.append({**row, **(chosen[0] if chosen else {})})
    return pd.DataFrame(rows)


def sentence(found: pd.DataFrame, metric: str) -> str:
    """How the trial was chosen, with its value at each stage (``found``: of ``candidates``)."""
    if found.empty:
        return "No trial has a value, so none was chosen."
    row = found.iloc[0]
    values = [f"{row['search']:.4g} at the search's seed"]
    for name, seeds in (("rung", "seeds of the rung"), ("final", "final seeds")):
        if row[f"{name}_runs"]:
            values.append(f"{row[name]:.4g} over {row[f'{name}_runs']} {seeds}")
    how = "the best mean over the rung's fresh seeds" if row["rung_runs"] else "its one value"
    return (
        f"Trial {row['trial']} ({row['origin']}) was chosen by {how}: {metric} "
        f"{', '.join(values)}, all on val. The first value is one of the best of many, and so too "
        "good on average."
    )


def _method_of(table: pd.DataFrame, trial: pd.Series) -> str | None:
    finals = table[table["phase"] == Phase.FINAL]
    if TUNED in set(finals["method"]):
        return TUNED
    chosen = parameters(trial.to_dict())
    for row in finals.drop_duplicates("method").to_dict("records"):
        if chosen and parameters(row) == chosen:
            return str(row["method"])
    return None


def _scored(runs: pd.DataFrame, metric: Metric | str | None) -> pd.DataFrame:
    """The complete runs that have a value, with it as ``score``."""
    whole = runs[runs["state"] == State.COMPLETE]
    return whole.assign(score=metric_values(whole, metric)).dropna(subset=["score"])


def _on_val(finals: pd.DataFrame, metric: Metric | str | None) -> pd.Series:
    """Values of complete final runs on val, whatever split they were scored on."""
    whole = finals[finals["state"] == State.COMPLETE]
    column = f"val_{metric_of(whole, metric).name}"
    return whole.get(column, pd.Series(dtype=float)).dropna()
