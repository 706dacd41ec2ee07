"""Every table of a study's report: its view flows in, tables of text flow out.

The page shows them, ``paper_tables`` writes them as Markdown and LaTeX.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fourierkd.analysis import classes, costs, factorial, report_tables
from fourierkd.analysis.comparison import BASELINE, TOO_FEW
from fourierkd.analysis.figures import TEACHER, Style
from fourierkd.analysis.gap import gap_closed, teacher_scores
from fourierkd.analysis.selection import (
    START_POINT,
    TUNED,
    candidates,
    found_by_tuning,
    of_search,
    set_by_hand,
)
from fourierkd.analysis.text_tables import Cell, Head, TextTable, name, texts
from fourierkd.analysis.view import StudyView
from fourierkd.analysis.words import beside_cells, cells_of, decimals
from fourierkd.records import VAL, State, class_score

MAX_DRAWN = 160  # differences of classes in one figure


def study_tables(view: StudyView) -> dict[str, TextTable]:
    """The tables that a study has so far, by name, in the order of the page."""
    made = [
        _result(view),
        _beside(view),
        _cost(view),
        _pairs(view),
        _parts(view),
        _classes(view),
        _tuned(view),
        *(_choice(view, tunes, part) for tunes, part in view.searches.items()),
        _runs(view),
        _phases(view),
        _time(view),
    ]
    return {table.name: table for table in made if table is not None and table.rows}


def choice_name(tunes: str | None) -> str:
    """Of the table of a search's candidates."""
    return f"choice-{tunes}" if tunes else "choice"


def _result(view: StudyView) -> TextTable | None:
    """The comparison, and the teacher as a row of it."""
    if view.comparison.empty:
        return None
    digits = decimals(view.comparison["mean"])
    shares = report_tables.share_cells(
        gap_closed(view.table, baseline=view.baseline, metric=view.metric), view.looked
    )
    on_val = _means_on_val(view) if view.split != VAL else {}
    heads = [
        name("method"),
        Head("n"),
        Head(f"mean {view.label}"),
        Head("95 % interval"),
        Head(f"difference to {view.baseline}"),
        Head("95 % interval"),
        Head("paired seeds"),
        name("verdict"),
        *([Head(f"mean {view.metric.name} (val)")] if on_val else []),
        *([Head("share of the teacher's gap closed (val)")] if shares else []),
    ]
    rows = []
    for row in view.comparison.to_dict("records"):
        method = row["method"]
        rows.append(
            [
                _method(view, row),
                *texts(cells_of(row, digits)),
                _verdict(row["verdict"]),
                *([Cell(_number(on_val.get(method), digits))] if on_val else []),
                *([Cell(shares.get(method, "–"))] if shares else []),
            ]
        )
    teacher = _teacher(view, digits, on_val=bool(on_val))
    if teacher:
        rows.append([*teacher, *([Cell("100 %")] if shares else [])])
    caption = f"{view.label} of the final runs, best method first; differences paired by seed"
    return TextTable("result", caption, heads, rows)


def _method(view: StudyView, row: dict[str, Any]) -> Cell:
    method = row["method"]
    of_tuned = method == view.tuned
    hand = set_by_hand(of_search(view.table, None), metric=view.metric) if of_tuned else ""
    notes = (
        f"set by hand: start point {hand}" if hand else "",
        f"two groups of scores: {row['groups']}" if row["groups"] else "",
        f"missing seeds: {row['missing']}" if row["missing"] else "",
    )
    badge = f"= {TUNED}" if of_tuned and method != TUNED else ""
    note = "; ".join(part for part in notes if part)
    return Cell(method, badge=badge, note=note, style=view.palette[method])


def _teacher(view: StudyView, digits: int, *, on_val: bool) -> list[Cell]:
    """The row of the teacher, which is scored on val alone; none where no score is known."""
    scores = teacher_scores(view.table, view.metric.name)
    if not scores:
        return []
    count = len(set(scores.values()))
    mean = f"{sum(scores.values()) / len(scores):.{digits}f}"
    note = "" if count == 1 else f"{count} teachers, one a seed"
    row = [Cell("teacher", note=note, style=TEACHER), Cell(str(count))]
    row += texts(["–" if on_val else mean, *["–"] * 5])
    return [*row, *([Cell(mean)] if on_val else [])]


