"""The HTML report: results, run folders and the study flow in, one self-contained file out."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from fourierkd.analysis import agreement, classes, costs, factorial, figures, report_tables, tuning
from fourierkd.analysis.comparison import compare
from fourierkd.analysis.curves import mean_curves, scalar_curves
from fourierkd.analysis.gap import gap_closed, teacher_scores
from fourierkd.analysis.headline import headline
from fourierkd.analysis.predictions import predictions
from fourierkd.analysis.published import beside_published
from fourierkd.analysis.results import metric_of, metric_values, most_common
from fourierkd.analysis.selection import (
    candidates,
    chosen_row,
    found_by_tuning,
    of_search,
    searches,
    sentence,
    tuned_method,
)
from fourierkd.analysis.spectra import Spectrum, last_spectra
from fourierkd.analysis.teachers import covered
from fourierkd.analysis.words import how, margin_words, sentences
from fourierkd.errors import DataError
from fourierkd.records import Metric, Phase, State, class_score
from fourierkd.run_dir import RunDir, write_atomic

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

REPORT_NAME = "report.html"
BASELINE = "student_alone"
SPECTRA_NOTE = (
    "Frequencies are fractions of the Nyquist frequency of the layer's own map. Radial power: the "
    "mean of |F|² in rings of equal width; dotted lines are the edges of the bands. Gap of a band: "
    "(E_T - E_S) / (E_T + E_S) of the energies of teacher and student; 0, equal energy, is best; "
    "above 0 the student lacks energy there, at 1 it has none, below 0 it has more than the "
    "teacher. Profiles and pictures: newest validation with spectra, lowest seed of each method; "
    "gap: mean over the seeds and over the levels of a loss"
)
MAX_DRAWN = 160  # differences of classes in one figure; of more, those of the best method alone
# The named buttons only: plotly's default bar has one that sends the data to its makers.
PLOT_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
}


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
    import jinja2
    from plotly.offline import get_plotlyjs

    work_dir, facts = Path(work_dir), dict(info or {})
    measured = metric_of(table, facts.get("metric"))
    metric = measured.name
    baseline = facts.get("baseline") or BASELINE
    looked = bool(facts.get("looked"))
    compared: dict[str, Any] = {"metric": measured, "margin": facts.get("margin"), "looked": looked}
    finals = table[table["phase"] == Phase.FINAL]
    own = {tunes: of_search(table, tunes) for tunes in searches(table)}
    rows = {t: chosen_row(part, metric=measured) for t, part in own.items()}
    chosen = [row for row in rows.values() if row is not None]
    shown = _shown_runs(table, chosen)
    comparison = pd.DataFrame()
    order = list(dict.fromkeys(shown["method"]))
    if baseline in set(finals["method"]):
        comparison = compare(table, baseline=baseline, **compared)
        order = list(comparison["method"])
    palette = figures.colours(order, baseline)
    split = most_common(finals["split"]) or most_common(shown["split"]) or "val"
    tuned = tuned_method(of_search(table, None), metric=measured)
    page = {
        "headline": headline(table, baseline=baseline, **compared),
        "title": facts.get("title") or most_common(table["study"]) or "Runs",
        "unfinished": bool(facts.get("unfinished")),
        "subtitle": report_tables.subtitle(table, metric),
        "verdicts": sentences(comparison, metric) if len(comparison) else [],
        "notes": list(facts.get("notes") or []),
        "facts": report_tables.fact_rows(
            table, facts, f"{metric} on {split}, {measured.direction}d"
        ),
        "font": Markup(figures.FONT),
        "plotly_js": Markup(get_plotlyjs()),
        "metric": metric,
        "label": f"{metric} ({split})",
        "baseline": baseline,
        "no_comparison": report_tables.no_comparison(finals, baseline),
        "comparison": report_tables.comparison_rows(comparison, palette, tuned),
        "shares": report_tables.share_cells(
            gap_closed(table, baseline=baseline, metric=measured), looked
        ),
        "looked": looked,
        "cost": _cost(table, facts, baseline),
        "how": how(looked),
        "covered": covered(table),
        "teacher": report_tables.teacher_words(teacher_scores(table, metric), metric),
        "margin": margin_words(comparison, metric) if len(comparison) else "",
        "matrix": report_tables.pair_rows(table, comparison, compared),
        "components": _components(table, facts.get("parts"), compared),
        "published": beside_published(table, work_dir, metric=metric),
        "plots": _plots(shown, comparison, work_dir, metric, palette),
        "classes": _classes(table, comparison, palette, looked=looked, metric=metric),
        "curves_note": _shown_note(
            shown, "Mean on val over the seeds, with the 95 % t interval as band"
        ),
        "spectra": _spectra(shown, work_dir, palette),
        "spectra_note": _shown_note(shown, SPECTRA_NOTE),
        "predictions": predictions(shown, work_dir, palette),
        "tuned": report_tables.tuned_rows(found_by_tuning(table, metric=measured)),
        "tuning": [
            _tuning(tunes, (studies or {}).get(tunes), part, measured)
            | {"agreement": _agreement(part, facts.get("search_options"), metric)}
            for tunes, part in own.items()
        ],
        "runs": report_tables.run_rows(table, chosen),
        "phases": report_tables.phase_rows(table),
        "time": report_tables.time_rows(facts.get("time") or {}),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    path = work_dir / REPORT_NAME
    write_atomic(path, environment.get_template("report.html.j2").render(page))
    return path


def _cost(table: pd.DataFrame, facts: Mapping[str, Any], baseline: str) -> dict[str, Any]:
    """What the final runs cost."""
    budget, known = facts.get("budget"), facts.get("costs") or {}
    found = costs.cost_table(table, known, baseline=baseline)
    return {
        "equal": costs.EQUAL[budget or "iterations"],
        "heads": costs.heads(found),
        "rows": costs.cost_rows(found),
        "notes": costs.cost_notes(found, known, budget),
    }


def _components(
    table: pd.DataFrame, points: factorial.Points | None, measure: Mapping[str, Any]
) -> dict[str, Any]:
    """Effects of the parts of a component study; empty where it is none, or has no final run."""
    if not points or not (table["phase"] == Phase.FINAL).any():
        return {}
    found = factorial.effects(table, points, **measure)
    return {
        "rows": report_tables.effect_rows(found),
        "sentences": factorial.effect_sentences(found, measure["metric"].name),
        "notes": [*factorial.left_out(table, points), *factorial.design_sentences(points)],
    }


def _classes(
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    palette: Mapping[str, str],
    *,
    looked: bool,
    metric: str,
) -> dict[str, Any]:
    """What each method does for each class; empty where no final run has scores of classes."""
    if comparison.empty:
        return {}
    methods = list(comparison["method"])  # the baseline, then the best first
    found = classes.compare_classes(table, baseline=methods[0], looked=looked)
    if found.empty:
        return {}
    label = f"{class_score(metric)} ({found['split'].iloc[0]})"
    drawn = {method: palette[method] for method in methods[1:]}
    if len(drawn) * found["class"].nunique() > MAX_DRAWN:
        drawn = dict(list(drawn.items())[:1])
    figure = None
    if drawn and found["difference"].notna().any():
        figure = classes.class_figure(
            found, label=f"{label} minus that of {methods[0]}", palette=drawn
        )
    said = [classes.sentence(found, method, methods[0], label) for method in methods[1:2]]
    return {
        "label": label,
        "methods": methods,
        "rows": classes.class_rows(found, methods, methods[0]),
        "sentence": "".join(said),
        "plot": _html(figure, "classes") if figure else Markup(),
        "drawn": len(drawn),
    }


def _shown_runs(table: pd.DataFrame, chosen: Sequence[Hashable]) -> pd.DataFrame:
    """The runs drawn in curves and spectra, with their label in ``method``.

    The final runs; before there are any: all runs beside the searches, and the chosen trials. A
    method with several runs of one seed is shown run by run, by folder name.
    """
    finals = table[(table["phase"] == Phase.FINAL) & table["method"].notna()]
    if len(finals):
        return finals
    shown = table[
        table["phase"].notna() & ~table["phase"].isin([Phase.TRIAL, Phase.RUNG, Phase.TEACHER])
    ]
    shown = pd.concat([shown, table.loc[[row for row in chosen if row not in shown.index]]])
    shown = shown.assign(method=shown["method"].fillna("run"))
    repeated = shown.duplicated(["method", "seed"], keep=False)
    folders = shown["run_dir"].map(lambda name: Path(name).name)
    return shown.assign(method=shown["method"].where(~repeated, folders))


def _shown_note(shown: pd.DataFrame, what: str) -> str:
    phases = ", ".join(dict.fromkeys(shown["phase"]))
    return f"{what}; runs of phase {phases}." if phases else f"{what}."


def _plots(
    shown: pd.DataFrame,
    comparison: pd.DataFrame,
    work_dir: Path,
    metric: str,
    palette: Mapping[str, str],
) -> dict[str, Markup]:
    plots = {"result": Markup(), "curves": Markup()}
    if len(comparison):
        whole = shown[shown["state"] == State.COMPLETE]
        scores = whole.assign(value=metric_values(whole, metric))[["method", "seed", "value"]]
        label = f"{metric} ({most_common(whole['split'])})"
        figure = figures.result_figure(scores, comparison, label=label, palette=palette)
        plots["result"] = _html(figure, "result")
    curves = scalar_curves(shown, work_dir, prefix=f"val/{metric}")
    curves = curves[curves["name"] == f"val/{metric}"]
    if len(curves):
        figure = figures.curves_figure(
            mean_curves(curves), label=f"{metric} (val)", palette=palette
        )
        plots["curves"] = _html(figure, "curves")
    return plots


def _spectra(
    shown: pd.DataFrame, work_dir: Path, palette: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One part per loss and level: radial profiles, gap per band over time, pictures per method."""
    found = _last_spectra(shown, work_dir, palette)
    parts = [_spectrum_part(i, found[name], palette, name) for i, name in enumerate(found)]
    gaps = scalar_curves(shown, work_dir, prefix="spectra/")
    for i, (loss, own) in enumerate(gaps.groupby(gaps["name"].str.split("/").str[1], sort=False)):
        gap = _html(figures.gap_figure(mean_curves(own), palette=palette), f"gap-{i}")
        same = [p for p in parts if p["name"] == loss or p["name"].startswith(f"{loss}_")]
        if same:
            same[0]["gap"] = gap
        else:
            empty = {"captions": [], "profile": Markup(), "pictures": [], "problems": []}
            parts.append({"name": loss, "gap": gap, **empty})
    return parts


