"""Intervals that may be looked at after every seed: paired differences flow in, an interval out.

A t interval covers in 95 % if the number of seeds was fixed before. Who looks after each seed and
stops at the first that excludes 0 finds something where nothing is in 26 % of cases within 20
seeds. The intervals here cover at all numbers of seeds at once, so any rule may stop, also one that
adds seeds to undecided pairs alone (``tests/analysis/test_sequential.py``).

References:
    Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
    variance", arXiv 2310.03722 (2023): the scale-invariant martingale with a Gaussian mixture.
    Lai, "On Confidence Sequences", Annals of Statistics 4 (1976) 265-280.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fourierkd.analysis.stats import (
    LEVEL,
    Interval,
    bonferroni,
    differences,
    half_width,
    interval,
    scores_step,
)

# 1 / variance of the effects, in standard deviations of a difference, that the intervals are made
# for: narrowest where a few seeds decide. It moves widths, never the coverage.
PRECISION = 0.1


def followed(
    scores: Mapping[str, Mapping[int, float] | pd.Series],
    pairs: Iterable[tuple[str, str]],
    level: float = LEVEL,
) -> dict[tuple[str, str], Interval]:
    """As ``stats.family``, for pairs that are looked at after every seed, each with its own seeds.

    With probability ``level`` all intervals of all pairs cover their true differences at all
    numbers of seeds (Bonferroni over the pairs). So whatever is read off them, and whichever pairs
    then get another seed, at most 5 % of families ever have a false verdict of any kind.

    Args:
        scores: method -> seed -> score.
        pairs: of methods; all that are ever looked at.
        level: 0.95 gives the 5 % above.
    """
    pairs, step = list(pairs), scores_step(scores)
    own = bonferroni(len(pairs), level)
    return {
        (a, b): always_valid(differences(scores[a], scores[b]), own, error=step) for a, b in pairs
    }


def always_valid(
    values: Sequence[float] | np.ndarray | pd.Series,
    level: float = LEVEL,
    *,
    error: float = 0.0,
) -> Interval:
    """Mean of normal differences, and the interval of a confidence sequence after n of them.

    With probability ``level`` the intervals after 2, 3, 4, ... differences all cover the true mean.
    For a mean m let S be the sum and V the sum of squares of ``x - m``. Where m is the true one,

        M_n = sqrt(c / (n + c)) * (1 - S^2 / ((n + c) * V))^(-n / 2),    c = ``PRECISION``

    is a martingale of mean 1 (the likelihood ratio of the t statistics with the effect in standard
    deviations drawn from N(0, 1 / c)), which ever reaches ``1 / (1 - level)`` with probability at
    most ``1 - level`` (Ville). The interval holds every m for which it does not, which is ``mean +-
    k * s / sqrt(n)`` with a k of n, level and c alone.

    Args:
        values: differences, one per seed, any unit, in any order: only those of seeds that were
            asked for before their scores were known.
        level: in (0, 1); for k pairs that are followed together ``stats.bonferroni(k)``.
        error: the most by which rounding moved a difference (see ``stats.interval``).

    Returns:
        ``Interval``, for ``comparison.verdict``. Infinite limits where so few differences bound
        nothing at this level (at 0.95: 2), NaN for n < 2.

    Raises:
        ConfigError: as ``stats.interval``.

    References:
        Wang and Ramdas (2023), section 4, with a Gaussian mixture in place of Lai's flat one.

    Example:
        >>> [round(x, 2) for x in always_valid([1.0, 2.0, 3.0, 2.0, 2.0])]
        [2.0, 0.29, 3.71, 5]
    """
    mean, *_, n = interval(values, level)  # refuses what is no number
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    times = standard_errors(n, level)
    if not math.isfinite(times):
        return Interval(mean, -math.inf, math.inf, n)
    half = half_width(times, float(np.std(values, ddof=1)), n, error)
    return Interval(mean, mean - half, mean + half, n)


def standard_errors(n: int, level: float = LEVEL) -> float:
    """Half width of ``always_valid`` in standard errors ``s / sqrt(n)``; infinite for few n.

    M_n stays below 1 / (1 - level) where ``S^2 / ((n + c) * V)`` stays below ``u = 1 - ((1 -
    level)^2 * c / (n + c))^(1 / n)``; with d the distance from the mean, ``S = n * d`` and ``V =
    (n - 1) * s^2 + n * d^2``, so that d is bounded where ``n > u * (n + c)``.
    """
    total = n + PRECISION
    share = 1 - ((1 - level) ** 2 * PRECISION / total) ** (1 / n)
    left = n - share * total
    return math.sqrt(share * total * (n - 1) / left) if left > 0 else math.inf