def _means_on_val(view: StudyView) -> dict[str, float]:
    """Method -> mean on val of its complete final runs."""
    column = f"{VAL}_{view.metric.name}"
    if column not in view.finals:
        return {}
    whole = view.finals[view.finals["state"] == State.COMPLETE]
    return dict(whole.groupby("method")[column].mean())


def _beside(view: StudyView) -> TextTable | None:
    if view.comparison.empty:
        return None
    digits = decimals(view.comparison["mean"])
    heads = [
        name("method"),
        Head("95 % interval of the mean, all at once"),
        Head("median difference"),
        Head("95 % bootstrap interval"),
        Head("Wilcoxon's p"),
    ]
    rows = [
        [Cell(row["method"]), *texts(beside_cells(row, digits))]
        for row in view.comparison.to_dict("records")
        if row["verdict"] != BASELINE
    ]
    caption = f"Differences to {view.baseline} in {view.label}, beside the verdicts"
    return TextTable("beside", caption, heads, rows)


def _cost(view: StudyView) -> TextTable:
    known = view.facts.get("costs") or {}
    found = costs.cost_table(view.table, known, baseline=view.baseline)
    heads = [name("method"), *(Head(head) for head in costs.heads(found))]
    rows = [[Cell(method), *texts(cells)] for method, cells in costs.cost_rows(found)]
    caption = "Cost of the final runs: iterations, seconds (s) and what a step takes"
    return TextTable("cost", caption, heads, rows)


def _pairs(view: StudyView) -> TextTable | None:
    found = report_tables.pair_rows(view.table, view.comparison, view.measure)
    if not found:
        return None
    rows = [
        [
            Cell(row["method"]),
            *(
                _verdict(cell["verdict"], said=f"{cell['mean']} ", note=cell["limits"])
                if cell
                else Cell("–")
                for cell in row["cells"]
            ),
        ]
        for row in found
    ]
    caption = f"Mean paired difference in {view.label}, row minus column, with its 95 % interval"
    heads = [name("row minus column"), *(Head(method) for method in found[0]["names"])]
    return TextTable("pairs", caption, heads, rows)


def _parts(view: StudyView) -> TextTable | None:
    """Effects of the parts of a component study."""
    points = view.facts.get("parts")
    if not points or view.finals.empty:
        return None
    found = factorial.effects(view.table, points, **view.measure)
    heads = [
        name("part"),
        Head(f"mean {view.label} with it"),
        Head("without"),
        Head("with minus without, 95 % interval"),
        Head("seeds"),
        name("with it is"),
    ]
    rows = [
        [Cell(row["part"]), *texts(row["cells"]), _verdict(row["verdict"])]
        for row in report_tables.effect_rows(found)
    ]
    return TextTable("parts", f"Effect of each part of the loss, {view.label}", heads, rows)


def _classes(view: StudyView) -> TextTable | None:
    found = found_classes(view)
    if found.empty:
        return None
    methods = list(view.comparison["method"])
    metric = class_score(view.metric.name)
    rows = [
        [
            Cell(row["class"]),
            *(
                Cell(
                    cell["mean"],
                    note=f"{cell['gain']} {cell['verdict']}".strip(),
                    note_tag=cell["verdict"],
                )
                for cell in row["cells"]
            ),
        ]
        for row in classes.class_rows(found, methods, methods[0])
    ]
    split = found["split"].iloc[0]
    caption = f"{metric} ({split}) of each class, and its difference to {methods[0]}"
    return TextTable("classes", caption, [name("class"), *map(Head, methods)], rows)


def found_classes(view: StudyView) -> pd.DataFrame:
    """What ``classes.compare_classes`` finds; empty where there is no comparison."""
    if view.comparison.empty:
        return pd.DataFrame()
    return classes.compare_classes(view.table, baseline=view.baseline, looked=view.looked)