def _last_spectra(
    shown: pd.DataFrame, work_dir: Path, methods: Iterable[str]
) -> dict[str, dict[str, tuple[Any, Spectrum]]]:
    """Loss and level -> method -> (seed, spectrum) of the method's first run that has any."""
    found: dict[str, dict[str, tuple[Any, Spectrum]]] = {}
    for method in methods:
        own = shown[(shown["method"] == method) & (shown["state"] != State.FAILED)]
        for run in own.sort_values("seed").to_dict("records"):
            spectra = last_spectra(RunDir(work_dir / run["run_dir"]))
            for spectrum in spectra:
                found.setdefault(spectrum.name, {})[method] = (run["seed"], spectrum)
            if spectra:
                break
    return found


def _spectrum_part(
    number: int,
    by_method: Mapping[str, tuple[Any, Spectrum]],
    palette: Mapping[str, str],
    name: str,
) -> dict[str, Any]:
    """Profile and pictures of one loss and level; arrays that cannot be read are problems."""
    arrays, problems = {}, []
    for method, (_, spectrum) in by_method.items():
        try:
            if spectrum.npz is not None:
                arrays[method] = spectrum.arrays()
        except DataError as error:
            problems.append(f"{method}: {error}")
    profile = figures.profile_figure(arrays, palette=palette) if arrays else None
    captions: dict[str, list[str]] = {}
    for method, own in arrays.items():
        if "caption" in own:
            captions.setdefault(str(own["caption"]), []).append(method)
    pictures = [
        {
            "method": method,
            "colour": palette[method],
            "caption": f"seed {seed}, iteration {spectrum.iteration}",
            "data": _inlined(spectrum.png),
        }
        for method, (seed, spectrum) in by_method.items()
        if spectrum.png is not None
    ]
    return {
        "name": name,
        "captions": [f"{', '.join(methods)}: {text}" for text, methods in captions.items()],
        "profile": _html(profile, f"profile-{number}") if profile else Markup(),
        "gap": Markup(),
        "pictures": pictures,
        "problems": problems,
    }


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
        page["candidates"] = report_tables.candidate_rows(found)
        page |= {"sentence": tuning.sentence(source, metric.name), "note": tuning.note(source)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if tuning.complete_trials(source):
                page["history"] = _html(
                    tuning.history_figure(source, label=metric.name), f"history{tail}"
                )
            shares = tuning.importances(source)
            if len(shares):
                page["importance"] = _html(tuning.importance_figure(shares), f"importance{tail}")
                names = tuning.drawn_parameters(source)
                figure = tuning.parallel_figure(source, names, label=metric.name)
                page["parallel"] = _html(figure, f"parallel{tail}")
        return page
    finally:
        optuna.logging.set_verbosity(verbosity)


def _agreement(table: pd.DataFrame, options: Mapping[str, Any] | None, metric: str) -> str:
    """How a search's cheaper trials rank beside full runs; empty where they were none."""
    return agreement.sentence(table, options, metric=metric) if options else ""


def _html(figure: Figure, name: str) -> Markup:
    """The figure's own HTML; plotly escapes what is inside its JSON."""
    text = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        include_mathjax=False,
        div_id=f"plot-{name}",
        default_height=f"{figure.layout.height}px",
        config=PLOT_CONFIG,
    )
    return Markup(text)


def _inlined(png: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
