"""Statistics of a comparison over seeds: a results table flows in, intervals and verdicts flow out.

All intervals are Student's t, which is exact for normal scores at any n >= 2. The verdicts of one
table share their error: with k methods that all equal the baseline, any of them is called better or
worse in at most 5 % of tables (each alone: in 5 % for every one of the k).

References:
    Student, "The Probable Error of a Mean", Biometrika 6 (1908) 1-25 (also its paired comparison).
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fourierkd.analysis.results import metric_direction, metric_values
from fourierkd.errors import ConfigError, DataError, StudyError, near
from fourierkd.records import MAXIMIZE, Phase, State

LEVEL = 0.95
NOT_BETTER, TOO_FEW = "not better", "n<2"


class Interval(NamedTuple):
    """A mean with its confidence limits, in the unit of the values; limits are NaN for n < 2."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float] | np.ndarray | pd.Series, level: float = LEVEL) -> Interval:
    """Mean and its two-sided Student t interval: ``mean +- t(n-1) * s / sqrt(n)``.

    Args:
        values: independent scores, for example one per seed, any unit.
        level: coverage in (0, 1).

    Returns:
        ``Interval``; NaN limits for n < 2, NaN mean for n = 0.

    Raises:
        ConfigError: a value is not finite, or ``level`` is outside (0, 1).

    References:
        Student (1908), Biometrika 6, section III.

    Example:
        >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484, 3]
    """
    from scipy.special import stdtrit  # inverse of Student's t distribution

    if not 0 < level < 1:
        raise ConfigError("level must be in (0, 1)", value=level)
    data = np.asarray(values, dtype=float)
    if not np.isfinite(data).all():
        raise ConfigError("values must be finite", value=data.tolist(), fix="leave failed runs out")
    n = data.size
    mean = float(data.mean()) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(stdtrit(n - 1, 0.5 + level / 2) * data.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    a: Mapping[int, float] | pd.Series, b: Mapping[int, float] | pd.Series, level: float = LEVEL
) -> Interval:
    """Mean of ``a[seed] - b[seed]`` over the seeds that both have, with its paired t interval.

    The same seed gives the same data order and initial weights in every method, so what the seed
    alone does cancels in the difference.

    Args:
        a: seed -> score.
        b: seed -> score, same unit.
        level: coverage in (0, 1).

    Returns:
        ``Interval`` with n the number of shared seeds.

    References:
        Student (1908), Biometrika 6, section IX.

    Example:
        >>> paired_difference({0: 2.0, 1: 4.0, 2: 9.0}, {0: 1.0, 1: 3.0, 5: 0.0})
        Interval(mean=1.0, low=1.0, high=1.0, n=2)
    """
    return interval(_differences(a, b), level)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[float]:
    """Levels of k intervals that exclude 0 exactly where Holm's procedure rejects.

    The smallest p-value is held against ``(1 - level) / k``, the next against ``(1 - level) /
    (k - 1)``, up to the first that is larger; the others keep the bound that stopped it.

    Args:
        p_values: two-sided, of one family of comparisons.
        level: 1 minus the probability of any false rejection in the family.

    Returns:
        A level in [level, 1) for each p-value.

    References:
        Holm (1979), section 2.

    Example:
        >>> [round(x, 4) for x in holm([0.001, 0.9, 0.02])]
        [0.9833, 0.95, 0.975]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = 0
    for index in order:
        if p_values[index] > (1 - level) / (len(order) - rejected):
            break
        rejected += 1
    levels = [level] * len(order)
    for rank, index in enumerate(order):
        levels[index] = 1 - (1 - level) / (len(order) - min(rank, rejected))
    return levels


def compare(
    table: pd.DataFrame,
    *,
    baseline: str,
    metric: str | None = None,
    phase: str | None = Phase.FINAL,
    direction: str | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare every method with ``baseline`` over equal seeds.

    Args:
        table: a results table; only complete runs of ``phase`` count (None: of every phase).
        baseline: the method that differences are taken against.
        metric: None: the table's own; else a metric's name (see ``metric_values``).
        direction: ``maximize`` or ``minimize``: which way is better; None: the table's own.
        level: coverage of the intervals of means; the differences' intervals are wider, so that
            together they err as rarely (see ``holm``).

    Returns:
        One row per method, the baseline first, the others by their mean, best first: ``method, n,
        mean, low, high, difference, diff_low, diff_high, pairs, verdict, missing``. Verdicts:
        ``better`` or ``worse`` where the paired interval, by Holm over the methods, excludes 0,
        else ``not better``, which is no claim that the two are equal; ``n<2`` with fewer than two
        shared seeds; ``baseline``. ``missing`` names the seeds that other methods have and this one
        lacks.

    Raises:
        StudyError: the baseline is not among the methods, or a method has two complete runs of a
            seed.
        DataError: the runs were scored on different splits, or lack the metric.
    """
    direction = metric_direction(table, direction)
    sign = -1 if direction == MAXIMIZE else 1
    runs, scores = _scores(table, metric, phase)
    if baseline not in scores:
        raise StudyError(
            f"the baseline must be a method of phase {phase}",
            value=baseline,
            fix=near(baseline, scores),
        )
    gains = differences(scores, [(m, baseline) for m in scores if m != baseline], level)
    rows = []
    for method, values in scores.items():
        own = interval(values, level)
        is_baseline = method == baseline
        none = Interval(math.nan, math.nan, math.nan, own.n)
        gain = none if is_baseline else gains[method, baseline]
        rows.append(
            {
                "method": method,
                "n": own.n,
                "mean": own.mean,
                "low": own.low,
                "high": own.high,
                **_columns(gain, "baseline" if is_baseline else _verdict(gain, direction)),
                "missing": _missing(runs, method, values),
            }
        )
    frame = pd.DataFrame(rows)
    rank = pd.DataFrame({"other": frame["method"] != baseline, "mean": sign * frame["mean"]})
    order = rank.sort_values(["other", "mean"], kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def compare_pairs(
    table: pd.DataFrame,
    *,
    metric: str | None = None,
    phase: str | None = Phase.FINAL,
    direction: str | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare every method with every other: one family of k (k - 1) / 2 comparisons.

    Args and errors are those of ``compare``.

    Returns:
        Two rows a pair, of opposite signs: ``method, against, difference, diff_low, diff_high,
        pairs, verdict``.
    """
    direction = metric_direction(table, direction)
    scores = _scores(table, metric, phase)[1]
    rows = []
    for (a, b), gain in differences(scores, combinations(scores, 2), level).items():
        other = Interval(-gain.mean, -gain.high, -gain.low, gain.n)
        for method, against, found in ((a, b, gain), (b, a, other)):
            columns = _columns(found, _verdict(found, direction))
            rows.append({"method": method, "against": against, **columns})
    return pd.DataFrame(rows)


def sentences(comparison: pd.DataFrame, metric: str) -> list[str]:
    """The verdicts in plain words: ``tuned is better than published: +5.1 mIoU [...] (...)``."""
    baseline = str(comparison.loc[comparison["verdict"] == "baseline", "method"].iloc[0])
    digits = decimals(comparison["mean"])
    lines = []
    for row in comparison[comparison["verdict"] != "baseline"].to_dict("records"):
        pairs = row["pairs"]
        known, limits = gain_cells(row, digits)
        gain = f": {known} {metric}" if pairs else ""
        gain += f" {limits}" if row["verdict"] != TOO_FEW else ""
        tail = f"({pairs} paired seed{'' if pairs == 1 else 's'})"
        lines.append(f"{row['method']} {claim(row['verdict'])} {baseline}{gain} {tail}")
    return lines


def claim(verdict: str) -> str:
    """A verdict of ``compare`` as the words between two methods."""
    return "has no verdict against" if verdict == TOO_FEW else f"is {verdict} than"


def cells_of(row: Mapping[str, object], digits: int) -> list[str]:
    """One row as text: n, mean, interval, difference, interval, pairs; a dash where none."""
    return [
        str(row["n"]),
        *_number_and_limits(row, ("mean", "low", "high"), digits),
        *gain_cells(row, digits),
        "–" if row["verdict"] == "baseline" else str(row["pairs"]),
    ]


def gain_cells(row: Mapping[str, object], digits: int) -> tuple[str, str]:
    """A row's difference and its interval as signed text; a dash where none."""
    return _number_and_limits(row, ("difference", "diff_low", "diff_high"), digits, "+")


def _number_and_limits(
    row: Mapping[str, object], names: tuple[str, str, str], digits: int, sign: str = ""
) -> tuple[str, str]:
    values = [float(row[name]) for name in names]  # type: ignore[arg-type]  # a table's floats
    mean, low, high = (f"{v:{sign}.{digits}f}" if math.isfinite(v) else "–" for v in values)
    return mean, "–" if "–" in (low, high) else f"[{low}, {high}]"


def decimals(values: pd.Series) -> int:
    """Digits after the point: 3 for fractions (AP in [0, 1]), 2 for percentages (mIoU)."""
    largest = values.abs().max()
    return 3 if pd.isna(largest) or largest <= 1 else 2


def _differences(
    a: Mapping[int, float] | pd.Series, b: Mapping[int, float] | pd.Series
) -> list[float]:
    return [float(a[seed]) - float(b[seed]) for seed in sorted(set(a.keys()) & set(b.keys()))]


def differences(
    scores: Mapping[str, pd.Series], family: Iterable[tuple[str, str]], level: float = LEVEL
) -> dict[tuple[str, str], Interval]:
    """Paired differences, the first method minus the second, their intervals by Holm over all.

    Args:
        scores: method -> seed -> score.
        family: pairs of methods; one with fewer than two shared seeds is not counted.
        level: see ``holm``.
    """
    paired = {(a, b): _differences(scores[a], scores[b]) for a, b in family}
    tested = [pair for pair, gains in paired.items() if len(gains) > 1]
    levels = dict(zip(tested, holm([_p_value(paired[p]) for p in tested], level), strict=True))
    return {pair: interval(gains, levels.get(pair, level)) for pair, gains in paired.items()}


def _scores(
    table: pd.DataFrame, metric: str | None, phase: str | None
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """The runs of a phase, and their scores by method and seed."""
    runs = table if phase is None else table[table["phase"] == phase]
    runs = runs.assign(score=metric_values(runs, metric)).dropna(subset=["method"])
    whole = runs[(runs["state"] == State.COMPLETE) & runs["score"].notna()]
    if whole["split"].nunique() > 1:
        raise DataError("methods are compared on one split", value=sorted(whole["split"].unique()))
    return runs, {str(method): _by_seed(whole, method) for method in runs["method"].unique()}


def _p_value(differences: Sequence[float]) -> float:
    """Two-sided, of Student's t for a mean of 0."""
    from scipy.special import stdtr

    data = np.asarray(differences, dtype=float)
    error = data.std(ddof=1) / math.sqrt(data.size)
    if error == 0:
        return 1.0 if data.mean() == 0 else 0.0
    return float(2 * stdtr(data.size - 1, -abs(data.mean()) / error))


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


def _columns(gain: Interval, verdict: str) -> dict[str, Any]:
    """What a table says of a difference."""
    return {
        "difference": gain.mean,
        "diff_low": gain.low,
        "diff_high": gain.high,
        "pairs": gain.n,
        "verdict": verdict,
    }


def _verdict(gain: Interval, direction: str) -> str:
    if gain.n < 2:
        return TOO_FEW
    if gain.low <= 0 <= gain.high:
        return NOT_BETTER
    return "better" if (gain.mean > 0) == (direction == MAXIMIZE) else "worse"


def _missing(runs: pd.DataFrame, method: str, values: pd.Series) -> str:
    own = runs[runs["method"] == method].set_index("seed")
    names = []
    for seed in sorted(set(runs["seed"].dropna()) - set(values.index)):
        if seed not in own.index:
            names.append(f"{seed} (no run)")
            continue
        row = own.loc[[seed]].iloc[-1]
        why = row["reason"] if isinstance(row["reason"], str) and row["reason"] else ""
        state = row["state"] if row["state"] != State.COMPLETE else "complete without this metric"
        names.append(f"{seed} ({state}{': ' + why if why else ''})")
    return ", ".join(names)
