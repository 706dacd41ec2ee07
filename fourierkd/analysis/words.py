"""A comparison in words and cells: rows of ``comparison.compare`` flow in, text flows out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fourierkd.analysis.comparison import BASELINE, BETTER, EQUIVALENT, TOO_FEW, UNDECIDED, WORSE

MANY = 1000  # seeds: beyond, the number says no more
_CLAIMS = {
    BETTER: "is better than",
    WORSE: "is worse than",
    EQUIVALENT: "is equivalent to",
    UNDECIDED: "is undecided against",
    TOO_FEW: "has no verdict against",
}


def sentences(comparison: pd.DataFrame, metric: str) -> list[str]:
    """The verdicts in plain words: ``tuned is better than published: +5.1 mIoU [...] (...)``."""
    baseline = str(comparison.loc[comparison["verdict"] == BASELINE, "method"].iloc[0])
    digits = decimals(comparison["mean"])
    lines = []
    for row in comparison[comparison["verdict"] != BASELINE].to_dict("records"):
        pairs = row["pairs"]
        known, limits = gain_cells(row, digits)
        gain = f": {known} {metric}" if pairs else ""
        gain += f" {limits}" if row["verdict"] != TOO_FEW else ""
        tail = f"({pairs} paired seed{'' if pairs == 1 else 's'})"
        if row["verdict"] == UNDECIDED:
            tail += f"; an effect of {row['margin']:g} {metric} would {_need(row)}"
        lines.append(f"{row['method']} {claim(row['verdict'])} {baseline}{gain} {tail}")
    return lines


def needs(comparison: pd.DataFrame, metric: str) -> list[str]:
    """One line on how many seeds the undecided pairs need, or none."""
    rows = comparison[comparison["verdict"] == UNDECIDED].to_dict("records")
    if not rows:
        return []
    counts = ", ".join(f"{row['method']} would {_need(row)}" for row in rows)
    return [f"an effect of {rows[0]['margin']:g} {metric} of {counts}"]


def group_lines(comparison: pd.DataFrame) -> list[str]:
    """The methods whose scores lie in two groups."""
    return [
        f"the scores of {row['method']} lie in two groups: {row['groups']}"
        for row in comparison.to_dict("records")
        if row["groups"]
    ]


def _need(row: Mapping[str, Any]) -> str:
    count = int(row["seeds_needed"])
    if count <= row["pairs"]:
        return "probably have been found"
    return f"need about {count} seeds" if count <= MANY else f"need more than {MANY} seeds"


def claim(verdict: str) -> str:
    """A verdict of ``compare`` as the words between two methods."""
    return _CLAIMS[verdict]


def decided(comparison: pd.DataFrame) -> str:
    """Which pairs were decided with how many seeds, where seeds were added until they were."""
    rows = comparison[comparison["verdict"] != BASELINE].to_dict("records")
    said = [f"{row['method']} {row['verdict']} with {row['pairs']}" for row in rows]
    return f"seeds were added while undecided: {', '.join(said)}" if said else ""


def how(looked: bool) -> str:
    """What the intervals of the differences are made by."""
    return "at any number of seeds (Bonferroni)" if looked else "by Holm"


def margin_words(comparison: pd.DataFrame, metric: str) -> str:
    """What ``equivalent`` means in this comparison: ``equivalent: within ±1 mIoU``."""
    return f"equivalent: within ±{comparison['margin'].iloc[0]:g} {metric}"


def beside_cells(row: Mapping[str, object], digits: int) -> list[str]:
    """What gives no verdict as text: interval of all at once, median, interval, Wilcoxon's p."""
    at_once = _number_and_limits(row, ("difference", "all_low", "all_high"), digits, "+")[1]
    median, limits = _number_and_limits(row, ("median", "boot_low", "boot_high"), digits, "+")
    p = float(row["wilcoxon"])  # type: ignore[arg-type]
    return [at_once, median, limits, f"{p:.3f}" if math.isfinite(p) else "–"]


def cells_of(row: Mapping[str, object], digits: int) -> list[str]:
    """One row as text: n, mean, interval, difference, interval, pairs; a dash where none."""
    return [
        str(row["n"]),
        *_number_and_limits(row, ("mean", "low", "high"), digits),
        *gain_cells(row, digits),
        "–" if row["verdict"] == BASELINE else str(row["pairs"]),
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
