"""Classes: a results table flows in, what each method does for each class flows out.

A class's score is its part of the metric (IoU of each for mIoU, AP of each for mAP), of the best
checkpoint, on the split of the final runs. Larger is better in all of these.

Every method is one family of as many differences as there are classes: of methods that equal the
baseline in every class at most 5 % have an interval that excludes 0 (Holm, ``stats.together``).
Methods are not corrected for each other here: the verdicts on methods are ``comparison.compare``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fourierkd.analysis.comparison import BETTER, WORSE
from fourierkd.analysis.results import class_values
from fourierkd.analysis.sequential import always_valid
from fourierkd.analysis.stats import (
    LEVEL,
    Interval,
    bonferroni,
    differences,
    rounding_step,
    together,
)
from fourierkd.analysis.words import decimals, gain_cells
from fourierkd.errors import listed
from fourierkd.records import TEST, VAL, Phase, State

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from fourierkd.analysis.figures import Style

NAMED = 3  # classes that the sentence names of either kind
Scores = dict[str, dict[str, pd.Series]]  # method -> class -> score by seed


def compare_classes(
    table: pd.DataFrame,
    *,
    baseline: str,
    phase: str = Phase.FINAL,
    level: float = LEVEL,
    looked: bool = False,
) -> pd.DataFrame:
    """What every method scores in every class, and the difference to ``baseline`` over equal seeds.

    Args:
        table: a results table with one complete run of ``phase`` for a method and seed; runs
            without scores of classes do not count, and runs may have different classes.
        baseline: the method that differences are taken against.
        level: of the differences of one method together (see the module).
        looked: seeds were added after scores were seen: intervals that hold at any number of seeds,
            by Bonferroni over the classes.

    Returns:
        A row a method and class, as the table has them: ``method, class, split, n, mean,
        difference, diff_low, diff_high, pairs``. Empty where no run has scores of classes.
    """
    runs = table[(table["phase"] == phase) & (table["state"] == State.COMPLETE)]
    runs = runs.dropna(subset=["method"])
    found = {split: class_values(runs, split=split) for split in (TEST, VAL)}
    split = TEST if found[TEST].notna().any(axis=None) else VAL
    values = found[split].dropna(axis=1, how="all")
    if values.empty:
        return pd.DataFrame()
    scores: Scores = {
        str(method): {
            name: values.loc[own.index, name].set_axis(own["seed"]).dropna() for name in values
        }
        for method, own in runs.groupby("method", sort=False)
    }
    step = rounding_step(values.to_numpy()[values.notna().to_numpy()])
    rows = []
    for method, by_class in scores.items():
        gains = {}
        if method != baseline and baseline in scores:
            paired = {
                name: differences(own, scores[baseline][name]) for name, own in by_class.items()
            }
            gains = _intervals(paired, level, step, looked=looked)
        for name, own in by_class.items():
            gain = gains.get(name, Interval(np.nan, np.nan, np.nan, 0))
            rows.append(
                {
                    "method": method,
                    "class": name,
                    "split": split,
                    "n": len(own),
                    "mean": float(own.mean()),
                    "difference": gain.mean,
                    "diff_low": gain.low,
                    "diff_high": gain.high,
                    "pairs": gain.n,
                }
            )
    return pd.DataFrame(rows)


def _intervals(
    paired: Mapping[str, list[float]], level: float, step: float, *, looked: bool
) -> dict[str, Interval]:
    """Of the differences of one method, a sample a class."""
    if not looked:
        return together(paired, level, error=step)
    own = bonferroni(sum(bool(values) for values in paired.values()), level)
    return {name: always_valid(values, own, error=step) for name, values in paired.items()}


def sentence(found: pd.DataFrame, method: str, baseline: str, score: str) -> str:
    """Which classes ``method`` helps most and which it harms, in one sentence; empty for none.

    A class is helped or harmed where the interval of its difference excludes 0.

    Args:
        found: what ``compare_classes`` returned.
        score: what is measured, for the text.
    """
    own = found[(found["method"] == method) & (found["pairs"] > 0)] if len(found) else found
    if own.empty:
        return ""
    digits = decimals(found["mean"])
    own = own.sort_values("difference", ascending=False, kind="stable")
    helped, harmed = own[own["diff_low"] > 0], own[own["diff_high"] < 0][::-1]
    count = f"of {len(own)} class{'' if len(own) == 1 else 'es'}"
    start = f"Against {baseline}, {method} helps {len(helped)} and harms {len(harmed)} {count}"
    parts = [
        f"{verb} most: {listed([_named(row, digits) for row in rows.to_dict('records')], NAMED)}"
        for verb, rows in (("helped", helped), ("harmed", harmed))
        if len(rows)
    ]
    if helped.empty:
        parts.append(f"largest difference: {_named(own.iloc[0].to_dict(), digits)}")
    if harmed.empty:
        parts.append(f"smallest difference: {_named(own.iloc[-1].to_dict(), digits)}")
    return f"{start} in {score}; {'; '.join(parts)}."


def _named(row: Mapping[str, Any], digits: int) -> str:
    gain = f"{row['class']} {row['difference']:+.{digits}f}"
    if not np.isfinite(row["diff_low"]):
        return gain
    return f"{gain} [{row['diff_low']:+.{digits}f}, {row['diff_high']:+.{digits}f}]"


def class_rows(found: pd.DataFrame, methods: Sequence[str], baseline: str) -> list[dict[str, Any]]:
    """A row a class, as the data set has them, with a cell a method.

    Args:
        found: what ``compare_classes`` returned.
        methods: in the order of the columns.
        baseline: has no difference.

    Returns:
        ``class`` and ``cells``: of each method ``mean``, ``gain`` (difference and interval, empty
        for the baseline) and ``verdict`` (``better``, ``worse`` or empty).
    """
    digits = decimals(found["mean"]) if len(found) else 0
    by_name = {(row["method"], row["class"]): row for row in found.to_dict("records")}
    names = dict.fromkeys(found["class"]) if len(found) else {}
    return [
        {
            "class": name,
            "cells": [
                _cell(by_name.get((method, name)), digits, of_baseline=method == baseline)
                for method in methods
            ],
        }
        for name in names
    ]


def _cell(row: Mapping[str, Any] | None, digits: int, *, of_baseline: bool) -> dict[str, str]:
    if row is None or not row["n"]:
        return {"mean": "–", "gain": "", "verdict": ""}
    gain, limits = gain_cells(row, digits)
    verdict = BETTER if row["diff_low"] > 0 else WORSE if row["diff_high"] < 0 else ""
    said = "" if of_baseline else gain if limits == "–" else f"{gain} {limits}"
    return {"mean": f"{row['mean']:.{digits}f}", "gain": said, "verdict": verdict}


def class_order(found: pd.DataFrame, method: str) -> list[str]:
    """The classes as figures have them: what ``method`` helps most comes first."""
    first = found[found["method"] == method].dropna(subset=["difference"])
    order = list(first.sort_values("difference", ascending=False, kind="stable")["class"])
    return order + [name for name in dict.fromkeys(found["class"]) if name not in order]


def class_figure(found: pd.DataFrame, *, label: str, palette: Mapping[str, Style]) -> Figure:
    """Difference of each method in each class, with its interval; the first method gives the order.

    Args:
        found: what ``compare_classes`` returned.
        label: of the value axis.
        palette: method -> style, of those that are drawn, the best one first.
    """
    from fourierkd.analysis.figures import blank_figure

    order = class_order(found, next(iter(palette)))
    figure = blank_figure(height=110 + len(order) * (12 + 11 * len(palette)))
    for place, (method, style) in enumerate(palette.items()):
        own = found[(found["method"] == method) & found["difference"].notna()]
        shift = (place + 0.5) / len(palette) - 0.5
        half = (own["diff_high"] - own["difference"]).where(np.isfinite(own["diff_high"]))
        figure.add_scatter(
            x=own["difference"],
            y=[order.index(name) + 0.7 * shift for name in own["class"]],
            name=method,
            mode="markers",
            marker={"color": style.colour, "size": 8, "symbol": style.symbol},
            error_x={"array": half, "color": style.colour, "thickness": 1.6, "width": 3},
            text=[escape(name) for name in own["class"]],
            hovertemplate=f"{escape(method)}, %{{text}}: %{{x:+.3f}}<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": "#475569", "width": 1})
    figure.update_xaxes(range=_range(found[found["method"].isin(list(palette))]))
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=[escape(name) for name in order],
        range=[len(order) - 0.5, -0.5],
        showgrid=False,
    )
    figure.update_xaxes(title=label)
    return figure


def _range(drawn: pd.DataFrame) -> list[float] | None:
    """Of the axis of differences: an interval of two seeds can be a hundred times as wide as they
    are, and then runs out of it. None where nothing is known.
    """
    known = drawn.dropna(subset="difference")
    if known.empty:
        return None
    low, high = min(0.0, known["difference"].min()), max(0.0, known["difference"].max())
    span = (high - low) or 1.0
    limits = known[np.isfinite(known["diff_low"])]
    bottom = max(low - span, min(limits["diff_low"].min(), low)) if len(limits) else low
    top = min(high + span, max(limits["diff_high"].max(), high)) if len(limits) else high
    return [bottom - 0.04 * span, top + 0.04 * span]
