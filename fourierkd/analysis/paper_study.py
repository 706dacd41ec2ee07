"""A study's figures for papers: its view flows in, PDF and SVG files flow out.

They show what the page's figures show; matplotlib draws them, which needs no browser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fourierkd.analysis import tuning
from fourierkd.analysis.classes import class_order
from fourierkd.analysis.curves import mean_curves, scalar_curves
from fourierkd.analysis.figures import FREQUENCY, TEACHER, Style
from fourierkd.analysis.paper import WIDTH, draw_curves, line, marker, save, styled
from fourierkd.analysis.parallel import BEST, WORST, Parallel, parallel_axes
from fourierkd.analysis.report_spectra import profiles
from fourierkd.analysis.study_tables import drawn_classes, found_classes
from fourierkd.analysis.view import StudyView
from fourierkd.records import class_score

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (".pdf", ".svg")
_STATES = {"complete": "o", "pruned": "x", "failed": "v"}  # of trials -> symbol
Draw = Callable[["Figure"], None]


def write_figures(
    view: StudyView, studies: Mapping[str | None, optuna.Study], folder: Path
) -> list[Path]:
    """Write every figure that the study has so far as PDF and SVG.

    Args:
        view: of the study.
        studies: of each search, as ``report.write_report`` takes them.
        folder: where ``<figure>.pdf`` and ``.svg`` go.

    Returns:
        The paths.
    """
    drawn: dict[str, tuple[float, Draw]] = {  # name -> height in inches, and who draws it
        **_of_result(view),
        **_of_spectra(view),
    }
    for tunes, part in view.searches.items():
        study = studies.get(tunes) or tuning.study_from_table(part, metric=view.metric)
        drawn |= _of_search(study, f"-{tunes}" if tunes else "", f"{view.metric.name} (val)")
    written = []
    for name, (height, draw) in drawn.items():
        with styled(WIDTH, height) as figure:
            draw(figure)
            for kind in KINDS:
                written.append(folder / f"{name}{kind}")
                save(figure, written[-1])
    return written


def _alone(draw: Callable[..., None], *what: Any) -> Draw:
    """Draws on the one pair of axes of a figure."""
    return lambda figure: draw(figure.add_subplot(), *what)


def _of_result(view: StudyView) -> dict[str, tuple[float, Draw]]:
    found: dict[str, tuple[float, Draw]] = {}
    if len(view.comparison):
        found["result"] = (0.8 + 0.34 * len(view.comparison), _alone(_result, view))
    if len(view.val_curves):
        label = f"{view.metric.name} (val)"
        found["curves"] = (2.8, _alone(draw_curves, view.val_curves, view.palette, label))
    of_classes = found_classes(view)
    drawn = drawn_classes(view, of_classes) if len(of_classes) else {}
    if drawn:
        height = 0.9 + of_classes["class"].nunique() * (0.12 + 0.1 * len(drawn))
        found["classes"] = (height, _alone(_classes, view, of_classes, drawn))
    return found


def _of_spectra(view: StudyView) -> dict[str, tuple[float, Draw]]:
    found: dict[str, tuple[float, Draw]] = {}
    for name, arrays in profiles(view.shown, view.work_dir, view.palette).items():
        found[f"profile-{name}"] = (2.8, _alone(_profile, arrays, view.palette))
    gaps = scalar_curves(view.shown, view.work_dir, prefix="spectra/")
    for loss, own in gaps.groupby(gaps["name"].str.split("/").str[1], sort=False):
        draw = partial(_gaps, curves=mean_curves(own), palette=view.palette)
        found[f"gap-{loss}"] = (2.6, draw)
    return found


def _of_search(study: optuna.Study, tail: str, label: str) -> dict[str, tuple[float, Draw]]:
    found: dict[str, tuple[float, Draw]] = {}
    if tuning.complete_trials(study):
        found[f"history{tail}"] = (2.6, _alone(_history, study, label))
    shares = tuning.importances(study)
    if len(shares):
        found[f"importance{tail}"] = (0.8 + 0.26 * len(shares), _alone(_importance, shares))
        names = tuning.drawn_parameters(study)
        axes = parallel_axes(study, names, label)
        found[f"parallel{tail}"] = (3.0, _alone(_parallel, axes))
    return found


def _result(axes: Axes, view: StudyView) -> None:
    order = list(view.comparison["method"])
    for _, group in view.scores.groupby("seed"):
        own = group.set_index("method").reindex(order).dropna(subset=["value"])
        places = [order.index(method) for method in own.index]
        axes.plot(own["value"], places, color="#cbd5e1", linewidth=0.8, zorder=1)
        dots: Any = {"s": 14, "facecolor": "white", "edgecolor": "#475569", "linewidth": 0.8}
        axes.scatter(own["value"], places, zorder=3, **dots)
    for place, row in enumerate(view.comparison.to_dict("records")):
        half = row["high"] - row["mean"]
        axes.errorbar(
            row["mean"],
            place,
            xerr=half if math.isfinite(half) else None,
            fmt="D",
            markersize=5,
            color=view.palette[row["method"]].colour,
            capsize=2.5,
            zorder=2,
        )
    _named(axes, order)
    axes.set_xlabel(view.label)


def _classes(axes: Axes, view: StudyView, found: pd.DataFrame, drawn: Mapping[str, Style]) -> None:
    order = class_order(found, next(iter(drawn)))
    for place, (method, style) in enumerate(drawn.items()):
        own = found[(found["method"] == method) & found["difference"].notna()]
        half = (own["diff_high"] - own["difference"]).where(np.isfinite(own["diff_high"]))
        shift = 0.7 * ((place + 0.5) / len(drawn) - 0.5)
        axes.errorbar(
            own["difference"],
            [order.index(name) + shift for name in own["class"]],
            xerr=half,
            fmt=marker(style),
            markersize=3.5,
            color=style.colour,
            label=method,
            capsize=1.5,
            linewidth=0.9,
        )
    axes.axvline(0, color="#475569", linewidth=0.8)
    _named(axes, order)
    score = f"{class_score(view.metric.name)} ({found['split'].iloc[0]})"
    axes.set_xlabel(f"{score} minus that of {view.baseline}")
    axes.legend(fontsize=7, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))


def _named(axes: Axes, order: list[str]) -> None:
    """Names on the value-less axis, the first on top."""
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _profile(
    axes: Axes, profiles: Mapping[str, Mapping[str, np.ndarray]], palette: Mapping[str, Style]
) -> None:
    first = next(iter(profiles.values()))
    axes.plot(
        first["radius"],
        first["teacher_profile"],
        label="teacher",
        **line(TEACHER, marked=False),
    )
    for method, arrays in profiles.items():
        own = line(palette[method], marked=len(arrays["radius"]) <= 30)
        axes.plot(arrays["radius"], arrays["student_profile"], label=method, **own)
    for edge in first.get("band_edges", np.zeros(0))[1:-1]:
        axes.axvline(float(edge), color="#94a3b8", linewidth=0.7, linestyle=":")
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_xlabel(FREQUENCY)
    axes.set_ylabel("radial power")
    axes.legend(fontsize=7)


def _gaps(figure: Figure, curves: pd.DataFrame, palette: Mapping[str, Style]) -> None:
    names = list(dict.fromkeys(curves["name"]))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        own = curves[curves["name"] == name].assign(low=math.nan, high=math.nan)
        draw_curves(axes, own, palette, "", legend=name == names[0])
        axes.axhline(0, color="#94a3b8", linewidth=0.8)
        axes.set_title(f"{name.rsplit('/gap_', 1)[-1]} Nyquist", fontsize=8)
    panels[0].set_ylabel("gap (above 0: student lacks energy)")


def _history(axes: Axes, study: optuna.Study, label: str) -> None:
    history = tuning.history(study)
    for state, (colour, _) in tuning.STATE_STYLES.items():
        own = history[history["state"] == state]
        if len(own):
            drawn: Any = {"s": 14, "color": colour, "marker": _STATES[state]}
            axes.scatter(own["trial"], own["drawn"], label=state, **drawn)
    best = history.dropna(subset=["best"])
    axes.step(best["trial"], best["best"], where="post", color="#0072b2", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(label)
    axes.legend(fontsize=7)


def _importance(axes: Axes, shares: pd.Series) -> None:
    bars = axes.barh(list(shares.index), shares.to_numpy(), color="#0072b2", height=0.6)
    axes.bar_label(bars, [f"{value:.2f}" for value in shares], padding=3, fontsize=7)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("share of variation explained")


def _parallel(axes: Axes, found: Parallel) -> None:
    for places, share in zip(found.places, found.shares, strict=True):
        ends = zip(WORST, BEST, strict=True)
        colour = tuple((low + share * (high - low)) / 255 for low, high in ends)
        axes.plot(places, color=colour, linewidth=0.8, alpha=0.35 + 0.6 * share)
    for place, axis in enumerate(found.axes):
        axes.axvline(place, color="#475569", linewidth=0.8)
        for where, text in axis.ticks:
            axes.text(place + 0.03, where, text, fontsize=6)
    axes.set_xticks(range(len(found.axes)), [axis.name for axis in found.axes], fontsize=7)
    axes.set_yticks([])
    axes.grid(visible=False)
