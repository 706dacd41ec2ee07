"""The page of runs made by hand: run folders flow in, one HTML file and a picture flow out.

It reads what is there, so a run may still train, be stopped, or have failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from fourierkd.analysis import figures, report_tables
from fourierkd.analysis.curves import scalar_curves
from fourierkd.analysis.figures import Style, styles
from fourierkd.analysis.page import RUNS, figure_html, require_ours, write_page
from fourierkd.analysis.paper import curves_picture
from fourierkd.analysis.report_spectra import NOTE, spectra_parts
from fourierkd.analysis.results import RUNNING, results_table
from fourierkd.analysis.run_curves import Panel, run_panels
from fourierkd.analysis.text_tables import Cell, Head, TextTable, name
from fourierkd.analysis.words import decimals
from fourierkd.errors import ConfigError
from fourierkd.literals import read_literals
from fourierkd.records import MAXIMIZE, TEST, VAL, Metric, class_score, scores_of_classes
from fourierkd.run_dir import RunDir

UNFINISHED = "unfinished"  # of a run without a result: it trains, or was killed
NO_VERDICT = (
    "A difference of single runs is no verdict: python sweeps/run.py compare gives one, over "
    "several seeds of each."
)


def page_of_runs(folders: Sequence[Path], out: str | None = None) -> Path:
    """Where the page of these runs goes: ``out``, else into the folder of the one run.

    Raises:
        ConfigError: there is no such place, as they are several; or it is no name of a page.
    """
    if out is None and len(folders) > 1:
        raise ConfigError("the page of several runs needs a name", fix="add --out FILE.html")
    path = RunDir(folders[0]).report if out is None else Path(out)
    if path.suffix != ".html":
        raise ConfigError("a page's name ends with .html", value=str(path), fix="--out FILE.html")
    return path


def write_runs_page(folders: Sequence[Path], path: Path) -> list[Path]:
    """Write the page of runs to ``path``, and beside it their curves as ``.png``.

    Args:
        folders: of the runs, in the order of table and legend.
        path: of the page; a file there is replaced if it is such a page.

    Returns:
        The files that were written.

    Raises:
        ConfigError: a folder is named twice, or a file in the way is somebody else's.
        RunError: a folder holds no run.
    """
    path, picture = path.absolute(), path.absolute().with_suffix(".png")
    runs = [RunDir(folder) for folder in folders]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ConfigError("each run is named once", value=[str(folder) for folder in folders])
    for file in (path, picture):
        require_ours(file, RUNS)
    table = _labelled(runs, folders)
    work_dir = Path.cwd()
    palette = styles(table["method"])
    val = scalar_curves(table, work_dir, prefix=f"{VAL}/")
    validations = [_Validations(val, run) for run in table.to_dict("records")]
    classes = _class_table(runs, table, validations)
    panels = run_panels(table, work_dir, val)
    spectra = spectra_parts(table.assign(seed=0), work_dir, palette)
    shown = {
        "scores": "Scores",
        **({"classes": "Classes"} if classes else {}),
        "curves": "Curves",
        **({"spectra": "Spectra"} if spectra else {}),
    }
    values = {
        "title": " · ".join(table["method"]) if len(runs) < 4 else f"{len(runs)} runs",
        "generator": RUNS,
        "sections": shown,
        "unfinished": bool((table["state"] == RUNNING).any()),
        "headline": _headline(table, validations),
        "subtitle": report_tables.subtitle(table, ", ".join(table["metric"].dropna().unique())),
        "reasons": _reasons(table),
        "facts": report_tables.fact_rows(table, {"config": _configs(runs)}, _measure(table)),
        "scores": _score_table(table, validations, palette),
        "classes": classes,
        "panels": [_drawn(panel) for panel in panels],
        "spectra": spectra,
        "spectra_note": f"{NOTE}.",
    }
    write_page(path, "runs.html.j2", values)
    written = [path]
    if panels:
        curves_picture(panels, picture, maker=RUNS)
        written.append(picture)
    return written


class _Validations:
    """Of one run: the best value of its metric on val and the newest one, with their iterations,
    and the digits that its values are written with.
    """

    def __init__(self, val: pd.DataFrame, run: Mapping[str, Any]) -> None:
        known = isinstance(run["metric"], str)
        self.metric = Metric(run["metric"], run["direction"]) if known else None
        key = self.metric.key() if self.metric else ""
        own = val[(val["method"] == run["method"]) & (val["name"] == key)]
        self.count, self.digits = len(own), decimals(own["value"])
        self.best, self.best_iter = math.nan, None
        self.last, self.last_iter = math.nan, None
        for value, iteration in zip(own["value"], own["iter"], strict=True):
            self.last, self.last_iter = value, iteration
            if self.best_iter is None or (self.metric and self.metric.better(value, self.best)):
                self.best, self.best_iter = value, iteration

    @property
    def words(self) -> str:
        """The best value with its metric's name."""
        name_ = self.metric.name if self.metric else ""
        return f"{_number(self.best, self.digits)} {name_}"


def _labelled(runs: Sequence[RunDir], folders: Sequence[Path]) -> pd.DataFrame:
    """Their results table with one name a run in ``method`` and its method in ``trained``; of an
    unfinished one the metric of its config and the iterations so far; ``planned`` iterations.
    """
    names = [run.path.name for run in runs]
    unique = len(set(names)) == len(names)
    table = results_table(runs, work_dir=Path.cwd())
    planned = []
    for i, run in enumerate(runs):
        run.read_request()  # says what is wrong with a folder that holds no run
        config = read_literals(run.config) if run.config.exists() else {}
        if pd.isna(table.loc[i, "metric"]) and isinstance(config.get("metric"), str):
            table.loc[i, "metric"] = config["metric"]
            table.loc[i, "direction"] = str(config.get("direction") or MAXIMIZE.value)
        rows = run.rows() if pd.isna(table.loc[i, "iters"]) else []
        if rows:
            table.loc[i, "iters"] = rows[-1]["iter"]
        loop = config.get("train_cfg") or {}
        planned.append(loop.get("max_iters") if isinstance(loop, dict) else None)
    return table.assign(
        trained=table["method"],
        planned=planned,
        method=names if unique else [str(folder) for folder in folders],
    )


