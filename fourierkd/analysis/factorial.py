"""Which parts of a method matter: parts flow in, a design of runs flows out; scores of its runs
flow in, the effect of each part flows out.

Every part is on or off. Changing one at a time would show each at one setting of the others, with
two of the runs; here every run tells of every part, each at all settings of the others alike, and
with k parts 2k runs (the next power of two) are enough that no effect is mixed with that of another
part, nor with what two parts do together (resolution IV). What is mixed is said.

References:
    Box and Hunter, "The 2^(k-p) Fractional Factorial Designs", Technometrics 3 (1961) 311-351.
    Fries and Hunter, "Minimum Aberration 2^(k-p) Designs", Technometrics 22 (1980) 601-608.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from operator import xor

import numpy as np
import pandas as pd

from fourierkd.analysis.comparison import (
    UNDECIDED,
    difference_columns,
    margin_of,
    needed,
    scored_runs,
    verdict,
)
from fourierkd.analysis.results import metric_of
from fourierkd.analysis.sequential import always_valid
from fourierkd.analysis.stats import LEVEL, Interval, bonferroni, scores_step, together
from fourierkd.analysis.words import claim, decimals, gain_cells
from fourierkd.records import Metric, Phase, State

Point = tuple[str, ...]  # the parts that are on
Points = Mapping[str, Sequence[str]]  # method -> the parts that are on in it
Scores = Mapping[str, Mapping[int, float] | pd.Series]  # method -> seed -> score


def design(parts: Sequence[str]) -> list[Point]:
    """The smallest regular two-level design of resolution IV, of its size one that mixes least
    (minimum aberration): all combinations for up to three parts, resolution V for five.

    Args:
        parts: up to nine, each once.

    Returns:
        The parts that are on in each run, the first with all.

    Example:
        >>> len(design("abcd")), design("ab")
        (8, [('a', 'b'), ('b',), ('a',), ()])
    """
    from scipy.linalg import hadamard

    base = max(1, (2 * len(parts) - 1).bit_length())  # full columns: log2 of the number of runs
    columns = [1 << i for i in range(base)]  # bit i: the sign of part i is a factor of the product
    products = [i for i in range(1, 2**base) if i not in columns]
    generators: tuple[int, ...] = min(
        combinations(products, len(parts) - base), key=lambda chosen: _aberration(chosen, base)
    )
    signs = hadamard(2**base)[:, [*columns, *generators]]
    return [tuple(part for part, sign in zip(parts, run, strict=True) if sign > 0) for run in signs]


def _aberration(generators: tuple[int, ...], base: int) -> list[int]:
    """How many products of 3, 4, ... parts are constant: the first to be small decide."""
    own = [product | 1 << (base + i) for i, product in enumerate(generators)]
    words = [
        reduce(xor, chosen).bit_count()
        for size in range(1, len(own) + 1)
        for chosen in combinations(own, size)
    ]
    return [words.count(length) for length in range(3, base + len(own) + 1)]


def mixed(points: Points) -> list[Point]:
    """The smallest groups of parts of which a design cannot tell what some do together from what
    the others do together, by size; none where every combination is trained.
    """
    parts = parts_of(points)
    signs = np.array([[1 if part in on else -1 for part in parts] for on in points.values()])
    for size in range(1, len(parts) + 1):
        found = [
            tuple(parts[i] for i in chosen)
            for chosen in combinations(range(len(parts)), size)
            if abs(signs[:, chosen].prod(axis=1).sum()) == len(signs)
        ]
        if found:
            return found
    return []


def parts_of(points: Points) -> Point:
    """The parts of a design: those of the run that has all."""
    most: Sequence[str] = max(points.values(), key=len)
    return tuple(most)


def main_effects(scores: Scores, points: Points) -> dict[str, tuple[list[float], list[float]]]:
    """Of each part the means over the runs with it, and over those without, by seed.

    Args:
        scores: of the design's methods; a seed counts where all of them have it.
        points: the design.
    """
    seeds = sorted(set.intersection(*(set(scores.get(method, {}).keys()) for method in points)))

    def means(methods: list[str]) -> list[float]:
        return [float(np.mean([scores[method][seed] for method in methods])) for seed in seeds]

    return {
        part: (
            means([method for method, on in points.items() if part in on]),
            means([method for method, on in points.items() if part not in on]),
        )
        for part in parts_of(points)
    }


def effect_intervals(
    scores: Scores, points: Points, level: float = LEVEL, *, looked: bool = False
) -> dict[str, Interval]:
    """The effect of each part, on minus off, as one family (see ``stats.together``).

    An effect has one value a seed, so the interval is over seeds and asks nothing of how the runs
    of one seed vary.

    Args:
        scores, points: as for ``main_effects``.
        level: 0.95: at most 5 % of families call a part better or worse that makes no difference.
        looked: seeds were added after scores were seen (see ``sequential.always_valid``).
    """
    gains = _gains(scores, points)
    step = _step(scores, points)
    if not looked:
        return together(gains, level, error=step)
    own = bonferroni(len(gains), level)
    return {part: always_valid(values, own, error=step) for part, values in gains.items()}


def _gains(scores: Scores, points: Points) -> dict[str, list[float]]:
    return {
        part: [a - b for a, b in zip(on, off, strict=True)]
        for part, (on, off) in main_effects(scores, points).items()
    }


def _step(scores: Scores, points: Points) -> float:
    """By how much rounding may move an effect: each of its means by half of the scores' step."""
    return scores_step({method: scores.get(method, {}) for method in points})


