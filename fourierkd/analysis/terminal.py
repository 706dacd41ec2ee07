"""What a study's end shows in the terminal: a results table flows in, rich tables flow out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from fourierkd.analysis.comparison import BETTER, EQUIVALENT, UNDECIDED, WORSE, compare
from fourierkd.analysis.costs import EQUAL, cost_notes, cost_rows, cost_table, heads
from fourierkd.analysis.factorial import (
    Points,
    design_sentences,
    effects,
    left_out,
    undecided_parts,
)
from fourierkd.analysis.report_tables import candidate_rows, effect_rows, tuned_rows
from fourierkd.analysis.results import metric_of
from fourierkd.analysis.selection import (
    TUNED,
    candidates,
    found_by_tuning,
    of_search,
    tuned_method,
)
from fourierkd.analysis.teachers import covered
from fourierkd.analysis.words import (
    cells_of,
    decided,
    decimals,
    group_lines,
    how,
    margin_words,
    needs,
)
from fourierkd.records import Cost, Metric, Phase

if TYPE_CHECKING:
    import rich.table

_STYLE = {
    BETTER: "bold green",
    WORSE: "bold red",
    EQUIVALENT: "bold cyan",
    UNDECIDED: "yellow",
    "baseline": "dim",
}


def summary(
    table: pd.DataFrame,
    *,
    baseline: str,
    metric: Metric | str,
    margin: float | None = None,
    looked: bool = False,
) -> rich.table.Table:
    """The comparison of the final runs (see ``comparison.compare`` for args and errors)."""
    from rich.text import Text

    metric = metric_of(table, metric)
    comparison = compare(table, baseline=baseline, metric=metric, margin=margin, looked=looked)
    tuned = tuned_method(of_search(table, None), metric=metric)
    split = table.loc[table["phase"] == Phase.FINAL, "split"].iloc[0]
    title = f"{metric.name} on {split}, 95 % intervals, paired by seed, differences {how(looked)}"
    title += " over every pair"
    view = _table(title)
    view.add_column("method", no_wrap=True)
    view.add_column("n", justify="right")
    view.add_column("mean", justify="right")
    view.add_column(f"minus {baseline}", justify="right")
    view.add_column("verdict", no_wrap=True)
    digits = decimals(comparison["mean"])
    for row in comparison.to_dict("records"):
        n, mean, limits, gain, gain_limits, pairs = cells_of(row, digits)
        paired = "" if pairs in (n, "–") else f", {pairs} pairs"
        verdict = Text(row["verdict"] + paired, style=_STYLE.get(row["verdict"], ""))
        difference = "–" if gain == "–" else f"{gain} {gain_limits}"
        method = row["method"]
        chosen = f" (= {TUNED})" if method == tuned != TUNED else ""
        view.add_row(f"{method}{chosen}", n, f"{mean} {limits}", difference, verdict)
    lacking = comparison[comparison["missing"] != ""]
    notes = [f"{r.method} lacks seed {r.missing}" for r in lacking.itertuples()]
    notes = [decided(comparison), *notes] if looked else notes
    notes = [*needs(comparison, metric.name), *group_lines(comparison), *notes]
    notes = [f"intervals: {covered(table)}", *notes]
    view.caption = "\n".join([margin_words(comparison, metric.name), *notes])
    return view


def cost(
    table: pd.DataFrame, costs: Mapping[str, Cost], *, baseline: str, budget: str | None = None
) -> rich.table.Table:
    """What the final runs cost (see ``costs.cost_table``), and what the methods have equal."""
    found = cost_table(table, costs, baseline=baseline)
    view = _table(f"cost of the final runs, {EQUAL[budget or 'iterations']}")
    view.add_column("method", no_wrap=True)
    for head in heads(found):
        view.add_column(head, justify="right")
    for method, cells in cost_rows(found):
        view.add_row(method, *cells)
    view.caption = "\n".join(cost_notes(found, costs, budget))
    return view


def components(
    table: pd.DataFrame,
    points: Points,
    *,
    metric: Metric | str,
    margin: float | None = None,
    looked: bool = False,
) -> rich.table.Table:
    """The effects of a component study (see ``factorial.effects`` for args and errors)."""
    from rich.text import Text

    metric = metric_of(table, metric)
    found = effects(table, points, metric=metric, margin=margin, looked=looked)
    means = f"mean {metric.name} of the runs with and without"
    view = _table(f"parts, {means}, 95 % intervals {how(looked)}")
    view.add_column("part", no_wrap=True)
    view.add_column("on", justify="right")
    view.add_column("off", justify="right")
    view.add_column("on minus off", justify="right")
    view.add_column("seeds", justify="right")
    view.add_column("on is", no_wrap=True)
    for row in effect_rows(found):
        word = Text(row["verdict"], style=_STYLE.get(row["verdict"], ""))
        view.add_row(row["part"], *row["cells"], word)
    notes = [f"intervals: {covered(table)}", *needs(undecided_parts(found), metric.name)]
    notes += left_out(table, points)
    view.caption = "\n".join([margin_words(found, metric.name), *notes, *design_sentences(points)])
    return view


def choice(table: pd.DataFrame, *, metric: Metric | str) -> rich.table.Table | None:
    """Values of a study's candidates at the search's seed, on the rung and of the chosen one's
    final runs, all on val; None where no trial has a value.
    """
    metric = metric_of(table, metric)
    rows = candidate_rows(candidates(of_search(table, None), metric=metric))
    if not rows:
        return None
    view = _table(f"choice of the trial, {metric.name} on val")
    view.add_column("trial", justify="right")
    view.add_column("origin")
    for name in ("search's seed", "rung", "final seeds"):
        view.add_column(name, justify="right")
    for row in rows:
        style = "bold" if row["chosen"] else ""
        view.add_row(row["trial"], row["origin"], *row["cells"], style=style)
    return view


def tuned(table: pd.DataFrame, *, metric: Metric | str) -> rich.table.Table | None:
    """What each method of a comparison was tuned to, and the values of that trial on val; None
    where none was tuned.
    """
    metric = metric_of(table, metric)
    rows = tuned_rows(found_by_tuning(table, metric=metric))
    if not rows:
        return None
    view = _table(f"tuned methods, {metric.name} on val")
    view.add_column("method", no_wrap=True)
    view.add_column("trials", justify="right")
    view.add_column("chosen")
    for name in ("search's seed", "rung", "final seeds"):
        view.add_column(name, justify="right")
    for row in rows:
        view.add_row(row["method"], str(row["trials"]), row["origin"], *row["cells"])
    found = (f"{row['method']}: {row['parameters']}" for row in rows if row["parameters"])
    view.caption = "\n".join(found)
    return view


def _table(title: str) -> rich.table.Table:
    from rich import box
    from rich.table import Table

    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
