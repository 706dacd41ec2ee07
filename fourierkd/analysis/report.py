"""The HTML report: results, run folders and the study flow in, one self-contained file out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from fourierkd.analysis import agreement, classes, costs, factorial, figures, report_tables, tuning
from fourierkd.analysis.answer import answer_of
from fourierkd.analysis.gap import teacher_scores
from fourierkd.analysis.page import STUDY, figure_html, write_page
from fourierkd.analysis.parallel import parallel_figure
from fourierkd.analysis.predictions import predictions
from fourierkd.analysis.published import beside_published
from fourierkd.analysis.report_spectra import NOTE as SPECTRA_NOTE
from fourierkd.analysis.report_spectra import spectra_parts
from fourierkd.analysis.results import most_common
from fourierkd.analysis.selection import (
    candidates,
    sentence,
)
from fourierkd.analysis.study_tables import (
    choice_name,
    drawn_classes,
    found_classes,
    study_tables,
)
from fourierkd.analysis.teachers import covered
from fourierkd.analysis.text_tables import TextTable
from fourierkd.analysis.view import StudyView, view_of
from fourierkd.analysis.words import how, margin_words
from fourierkd.records import Metric, class_score

if TYPE_CHECKING:
    import optuna

REPORT_NAME = "report.html"


def write_report(
    work_dir: str | Path,
    table: pd.DataFrame,
    studies: Mapping[str | None, optuna.Study] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` into ``work_dir``; it loads nothing from outside of itself.

    Args:
        work_dir: where the report goes and what a relative ``run_dir`` of the table is relative to.
        table: a results table; runs may be running, failed, pruned or without pictures.
        studies: Optuna's study of each search (see ``selection.searches``); one that is missing is
            rebuilt from the table's trials.
        info: all optional: ``title``, ``config``, ``command``, ``date``, ``commit``, ``versions``
            (else as the runs recorded them), ``baseline`` (default ``student_alone``), ``metric``
            (a ``Metric``; default: the table's own), ``budget`` (what the methods have equally much
            of) and ``costs`` (method -> ``Cost``, see ``costs.cost_table``), ``margin`` (of
            equivalence, see ``comparison.compare``), ``looked`` (seeds were added after scores were
            seen, as there), ``parts`` (of a component study, see ``factorial.effects``),
            ``search_options`` (of the trials alone, see ``agreement.sentence``), ``notes``
            (sentences for the head), ``unfinished`` (marks the page), ``time`` (part -> seconds;
            parts before ``total`` are shown as shares of it, those after it apart).

    Returns:
        The path of the report.

    Raises:
        FourierKDError: the table cannot be compared (see ``comparison.compare``).
    """
    work_dir, facts = Path(work_dir), dict(info or {})
    view = view_of(table, work_dir, facts)
    metric, comparison = view.metric.name, view.comparison
    answer = answer_of(view)
    tables = study_tables(view)
    drawn = predictions(view.shown, work_dir, view.palette)
    values = {
        "generator": STUDY,
        "sections": _sections(tables, shown=bool(drawn)),
        "headline": answer.headline,
        "title": facts.get("title") or most_common(table["study"]) or "Runs",
        "unfinished": bool(facts.get("unfinished")),
        "subtitle": report_tables.subtitle(table, metric),
        "verdicts": answer.verdicts,
        "warnings": answer.warnings,
        "notes": answer.notes,
        "facts": report_tables.fact_rows(
            table, facts, f"{metric} on {view.split}, {view.metric.direction}d"
        ),
        "metric": metric,
        "label": view.label,
        "baseline": view.baseline,
        "no_comparison": report_tables.no_comparison(view.finals, view.baseline),
        "tables": tables,
        "looked": view.looked,
        "equal": costs.EQUAL[facts.get("budget") or "iterations"],
        "how": how(view.looked),
        "covered": covered(table),
        "teacher": report_tables.teacher_words(teacher_scores(table, metric), metric),
        "margin": margin_words(comparison, metric) if len(comparison) else "",
        "of_parts": _of_parts(view),
        "published": beside_published(table, work_dir, metric=metric),
        "plots": _plots(view),
        "classes": _classes(view),
        "curves_note": _shown_note(
            view.shown, f"{metric} on val: mean over the seeds, with the 95 % t interval as band"
        ),
        "spectra": spectra_parts(view.shown, work_dir, view.palette),
        "spectra_note": _shown_note(view.shown, SPECTRA_NOTE),
        "predictions": drawn,
        "tuning": [
            _tuning(tunes, (studies or {}).get(tunes), part, view.metric)
            | {"agreement": _agreement(part, facts.get("search_options"), metric)}
            for tunes, part in view.searches.items()
        ],
    }
    path = work_dir / REPORT_NAME
    write_page(path, "report.html.j2", values)
    return path


