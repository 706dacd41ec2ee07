"""A comparison in words and cells: rows of ``comparison.compare`` flow in, text flows out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from fourierkd.analysis.comparison import BASELINE, BETTER, EQUIVALENT, TOO_FEW, UNDECIDED, WORSE

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
        lines.append(f"{row['method']} {claim(row['verdict'])} {baseline}{gain} {tail}")
    return lines


def claim(verdict: str) -> str:
    """A verdict of ``compare`` as the words between two methods."""
    return _CLAIMS[verdict]


def margin_words(comparison: pd.DataFrame, metric: str) -> str:
    """What ``equivalent`` means in this comparison: ``equivalent: within ±1 mIoU``."""
    return f"equivalent: within ±{comparison['margin'].iloc[0]:g} {metric}"


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