def effects(
    table: pd.DataFrame,
    points: Points,
    *,
    metric: Metric | str | None = None,
    margin: float | None = None,
    level: float = LEVEL,
    looked: bool = False,
) -> pd.DataFrame:
    """The effect of each part on the score, with the words of ``comparison.verdict``.

    Args:
        table: a results table with final runs of the design.
        points: method -> the parts that are on in it.
        metric, margin, level, looked: as for ``comparison.compare``.

    Returns:
        A row a part, the largest effect first: ``part, on, off`` (mean scores), ``difference,
        diff_low, diff_high, pairs`` (seeds that every run of the design has), ``verdict, margin,
        seeds_needed``.

    Raises:
        DataError, StudyError, ConfigError: as ``comparison.compare``.
    """
    direction = metric_of(table, metric).direction
    scores = scored_runs(table, metric, Phase.FINAL)[1]
    margin = margin_of(margin, scores)
    means, gains = main_effects(scores, points), _gains(scores, points)
    step, together_level = _step(scores, points), bonferroni(len(gains), level)
    rows = []
    for part, gain in effect_intervals(scores, points, level, looked=looked).items():
        found = verdict(gain, direction, margin)
        on, off = (float(np.mean(values)) if values else math.nan for values in means[part])
        rows.append(
            {
                "part": part,
                "on": on,
                "off": off,
                **difference_columns(gain, found, margin),
                "seeds_needed": needed(
                    gains[part], found, margin, together_level, step, looked=looked
                ),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.loc[frame["difference"].abs().sort_values(ascending=False, kind="stable").index]


def effect_sentences(found: pd.DataFrame, metric: str) -> list[str]:
    """Of each part ``noise: on is worse than off: -1.20 mIoU [-1.90, -0.50] (5 seeds)``."""
    digits = decimals(found["on"])
    lines = []
    for row in found.to_dict("records"):
        gain, limits = gain_cells(row, digits)
        known = f": {gain} {metric}" if row["pairs"] else ""
        known += f" {limits}" if limits != "–" else ""
        seeds = f"({row['pairs']} seed{'' if row['pairs'] == 1 else 's'})"
        lines.append(f"{row['part']}: on {claim(row['verdict'])} off{known} {seeds}")
    return lines


def design_sentences(points: Points) -> list[str]:
    """How much of all combinations was trained, and what is mixed with what."""
    parts, groups = parts_of(points), mixed(points)
    if not groups:
        return [f"all {len(points)} combinations are trained, so nothing is mixed"]
    order = len(groups[0]) - 1
    named = "; ".join(" × ".join(group) for group in groups)
    return [
        f"{len(points)} of {2 ** len(parts)} combinations are trained: the effect of a part is "
        f"mixed with no other part's, nor with what fewer than {order} others do together",
        f"within each of these groups, what some parts do together is mixed with what the others "
        f"do together: {named}",
    ]


def left_out(table: pd.DataFrame, points: Points) -> list[str]:
    """The seeds that some run of the design lacks, and so do not count."""
    runs = table[(table["phase"] == Phase.FINAL) & table["method"].isin(list(points))]
    lines = []
    for seed, own in runs.groupby("seed"):
        whole = own[(own["state"] == State.COMPLETE) & own["value"].notna()]
        lacking = [method for method in points if method not in set(whole["method"])]
        if lacking:
            lines.append(f"seed {seed} does not count, as it lacks {', '.join(lacking)}")
    return lines


def undecided_parts(found: pd.DataFrame) -> pd.DataFrame:
    """The parts that more seeds may decide, for ``words.needs``."""
    return found[found["verdict"] == UNDECIDED].rename(columns={"part": "method"})
