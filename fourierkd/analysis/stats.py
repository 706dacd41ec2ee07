"""Intervals over seeds and families of them: scores flow in, intervals flow out.

All intervals are Student's t, which is exact for normal scores at any n >= 2, widened by what the
rounding of scores can hide. What the intervals of one family promise together stands in ``family``.

References:
    Student, "The Probable Error of a Mean", Biometrika 6 (1908) 1-25 (also its paired comparison).
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from fourierkd.errors import ConfigError

LEVEL = 0.95
Name = TypeVar("Name", bound=Hashable)


class Interval(NamedTuple):
    """A mean with its confidence limits, in the unit of the values; limits are NaN for n < 2."""

    mean: float
    low: float
    high: float
    n: int


def interval(
    values: Sequence[float] | np.ndarray | pd.Series, level: float = LEVEL, *, error: float = 0.0
) -> Interval:
    """Mean and its two-sided Student t interval: ``mean +- (t(n-1) * s / sqrt(n) + e)``.

    ``e = error * sqrt(1 + t^2 / (n - 1))`` is 0 for exact values. For rounded ones the result holds
    the interval of the exact values whatever these were: their deviations d, each at most
    ``error``, move its end by ``mean(d) + t * s(d) / sqrt(n)``, which by Cauchy and Schwarz is at
    most e. So equal rounded values, whose s is 0, are no certainty.

    Args:
        values: independent scores, for example one per seed, any unit.
        level: coverage in (0, 1).
        error: the most by which rounding moved a value, at least 0.

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
    t = float(stdtrit(n - 1, 0.5 + level / 2))
    half = half_width(t, float(data.std(ddof=1)), n, error)
    return Interval(mean, mean - half, mean + half, n)


def half_width(t: float, deviation: float, n: int, error: float) -> float:
    """Of the interval of n >= 2 values at t standard errors (see ``interval``)."""
    return t * deviation / math.sqrt(n) + error * math.sqrt(1 + t * t / (n - 1))


def rounding_step(scores: Iterable[float]) -> float:
    """The step that scores are rounded to: the largest power of ten of which all are multiples.

    MMDetection rounds AP to 0.001, MMSegmentation percentages to 0.01. Looked for are 0.1 (0.001
    where no score is above 1) to 1e-6: a coarser step would be one of round numbers by chance.

    Returns:
        The step in the unit of the scores; 0 where they have more digits.

    Example:
        >>> rounding_step([0.205, 0.21, 0.198]), rounding_step([2 / 3, 0.21])
        (0.001, 0.0)
    """
    data = np.fromiter(scores, float)
    for digits in range(1 if (np.abs(data) > 1).any() else 3, 7):
        steps = data * 10**digits
        if (np.abs(steps - np.rint(steps)) < 1e-6).all():
            return float(10.0**-digits)
    return 0.0


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
        ``Interval`` with n the number of shared seeds. Scores that are all multiples of a step
        are taken as rounded to it (see ``rounding_step``): a difference is then off by a step.

    References:
        Student (1908), Biometrika 6, section IX.

    Example:
        >>> found = paired_difference({0: 2 / 3, 1: 5 / 3, 2: 9.0}, {0: 1 / 3, 1: 1.0, 5: 0.0})
        >>> [round(x, 3) for x in found]
        [0.5, -1.618, 2.618, 2]
    """
    step = rounding_step(_all_scores(a, b))
    return interval(differences(a, b), level, error=step)


def differences(
    a: Mapping[int, float] | pd.Series, b: Mapping[int, float] | pd.Series
) -> list[float]:
    """``a[seed] - b[seed]`` of the seeds that both have, by seed."""
    return [float(a[seed]) - float(b[seed]) for seed in sorted(set(a.keys()) & set(b.keys()))]


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[float]:
    """Levels of k intervals that exclude 0 exactly where Holm's procedure rejects.

    The smallest p-value is held against ``(1 - level) / k``, the next against ``(1 - level) /
    (k - 1)``, up to the first that is larger. Each that was rejected keeps the bound it was held
    against; all others get the first one, ``(1 - level) / k``.

    Args:
        p_values: two-sided, of one family of comparisons.
        level: 1 minus the probability of any false rejection in the family.

    Returns:
        A level in [level, 1) for each p-value.

    References:
        Holm (1979), section 2.

    Example:
        >>> [round(x, 4) for x in holm([0.001, 0.9, 0.02])]
        [0.9833, 0.9833, 0.975]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    levels = [bonferroni(len(order), level)] * len(order)
    for rank, index in enumerate(order):
        bound = (1 - level) / (len(order) - rank)
        if p_values[index] > bound:
            break
        levels[index] = 1 - bound
    return levels


