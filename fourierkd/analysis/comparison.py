"""Verdicts: a results table flows in, one row per method, or per pair of methods, flows out.

A verdict is what its interval says, and nothing else: ``better`` or ``worse`` where the interval
excludes 0; ``equivalent`` where it includes 0 and lies within the margin, which is the smallest
difference that matters; ``undecided`` where it does neither, which says that there are too few
seeds and nothing about the methods; ``n<2`` where there is no interval.

An effect can be real and below the margin, its interval then excludes 0 and lies within the margin:
``better`` (``worse``) is said, since its size stands beside it. This is the case "different from
zero and equivalent" of Lakens (2017). The test of equivalence is two one-sided tests; they reject
together where an interval lies within the margin, one of 90 % for tests at 5 %. Here it is the one
interval that also bears the other verdicts, of 95 % and more by ``stats.family``: stricter, so that
of tables at most 2.5 % have a false ``equivalent``.

All pairs of a table are one family, whichever of them are asked for: so a pair has one verdict,
whatever it is compared in, and 5 % of tables have a false one anywhere, also of a method that was
picked by its scores.

References:
    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for
    assessing the equivalence of average bioavailability", J. Pharmacokinetics and
    Biopharmaceutics 15 (1987) 657-680.
    Lakens, "Equivalence Tests", Social Psychological and Personality Science 8 (2017) 355-362.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fourierkd.analysis.planning import seeds_needed
from fourierkd.analysis.results import metric_of, metric_values
from fourierkd.analysis.robust import robust, two_groups
from fourierkd.analysis.sequential import always_valid, followed
from fourierkd.analysis.stats import (
    LEVEL,
    Interval,
    bonferroni,
    differences,
    family,
    interval,
    rounding_step,
)
from fourierkd.analysis.teachers import check_teachers
from fourierkd.errors import ConfigError, DataError, StudyError, near
from fourierkd.records import MAXIMIZE, Metric, Phase, State

BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
TOO_FEW = "n<2"
Gains = dict[tuple[str, str], Interval]
_FIXED = ("boot_low", "boot_high", "wilcoxon")  # hold where the number of seeds was fixed before
BASELINE = "baseline"  # in place of a verdict, of the method that the others are compared with


def compare(
    table: pd.DataFrame,
    *,
    baseline: str,
    metric: Metric | str | None = None,
    phase: str | None = Phase.FINAL,
    margin: float | None = None,
    level: float = LEVEL,
    looked: bool = False,
) -> pd.DataFrame:
    """Compare every method with ``baseline`` over equal seeds.

    Args:
        table: a results table; only complete runs of ``phase`` count (None: of every phase).
        baseline: the method that differences are taken against.
        metric: None: the table's own; else one or its name (see ``metric_values``); which way is
            better is said by the table where it is not said here.
        margin: the smallest difference that matters, in the metric's unit; None: 0.01 where no
            score is above 1 (fractions, such as AP), else 1 (percentages, such as mIoU).
        level: coverage of the intervals of means; the differences' intervals are wider, so that
            the verdicts of all pairs together err as rarely (see ``every_pair``). Both allow for
            scores that are rounded (see ``stats.rounding_step``).
        looked: seeds were added after scores were seen, so every interval is one that holds at any
            number of seeds (see ``sequential.followed``), and what only holds at one that was fixed
            before is left out: bootstrap interval, Wilcoxon's p, two groups.

    Returns:
        One row per method, the baseline first, the others by their mean, best first: ``method, n,
        mean, low, high, difference, diff_low, diff_high, pairs, verdict, margin``. Verdicts:
        ``better, worse, equivalent, undecided`` (see the module), ``n<2`` with fewer than two
        shared seeds, ``baseline``. Then what stands beside them: ``all_low, all_high`` (intervals
        of all pairs' differences that cover at once, see ``stats.bonferroni``), ``median, boot_low,
        boot_high, wilcoxon`` (of the differences, see ``robust.robust``), ``seeds_needed`` (of an
        undecided pair: with how many an effect of the margin would be found in 4 of 5 tables, if
        the differences go on to vary as they do), ``groups`` (where a method's scores lie in two,
        see ``robust.two_groups``, else empty) and ``missing`` (the seeds that other methods have
        and this one lacks).

    Raises:
        StudyError: the baseline is not among the methods, or a method has two complete runs of a
            seed.
        DataError: the runs were scored on different splits, or lack the metric, or have several
            teachers and fewer than seeds (see ``teachers``).
        ConfigError: the margin is not above 0.
    """
    direction = metric_of(table, metric).direction
    sign = -1 if direction == MAXIMIZE else 1
    runs, scores = scored_runs(table, metric, phase)
    if baseline not in scores:
        raise StudyError(
            f"the baseline must be a method of phase {phase}",
            value=baseline,
            fix=near(baseline, scores),
        )
    margin, step = margin_of(margin, scores), rounding_step(_values(scores))
    of_one = always_valid if looked else interval
    gains = every_pair(scores, level, looked=looked)
    together = bonferroni(sum(looked or gain.n > 1 for gain in gains.values()) // 2, level)
    groups = {} if looked else two_groups(scores, error=step / 2)
    rows = []
    for method, values in scores.items():
        own = of_one(values, level, error=step / 2)
        none = Interval(math.nan, math.nan, math.nan, own.n)
        gain = gains.get((method, baseline), none)
        found = BASELINE if method == baseline else verdict(gain, direction, margin)
        paired = [] if method == baseline else differences(values, scores[baseline])
        rows.append(
            {
                "method": method,
                "n": own.n,
                "mean": own.mean,
                "low": own.low,
                "high": own.high,
                **difference_columns(gain, found, margin),
                **_beside(paired, of_one(paired, together, error=step), level, looked=looked),
                "seeds_needed": needed(paired, found, margin, together, step, looked=looked),
                "groups": str(groups.get(method, "")),
                "missing": _missing(runs, method, values, looked=looked),
            }
        )
    frame = pd.DataFrame(rows)
    rank = pd.DataFrame({"other": frame["method"] != baseline, "mean": sign * frame["mean"]})
    order = rank.sort_values(["other", "mean"], kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def compare_pairs(
    table: pd.DataFrame,
    *,
    metric: Metric | str | None = None,
    phase: str | None = Phase.FINAL,
    margin: float | None = None,
    level: float = LEVEL,
    looked: bool = False,
) -> pd.DataFrame:
    """Compare every method with every other; the verdicts are those of ``compare``.

    Args and errors are those of ``compare``.

    Returns:
        Two rows a pair, of opposite signs: ``method, against, difference, diff_low, diff_high,
        pairs, verdict, margin``.
    """
    direction = metric_of(table, metric).direction
    scores = scored_runs(table, metric, phase)[1]
    margin = margin_of(margin, scores)
    return pd.DataFrame(
        {
            "method": method,
            "against": against,
            **difference_columns(gain, verdict(gain, direction, margin), margin),
        }
        for (method, against), gain in every_pair(scores, level, looked=looked).items()
    )


def every_pair(
    scores: Mapping[str, Mapping[int, float] | pd.Series],
    level: float = LEVEL,
    *,
    looked: bool = False,
) -> Gains:
    """Differences of all pairs of methods, both ways, with the intervals that bear the verdicts.

    The k (k - 1) / 2 pairs of k methods are one family (``stats.family``; ``sequential.followed``
    where it was looked).

    Args:
        scores: method -> seed -> score.
        level, looked: as for ``compare``.
    """
    pairs = combinations(scores, 2)
    found = followed(scores, pairs, level) if looked else family(scores, pairs, level)
    gains = {}
    for (a, b), gain in found.items():
        gains[a, b] = gain
        gains[b, a] = Interval(0.0 - gain.mean, 0.0 - gain.high, 0.0 - gain.low, gain.n)
    return gains


def open_pairs(
    scores: Mapping[str, Mapping[int, float] | pd.Series],
    baseline: str,
    *,
    direction: str,
    margin: float | None = None,
    level: float = LEVEL,
) -> list[str]:
    """The methods of which more seeds may say what they are against ``baseline``.

    Whoever adds seeds to these, and looks again, has a false verdict of any pair in at most 1 -
    ``level`` of tables, however often (see ``sequential.followed``).

    Args:
        scores: method -> seed -> score.
        baseline, direction, margin, level: as for ``compare``.
    """
    margin = margin_of(margin, scores)
    return [
        method
        for (method, other), gain in every_pair(scores, level, looked=True).items()
        if other == baseline and gain.n and verdict(gain, direction, margin) in (UNDECIDED, TOO_FEW)
    ]


def verdict(gain: Interval, direction: str, margin: float) -> str:
    """What the interval of a difference says (see the module).

    Args:
        gain: a method's score minus another's.
        direction: ``maximize`` or ``minimize``.
        margin: above 0, in the unit of ``gain``.

    Example:
        >>> verdict(Interval(0.1, -0.3, 0.5, 5), "maximize", margin=1.0)
        'equivalent'
    """
    if gain.n < 2:
        return TOO_FEW
    if not gain.low <= 0 <= gain.high:
        return BETTER if (gain.mean > 0) == (direction == MAXIMIZE) else WORSE
    return EQUIVALENT if -margin < gain.low and gain.high < margin else UNDECIDED


def margin_of(margin: float | None, scores: Mapping[str, Mapping[int, float] | pd.Series]) -> float:
    """The margin that was given, else by the metric's unit: 1 for percentages, 0.01 for fractions.

    Raises:
        ConfigError: it is not above 0.
    """
    if margin is None:
        return 1.0 if (np.abs(_values(scores)) > 1).any() else 0.01
    if not (math.isfinite(margin) and margin > 0):
        raise ConfigError("margin is above 0, in the metric's unit", value=margin)
    return float(margin)


def _values(scores: Mapping[str, Mapping[int, float] | pd.Series]) -> np.ndarray:
    return np.array([own[seed] for own in scores.values() for seed in list(own.keys())], float)


def scored_runs(
    table: pd.DataFrame, metric: Metric | str | None, phase: str | None
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """The runs of a phase, and their scores by method and seed."""
    runs = table if phase is None else table[table["phase"] == phase]
    runs = runs.assign(score=metric_values(runs, metric)).dropna(subset=["method"])
    whole = runs[(runs["state"] == State.COMPLETE) & runs["score"].notna()]
    if whole["split"].nunique() > 1:
        raise DataError("methods are compared on one split", value=sorted(whole["split"].unique()))
    _check_known(whole)
    check_teachers(whole)
    return runs, {str(method): _by_seed(whole, method) for method in runs["method"].unique()}


def _check_known(whole: pd.DataFrame) -> None:
    """Refuse runs whose data is known beside runs of which nobody knows it, as imported ones."""
    data = whole.reindex(columns=["data"])["data"]
    if 0 < data.isna().sum() < len(data):
        raise DataError(
            "runs that are compared have the same data, and it is not known of all",
            value=sorted(whole.loc[data.isna(), "method"].unique()),
            fix="compare imported runs with each other, and those of a study with each other",
        )


def _by_seed(whole: pd.DataFrame, method: str) -> pd.Series:
    own = whole[whole["method"] == method]
    twice = own[own["seed"].duplicated(keep=False)]
    if len(twice):
        raise StudyError(
            f"{method} has one run per seed, found several of seed {twice['seed'].iloc[0]}",
            value=sorted(twice["run_dir"]),
            fix="keep one of the run folders",
        )
    return own.set_index("seed")["score"]


def difference_columns(gain: Interval, found: str, margin: float) -> dict[str, Any]:
    """What a table says of a difference."""
    return {
        "difference": gain.mean,
        "diff_low": gain.low,
        "diff_high": gain.high,
        "pairs": gain.n,
        "verdict": found,
        "margin": margin,
    }


def _beside(
    paired: list[float], at_once: Interval, level: float, *, looked: bool
) -> dict[str, float]:
    """Intervals and p-value of paired differences that give no verdict."""
    found = {"all_low": at_once.low, "all_high": at_once.high}
    if looked:
        middle = float(np.median(paired)) if paired else math.nan
        return {**found, "median": middle, **dict.fromkeys(_FIXED, math.nan)}
    company = robust(paired, level)
    return {
        **found,
        "median": company.median,
        "boot_low": company.low,
        "boot_high": company.high,
        "wilcoxon": company.wilcoxon,
    }


def needed(
    paired: list[float], found: str, margin: float, level: float, step: float, *, looked: bool
) -> float:
    """With how many seeds an undecided effect of the margin would be found; NaN for any other."""
    if found != UNDECIDED:
        return math.nan
    deviation = max(float(np.std(paired, ddof=1)), step / math.sqrt(6))  # that of rounding alone
    return float(seeds_needed(margin, deviation, level=level, error=step, looked=looked))


def _missing(runs: pd.DataFrame, method: str, values: pd.Series, *, looked: bool) -> str:
    own = runs[runs["method"] == method].set_index("seed")
    names = []
    for seed in sorted(set(runs["seed"].dropna()) - set(values.index)):
        if seed not in own.index:
            # where undecided pairs get more seeds, the others were not asked for them
            names += [] if looked else [f"{seed} (no run)"]
            continue
        row = own.loc[[seed]].iloc[-1]
        why = row["reason"] if isinstance(row["reason"], str) and row["reason"] else ""
        state = row["state"] if row["state"] != State.COMPLETE else "complete without this metric"
        names.append(f"{seed} ({state}{': ' + why if why else ''})")
    return ", ".join(names)
