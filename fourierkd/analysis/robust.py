"""What normal scores are not assumed for: differences and scores flow in, robust company flows out.

It stands beside the t interval and gives no verdict. Scores in two groups, such as of runs that
began to learn late, make a mean and its interval say little; they are noticed here.

References:
    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7 (1979) 1-26.
    Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1 (1945) 80-83.
    Engelman and Hartigan, "Percentage Points of a Test for Clusters", Journal of the American
    Statistical Association 64 (1969) 1647-1648.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from fourierkd.analysis.stats import LEVEL

RESAMPLES = 10_000
DRAWS = 50_000  # of normal samples, which two groups are judged by
WILCOXON_FROM = 6  # of fewer pairs not even equal signs make a p-value below 0.05


class Robust(NamedTuple):
    """Of paired differences, in their unit; NaN where there are too few.

    Attributes:
        median: of them.
        low, high: of its bootstrap interval.
        wilcoxon: two-sided p-value of the signed ranks.
    """

    median: float
    low: float
    high: float
    wilcoxon: float


def robust(differences: Sequence[float], level: float = LEVEL) -> Robust:
    """Median, its percentile bootstrap interval, and Wilcoxon's signed ranks from 6 pairs on.

    The interval of a median needs no normal scores, but can be no wider than the scores lie: at
    level 0.95 it covers in 75 % with 3 seeds and in 94 % with 5, whatever the distribution. Like
    the p-value it stands for itself, not for a family.

    Args:
        differences: of pairs, any unit.
        level: of the interval, in (0, 1).

    Returns:
        ``Robust``; limits from 2 differences on. Equal input gives equal output.

    References:
        Efron (1979); Wilcoxon (1945).
    """
    data = np.asarray(differences, dtype=float)
    n = data.size
    median = float(np.median(data)) if n else math.nan
    if n < 2:
        return Robust(median, math.nan, math.nan, math.nan)
    drawn = np.random.default_rng(0).choice(data, (RESAMPLES, n))
    tail = (1 - level) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Robust(median, float(low), float(high), _wilcoxon(data))


def _wilcoxon(data: np.ndarray) -> float:
    if data.size < WILCOXON_FROM:
        return math.nan
    if not data.any():
        return 1.0
    from scipy.stats import wilcoxon  # 0.5 s

    return float(wilcoxon(data).pvalue)


class Groups(NamedTuple):
    """Scores in two groups: how many there are in each and their means, the lower one first."""

    counts: tuple[int, int]
    means: tuple[float, float]

    def __str__(self) -> str:
        """``1 seed near 57.8, 4 near 75.78``."""
        few, many = self.counts
        noun = "seed" if few == 1 else "seeds"
        return f"{few} {noun} near {self.means[0]:.4g}, {many} near {self.means[1]:.4g}"


def two_groups(
    scores: Mapping[str, pd.Series], *, error: float = 0.0, alarm: float = 1 - LEVEL
) -> dict[str, Groups]:
    """The methods whose scores lie in two groups, where normal scores hardly would.

    The scores of a method are cut into a lower and an upper group so that the sum of squares within
    the two is smallest; its share of the whole sum of squares is compared with the shares of normal
    samples of as many (simulated, ``DRAWS`` of them). Of tables whose scores are all normal at most
    5 % have a method here (Bonferroni over the methods with at least 3 scores), at any number of
    seeds. That is strict: of 3 seeds no more than a pair beside one far away is seen.

    Args:
        scores: method -> seed -> score.
        error: the most by which rounding moved a score, at least 0: groups look no tighter by it.
        alarm: probability of any false alarm.

    References:
        Engelman and Hartigan (1969).
    """
    judged = {m: np.sort(own.to_numpy(float)) for m, own in scores.items() if len(own) > 2}
    found = {}
    for method, data in judged.items():
        cut, share = _best_cut(data[None])
        if _p_of_share(data, float(share[0]), error) > alarm / len(judged):
            continue
        lower, upper = np.split(data, [int(cut[0])])
        found[method] = Groups((lower.size, upper.size), (float(lower.mean()), float(upper.mean())))
    return found


def _p_of_share(data: np.ndarray, share: float, error: float) -> float:
    """Of a normal sample having so small a share within; by Barnard's count it is no guess."""
    off = error * math.sqrt(data.size)  # how far rounding moves a root of a sum of squares
    total = math.sqrt(((data - data.mean()) ** 2).sum())
    if total <= off:
        return 1.0
    widest = (math.sqrt(share) * total + off) / (total - off)
    smaller = int(np.searchsorted(_normal_shares(data.size), widest**2, side="right"))
    return (1 + smaller) / (1 + DRAWS)


@lru_cache
def _normal_shares(n: int) -> np.ndarray:
    """Shares of ``DRAWS`` normal samples of n values, in order."""
    drawn = np.sort(np.random.default_rng(n).standard_normal((DRAWS, n)), axis=1)
    return np.sort(_best_cut(drawn)[1])


def _best_cut(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size of the lower group, and the share of the sum of squares within the two.

    Args:
        rows: (R, n), each in order, n >= 2.
    """
    n = rows.shape[1]
    rows = rows - rows.mean(axis=1, keepdims=True)
    lower = np.cumsum(rows, axis=1)[:, :-1]  # (R, n - 1), sums; those above are their negatives
    sizes = np.arange(1, n)
    between = lower**2 * (1 / sizes + 1 / (n - sizes))
    total = (rows**2).sum(axis=1)
    best = between.argmax(axis=1)
    ratio = between[np.arange(len(rows)), best] / np.where(total > 0, total, 1.0)
    return best + 1, np.clip(1 - ratio, 0, 1)