def family(
    scores: Mapping[str, Mapping[int, float] | pd.Series],
    pairs: Iterable[tuple[str, str]],
    level: float = LEVEL,
) -> dict[tuple[str, str], Interval]:
    """Paired differences, the first method minus the second, with intervals that share their error.

    An interval that excludes 0 has the level at which Holm's procedure rejects; one that includes
    it has Bonferroni's, ``1 - (1 - level) / k`` for k pairs. For normal differences, whatever the
    true ones are and however the pairs depend on each other:

    - at most 5 % of families have an interval that excludes a true difference of 0 (Holm);
    - at most 5 % have an interval that includes 0 and misses its true difference (Bonferroni), so
      whatever is read off these, such as equivalence, is false in no more;
    - each interval alone covers in at least 95 %.

    Not promised: that all intervals of a family cover at once. No intervals can do that, bound an
    effect away from 0 on both sides and reject where Holm does: he spends on the next pair what the
    ones before have left. ``bonferroni`` has those that cover at once, and are wider.

    Args:
        scores: method -> seed -> score.
        pairs: of methods; one with fewer than two shared seeds is not counted.
        level: 0.95 gives the 5 % above.
    """
    gains = {(a, b): differences(scores[a], scores[b]) for a, b in pairs}
    return together(gains, level, error=scores_step(scores))


def together(
    gains: Mapping[Name, Sequence[float]], level: float = LEVEL, *, error: float = 0.0
) -> dict[Name, Interval]:
    """Intervals of several samples that share their error as those of ``family`` do.

    Args:
        gains: name -> independent differences; fewer than two are not counted.
        level: as there.
        error: the most by which rounding moved a difference.
    """
    tested = [name for name, values in gains.items() if len(values) > 1]
    levels = dict(
        zip(tested, holm([p_value(gains[n], error=error) for n in tested], level), strict=True)
    )
    return {
        name: interval(values, levels.get(name, level), error=error)
        for name, values in gains.items()
    }


def bonferroni(count: int, level: float = LEVEL) -> float:
    """Level of each of ``count`` intervals that shall cover at once with ``level``."""
    return 1 - (1 - level) / max(count, 1)


def p_value(values: Sequence[float], *, error: float = 0.0) -> float:
    """Two-sided, for a mean of 0: the ``interval`` of level 1 - p ends at 0.

    Its t solves ``|mean| = t * s / sqrt(n) + error * sqrt(1 + t^2 / (n - 1))``.
    """
    from scipy.special import stdtr

    data = np.asarray(values, dtype=float)
    n, mean = data.size, abs(float(data.mean()))
    if mean <= error:
        return 1.0
    beyond, standard = mean**2 - error**2, float(data.std(ddof=1)) / math.sqrt(n)
    below = mean * standard + error * math.sqrt(standard**2 + beyond / (n - 1))
    return float(2 * stdtr(n - 1, -beyond / below)) if below > 0 else 0.0


def scores_step(scores: Mapping[str, Mapping[int, float] | pd.Series]) -> float:
    """``rounding_step`` of the scores of several methods."""
    return rounding_step(_all_scores(*scores.values()))


def _all_scores(*methods: Mapping[int, float] | pd.Series) -> list[float]:
    return [float(own[seed]) for own in methods for seed in list(own.keys())]