def _headline(table: pd.DataFrame, validations: Sequence[_Validations]) -> str:
    """The best run by its metric on val; of one run its best validation."""
    labels = zip(validations, table["method"], strict=True)
    scored = [(own, label) for own, label in labels if own.count]
    if not scored:
        return "No validation has been logged yet."
    if len(table) == 1:
        return _of_one(table.iloc[0].to_dict(), validations[0])
    if len({own.metric for own, _ in scored}) > 1:
        return "The runs have different metrics, so none is the best."
    best, label = scored[0]
    for own, other in scored[1:]:
        if own.metric is not None and own.metric.better(own.best, best.best):
            best, label = own, other
    return f"Best on val: {label} with {best.words}. {NO_VERDICT}"


def _of_one(run: Mapping[str, Any], own: _Validations) -> str:
    text = f"{own.words} on val at iteration {own.best_iter}, the best of {own.count} "
    text += "validation" if own.count == 1 else "validations"
    if own.last_iter != own.best_iter:
        text += f" (the newest, at {own.last_iter}, has {_number(own.last, own.digits)})"
    test = _number(run.get(f"{TEST}_{run['metric']}"), own.digits)
    on_test = "" if test == "–" else f"; {test} on test"
    return f"{text}{on_test}. The run is {_state(run)}."


def _state(run: Mapping[str, Any]) -> str:
    return UNFINISHED if run["state"] == RUNNING else str(run["state"])


def _score_table(
    table: pd.DataFrame, validations: Sequence[_Validations], palette: dict[str, Style]
) -> TextTable:
    metrics = " or ".join(table["metric"].dropna().unique()) or "metric"
    heads = [
        name("run"),
        name("method"),
        Head("seed"),
        name("state"),
        Head(f"best {metrics} (val)"),
        Head("at iteration"),
        Head("newest (val)"),
        Head(f"{metrics} (test)"),
        Head("iterations"),
        Head("seconds"),
        Head("in training"),
    ]
    rows = []
    for run, own in zip(table.to_dict("records"), validations, strict=True):
        test = run.get(f"{TEST}_{run['metric']}")
        planned = "" if pd.isna(run["planned"]) else f" of {run['planned']:.0f}"
        rows.append(
            [
                Cell(run["method"], style=palette[run["method"]]),
                Cell(run["trained"] if isinstance(run["trained"], str) else "–"),
                Cell(_whole(run["seed"])),
                Cell(_state(run), tag=run["state"]),
                Cell(_number(own.best, own.digits)),
                Cell(_whole(own.best_iter)),
                Cell(_number(own.last, own.digits)),
                Cell(_number(test, own.digits)),
                Cell(f"{_whole(run['iters'])}{planned}"),
                Cell(_seconds(run["seconds"])),
                Cell(_seconds(run["seconds_train"])),
            ]
        )
    return TextTable("scores", f"Scores of the runs ({metrics}); time in seconds", heads, rows)


def _class_table(
    runs: Sequence[RunDir],
    table: pd.DataFrame,
    validations: Sequence[_Validations],
) -> TextTable | None:
    """What the metric is of each class on val, at each run's best validation."""
    found: dict[str, dict[str, float | None]] = {}
    for run, label, own in zip(runs, table["method"], validations, strict=True):
        row = run.class_rows(VAL).get(own.best_iter) if own.best_iter is not None else None
        if row is not None and own.metric is not None:
            found[label] = scores_of_classes(row, own.metric)
    found = {label: values for label, values in found.items() if values}
    if not found:
        return None
    known = [v for values in found.values() for v in values.values() if v is not None]
    digits = decimals(pd.Series(known, dtype=float))
    classes = dict.fromkeys(name for values in found.values() for name in values)
    rows = [
        [
            Cell(of),
            *(Cell(_number(values.get(of), digits)) for values in found.values()),
        ]
        for of in classes
    ]
    metric = next(own.metric for own in validations if own.metric is not None)
    heads = [name("class"), *(Head(label) for label in found)]
    caption = f"{class_score(metric.name)} of each class (val), at each run's best validation"
    return TextTable("classes", caption, heads, rows)


def _drawn(panel: Panel) -> dict[str, Markup | str]:
    figure = figures.curves_figure(
        panel.curves, label=panel.label, palette=panel.palette, log=panel.log, height=300
    )
    scale = ", logarithmic scale" if panel.log else ""
    caption = f"{panel.label} over iterations{scale}. {panel.note}".strip()
    return {"html": figure_html(figure, f"curve-{panel.name}", caption), "caption": caption}


def _reasons(table: pd.DataFrame) -> list[str]:
    """Why runs ended that are not complete."""
    ended = table.dropna(subset=["reason"])
    return [f"{row.method} is {row.state}: {row.reason}" for row in ended.itertuples()]


def _configs(runs: Sequence[RunDir]) -> str:
    return "; ".join(dict.fromkeys(run.read_request().config for run in runs))


def _measure(table: pd.DataFrame) -> str:
    known = table.dropna(subset=["metric"])
    said = (f"{row.metric}, {row.direction}d" for row in known.itertuples())
    return "; ".join(dict.fromkeys(said))


def _number(value: Any, digits: int) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def _whole(value: Any) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.0f}"


def _seconds(value: Any) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.1f}"
