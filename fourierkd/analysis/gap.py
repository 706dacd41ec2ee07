"""How much of the way to the teacher a method goes: a results table flows in, shares flow out.

References:
    Fieller, "Some Problems in Interval Estimation", Journal of the Royal Statistical Society B 16
    (1954) 175-185.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fourierkd.analysis.comparison import scored_runs
from fourierkd.analysis.results import metric_of
from fourierkd.analysis.stats import LEVEL
from fourierkd.records import MAXIMIZE, VAL, Metric, Phase, State


class Share(NamedTuple):
    """A share of the teacher's gap and its limits, 1 is the teacher; NaN where it has none."""

    share: float
    low: float
    high: float
    n: int


def gap_closed(
    table: pd.DataFrame,
    *,
    baseline: str,
    metric: Metric | str,
    level: float = LEVEL,
) -> dict[str, Share]:
    """Of each method's final runs ``(method - baseline) / (teacher - baseline)``, paired by seed.

    All on val, where alone the teacher is scored; the value there is that of the best checkpoint,
    of students and teacher alike. The teacher's score is taken as known: the share is that of this
    teacher, and its interval covers what the students' seeds do and not what another teacher would.
    Rounding of scores, which the verdicts allow for, is left out: no verdict follows from a share.

    Args:
        table: a results table with the teacher's run.
        baseline: the student alone.
        metric: or its name.
        level: of each interval for itself, in (0, 1).

    Returns:
        Method -> ``Share``, in the table's order. Empty where the table has no teacher with a
        score on val, or several that differ, or none of the baseline. NaN where the teacher is
        no better than the baseline; limits NaN where it is not so beyond doubt.

    Raises:
        StudyError: a method has two complete runs of a seed.
    """
    metric = metric_of(table, metric)
    teacher, column = teacher_score(table, metric.name), f"{VAL}_{metric.name}"
    if teacher is None or column not in table:
        return {}
    scores = scored_runs(table, column, Phase.FINAL)[1]
    alone = scores.get(baseline, pd.Series(dtype=float))
    sign = 1 if metric.direction == MAXIMIZE else -1
    found = {}
    for method, own in scores.items():
        seeds = [seed for seed in own.index if seed in alone.index]
        if method == baseline or not seeds:
            continue
        gains = sign * (own[seeds] - alone[seeds]).to_numpy(float)
        found[method] = share_of(gains, sign * (teacher - alone[seeds].to_numpy(float)), level)
    return found


def teacher_score(table: pd.DataFrame, metric: str) -> float | None:
    """The teacher's score on val; None where there is none, or more than one."""
    runs = table[(table["phase"] == Phase.TEACHER) & (table["state"] == State.COMPLETE)]
    known = runs.get(f"{VAL}_{metric}", pd.Series(dtype=float)).dropna().unique()
    return float(known[0]) if len(known) == 1 else None


def share_of(
    gains: Sequence[float] | np.ndarray, gaps: Sequence[float] | np.ndarray, level: float = LEVEL
) -> Share:
    """Mean gain over mean gap, with Fieller's interval: exact for pairs that are normal together.

    It holds every r for which a t interval of ``gains - r * gaps`` includes 0.

    Args:
        gains: (n,), one per seed.
        gaps: (n,), of the same seeds and unit; above 0 where the teacher is better.
        level: in (0, 1).

    References:
        Fieller (1954), section 3.

    Example:
        >>> [round(x, 3) for x in share_of([4.0, 6.0, 5.0], [10.0, 10.0, 10.0])]
        [0.5, 0.252, 0.748, 3]
    """
    from scipy.special import stdtrit

    gain, gap, n = np.asarray(gains, float), np.asarray(gaps, float), len(gains)
    if n == 0 or gap.mean() <= 0:
        return Share(math.nan, math.nan, math.nan, n)
    share = float(gain.mean() / gap.mean())
    if n < 2:
        return Share(share, math.nan, math.nan, n)
    var_gain, both, _, var_gap = np.cov(gain, gap).ravel()
    k = float(stdtrit(n - 1, 0.5 + level / 2)) ** 2 / n
    a = gap.mean() ** 2 - k * var_gap  # a * r^2 - 2 * b * r + c <= 0
    b = gain.mean() * gap.mean() - k * both
    c = gain.mean() ** 2 - k * var_gain
    if a <= 0:  # the gap may be 0, and the share anything
        return Share(share, math.nan, math.nan, n)
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Share(share, float((b - root) / a), float((b + root) / a), n)
