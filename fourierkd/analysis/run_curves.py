"""Curves of single runs: run folders flow in, a panel for each thing that was logged flows out.

A panel is data, which ``runs_page`` draws with plotly and ``paper`` with matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fourierkd.analysis.curves import scalar_curves
from fourierkd.analysis.figures import Style, styles

MOST = 400  # points of a line; of more, each point is the mean of as many rows
_COLUMNS = ["method", "name", "iter", "mean", "low", "high"]
TOTAL = "train/loss"


@dataclass(frozen=True)
class Panel:
    """One figure of curves.

    Attributes:
        name: of the figure, such as ``loss``.
        label: of its value axis.
        curves: columns ``method, name, iter, mean, low, high``, as ``curves.mean_curves`` has them;
            ``method`` is the line.
        palette: line -> style.
        log: the value axis is logarithmic.
        note: what else is to be said of it.
    """

    name: str
    label: str
    curves: pd.DataFrame
    palette: dict[str, Style]
    log: bool = False
    note: str = ""


def run_panels(table: pd.DataFrame, work_dir: Path, val: pd.DataFrame) -> list[Panel]:
    """What runs logged: their metrics on val, loss terms and learning rate.

    Of one run all loss terms are lines of one panel; of several each term is a panel, with a line a
    run, the total first.

    Args:
        table: a results table, a row a run, with one label each in ``method``.
        work_dir: what a relative ``run_dir`` is relative to.
        val: ``curves.scalar_curves`` of these runs, of ``val/``.

    Returns:
        Panels that have a line; the metric's first.
    """
    palette = styles(table["method"])
    val = _unspread(val)
    train, rows = _thinned(_unspread(scalar_curves(table, work_dir, prefix="train/")))
    metrics = [f"val/{name}" for name in table["metric"].dropna().unique()]
    panels = [
        _panel(val[val["name"] == name], palette, label=f"{name[len('val/') :]} (val)")
        for name in metrics
    ]
    note = f"Each point is the mean of {rows} logged rows." if rows > 1 else ""
    terms = [name for name in dict.fromkeys(train["name"]) if _is_loss(name)]
    terms.sort(key=lambda name: name != TOTAL)
    if len(table) == 1:
        own = train[train["name"].isin(terms)]
        lines = own.assign(method=own["name"].str.removeprefix("train/"))
        by_term = styles(term.removeprefix("train/") for term in terms)
        panels.append(_panel(lines, by_term, label="loss (train)", note=note, name="loss"))
    else:
        panels += [
            _panel(
                train[train["name"] == name],
                palette,
                label=f"{name[len('train/') :]} (train)",
                note=note,
            )
            for name in terms
        ]
    rate = train[train["name"] == "train/lr"]
    panels.append(_panel(rate, palette, label="learning rate", note=note))
    return [panel for panel in panels if len(panel.curves)]


def _panel(
    curves: pd.DataFrame,
    palette: dict[str, Style],
    *,
    label: str,
    note: str = "",
    name: str = "",
) -> Panel:
    """Losses are drawn in log scale where all are above 0: their terms differ by much."""
    log = "loss" in label and bool((curves["mean"] > 0).all())
    known = set(curves["method"])
    drawn = {method: style for method, style in palette.items() if method in known}
    own = name or str(next(iter(curves["name"]), "")).partition("/")[2]
    return Panel(own.replace(".", "-"), label, curves, drawn, log, note)


def _is_loss(name: str) -> bool:
    """Whether a scalar is a term of the loss: what MMEngine sums (accuracies stand beside)."""
    return "loss" in name


def _unspread(found: pd.DataFrame) -> pd.DataFrame:
    """Curves of single runs in the form of means, which have no interval."""
    found = found.rename(columns={"value": "mean"}).assign(low=np.nan, high=np.nan)
    return found[_COLUMNS]


def _thinned(curves: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """At most ``MOST`` points a line, and how many rows each is the mean of."""
    lines = curves.groupby(["method", "name"], sort=False)
    longest = int(lines.size().max()) if len(curves) else 0
    rows = -(-longest // MOST)
    if rows <= 1:
        return curves, 1
    place = lines.cumcount() // rows
    keys = ["method", "name", place.rename("place")]
    means = curves.groupby(keys, sort=False)[["iter", "mean", "low", "high"]].mean().reset_index()
    return means[_COLUMNS], rows