def _sections(tables: Mapping[str, TextTable], *, shown: bool) -> dict[str, str]:
    """Place on the page -> title, for the list of contents."""
    return {
        "result": "Result",
        **({"classes": "Classes"} if "classes" in tables else {}),
        "curves": "Learning curves",
        "spectra": "Spectra",
        **({"predictions": "Predictions"} if shown else {}),
        "tuning": "Tuning",
        "runs": "All runs",
        "time": "Time",
    }


def _of_parts(view: StudyView) -> list[str]:
    """Notes on the design of a component study; empty where it is none, or has no final run."""
    points = view.facts.get("parts")
    if not points or view.finals.empty:
        return []
    return [*factorial.left_out(view.table, points), *factorial.design_sentences(points)]


def _classes(view: StudyView) -> dict[str, Any]:
    """What each method does for each class; empty where no final run has scores of classes."""
    found = found_classes(view)
    if found.empty:
        return {}
    methods = list(view.comparison["method"])  # the baseline, then the best first
    label = f"{class_score(view.metric.name)} ({found['split'].iloc[0]})"
    drawn = drawn_classes(view, found)
    caption = f"{label} of each class minus that of {methods[0]}, with 95 % intervals"
    plot = Markup()
    if drawn:
        axis = f"{label} minus that of {methods[0]}"
        plot = figure_html(
            classes.class_figure(found, label=axis, palette=drawn), "classes", caption
        )
    said = [classes.sentence(found, method, methods[0], label) for method in methods[1:2]]
    return {
        "label": label,
        "methods": methods,
        "sentence": "".join(said),
        "plot": plot,
        "caption": f"{caption}.",
        "drawn": len(drawn),
    }


def _shown_note(shown: pd.DataFrame, what: str) -> str:
    phases = ", ".join(dict.fromkeys(shown["phase"]))
    return f"{what}; runs of phase {phases}." if phases else f"{what}."


def _plots(view: StudyView) -> dict[str, Markup]:
    plots = {"result": Markup(), "curves": Markup()}
    if len(view.comparison):
        figure = figures.result_figure(
            view.scores, view.comparison, label=view.label, palette=view.palette
        )
        plots["result"] = figure_html(
            figure, "result", f"{view.label} of each method: seeds, mean, interval"
        )
    if len(view.val_curves):
        label = f"{view.metric.name} (val)"
        figure = figures.curves_figure(view.val_curves, label=label, palette=view.palette)
        plots["curves"] = figure_html(figure, "curves", f"{label} over training, a line a method")
    return plots


def _tuning(
    tunes: str | None,
    study: optuna.Study | None,
    table: pd.DataFrame,
    metric: Metric,
) -> dict[str, Any]:
    """One search: its choice, and Optuna's figures, each empty where the trials do not suffice.

    ``table``: its part of the results table.
    """
    import optuna

    found = candidates(table, metric=metric)
    tail = f"-{tunes}" if tunes else ""

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        source = study if study is not None else tuning.study_from_table(table, metric=metric)
        page: dict[str, Any] = dict.fromkeys(("history", "importance", "parallel"), Markup())
        page |= {"tunes": tunes or "", "choice": sentence(found, metric.name)}
        page["table"] = choice_name(tunes)
        page |= {"sentence": tuning.sentence(source, metric.name), "note": tuning.note(source)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if tuning.complete_trials(source):
                figure = tuning.history_figure(source, label=f"{metric.name} (val)")
                label = f"{metric.name} (val) of each trial, in their order, and the best so far"
                page["history"] = figure_html(figure, f"history{tail}", label)
                page["history_note"] = f"{label}; pruned at the value they had, failed below all."
            shares = tuning.importances(source)
            if len(shares):
                figure = tuning.importance_figure(shares)
                label = "share of the trials' variation that each parameter explains"
                page["importance"] = figure_html(figure, f"importance{tail}", label)
                names = tuning.drawn_parameters(source)
                figure = parallel_figure(source, names, label=f"{metric.name} (val)")
                label = f"parameters and {metric.name} of each trial in parallel coordinates"
                page["parallel"] = figure_html(figure, f"parallel{tail}", label)
        return page
    finally:
        optuna.logging.set_verbosity(verbosity)


def _agreement(table: pd.DataFrame, options: Mapping[str, Any] | None, metric: str) -> str:
    """How a search's cheaper trials rank beside full runs; empty where they were none."""
    return agreement.sentence(table, options, metric=metric) if options else ""