def drawn_classes(view: StudyView, found: pd.DataFrame) -> dict[str, Style]:
    """The methods whose differences in classes are drawn; of too many the best one alone."""
    methods = list(view.comparison["method"])[1:]
    if not methods or found["difference"].isna().all():
        return {}
    if len(methods) * found["class"].nunique() > MAX_DRAWN:
        methods = methods[:1]
    return {method: view.palette[method] for method in methods}


def _tuned(view: StudyView) -> TextTable:
    rows = [
        [
            Cell(row["method"]),
            Cell(f"{row['trials']} ({row['ended']})"),
            Cell(row["parameters"] or "–"),
            Cell(row["origin"]),
            *texts(row["cells"]),
        ]
        for row in report_tables.tuned_rows(found_by_tuning(view.table, metric=view.metric))
    ]
    heads = [name("method"), Head("trials"), name("found"), name("trial"), *_stages(view)]
    return TextTable("tuned", f"What each method was tuned to, {view.metric.name}", heads, rows)


def _choice(view: StudyView, tunes: str | None, part: pd.DataFrame) -> TextTable:
    found = report_tables.candidate_rows(candidates(part, metric=view.metric))
    rows = [
        [
            Cell(row["trial"]),
            Cell(row["origin"], badge="set by hand" if START_POINT in row["origin"] else ""),
            Cell(row["parameters"]),
            *texts(row["cells"]),
        ]
        for row in found
    ]
    heads = [Head("trial"), name("origin"), name("parameters"), *_stages(view)]
    marked = frozenset(i for i, row in enumerate(found) if row["chosen"])
    caption = f"Candidates{f' of {tunes}' if tunes else ''}, the chosen one first"
    return TextTable(choice_name(tunes), caption, heads, rows, marked)


def _stages(view: StudyView) -> list[Head]:
    return [
        Head(f"{view.metric.name} (val) at the search's seed"),
        Head("mean on the rung"),
        Head("mean on the final seeds"),
    ]


def _runs(view: StudyView) -> TextTable:
    """Every run, those that failed or were pruned with the reason."""
    found = report_tables.run_rows(view.table, view.chosen)
    rows = [
        [
            Cell(run["phase"]),
            Cell(run["method"], badge="set by hand" if run["by_hand"] else ""),
            *texts([run["trial"], run["seed"]]),
            Cell(run["state"], tag=run["state"]),
            *texts([run["split"], run["value"], run["iters"], run["seconds"], run["parameters"]]),
            Cell(run["run_dir"], code=True, note=run["reason"]),
        ]
        for run in found
    ]
    heads = [
        name("phase"),
        name("method"),
        Head("trial"),
        Head("seed"),
        name("state"),
        name("split"),
        Head(view.metric.name),
        Head("iterations"),
        Head("seconds"),
        name("parameters"),
        name("folder, reason"),
    ]
    marked = frozenset(i for i, run in enumerate(found) if run["chosen"])
    return TextTable("runs", "All runs; shaded: the chosen trial", heads, rows, marked)


def _phases(view: StudyView) -> TextTable:
    rows = [
        [Cell(row["phase"]), *texts([str(row["runs"]), row["seconds"], row["train"]])]
        for row in report_tables.phase_rows(view.table)
    ]
    heads = [name("phase"), Head("runs"), Head("seconds"), Head("in training")]
    return TextTable("phases", "Runs by phase; time in seconds", heads, rows)


def _time(view: StudyView) -> TextTable:
    rows = [
        [Cell(row["name"]), *texts([row["seconds"], row["share"]])]
        for row in report_tables.time_rows(view.facts.get("time") or {})
    ]
    heads = [name("part"), Head("seconds"), Head("share")]
    caption = "This study: seconds of all its processes together; clock: from start to end"
    return TextTable("time", caption, heads, rows)


def _verdict(verdict: str, *, said: str = "", note: str = "") -> Cell:
    kind = "few" if verdict == TOO_FEW else verdict  # a CSS class
    return Cell(f"{said}{verdict}", tag=kind, note=note)


def _number(value: Any, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
