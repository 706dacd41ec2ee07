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
from fourierkd.analysis.teachers import COLUMN
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
    of students and teacher alike. Where all seeds have one teacher its score is taken as known: the
    share is that of this teacher, and its interval covers what the students' seeds do and not what
    another teacher would. Where each seed has its own, it is that one's gap, and the interval
    covers teachers too.
    Rounding of scores, which the verdicts allow for, is left out: no verdict follows from a share.

    Args:
        table: a results table with the runs of the teachers.
        baseline: the student alone.
        metric: or its name.
        level: of each interval for itself, in (0, 1).

    Returns:
        Method -> ``Share``, in the table's order, over the seeds whose teacher is known. Empty
        where that is none (see ``teacher_scores``), or there is none of the baseline. NaN where the
        teacher is no better than the baseline; limits NaN where it is not so beyond doubt.

    Raises:
        StudyError: a method has two complete runs of a seed.
    """
    metric = metric_of(table, metric)
    teacher, column = teacher_scores(table, metric.name), f"{VAL}_{metric.name}"
    if not teacher:
        return {}
    scores = scored_runs(table, column, Phase.FINAL)[1]
    alone = scores.get(baseline, pd.Series(dtype=float))
    sign = 1 if metric.direction == MAXIMIZE else -1
    found = {}
    for method, own in scores.items():
        seeds = [seed for seed in own.index if seed in alone.index and seed in teacher]
        if method == baseline or not seeds:
            continue
        gains = sign * (own[seeds] - alone[seeds]).to_numpy(float)
        best = np.array([teacher[seed] for seed in seeds])
        found[method] = share_of(gains, sign * (best - alone[seeds].to_numpy(float)), level)
    return found


def teacher_scores(table: pd.DataFrame, metric: str) -> dict[int, float]:
    """Seed of final runs -> score on val of their teacher.

    That of the table's one teacher, or of that whose weights a seed's runs had; seeds of which
    neither is known are left out.
    """
    runs = table[(table["phase"] == Phase.TEACHER) & (table["state"] == State.COMPLETE)]
    scored = runs.assign(score=runs.get(f"{VAL}_{metric}", math.nan)).dropna(subset=["score"])
    finals = table[table["phase"] == Phase.FINAL].dropna(subset=["seed"])
    if scored["score"].nunique() == 1:
        return dict.fromkeys(finals["seed"], float(scored["score"].iloc[0]))
    by_weights = scored.dropna(subset=[COLUMN]).set_index(COLUMN)["score"].to_dict()
    found = {}
    for seed, own in finals.groupby("seed"):
        known = [by_weights[sha] for sha in own[COLUMN].unique() if sha in by_weights]
        if len(known) == 1:
            found[seed] = float(known[0])
    return found


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
