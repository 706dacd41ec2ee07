"""Figures of the ledgers of several methods: the tables of ``ledger_methods`` flow in, pictures
with one range for all methods flow out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import pandas as pd

from fourierkd.analysis.figures import FREQUENCY, Style
from fourierkd.analysis.ledger_figure import NOTE, TITLES, heat
from fourierkd.analysis.ledger_methods import MEASURES
from fourierkd.analysis.paper import line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, HIGH = 3.3, 2.9  # inches of a panel
LETTERS = 40  # a line, for each panel in a row
HEADS = TITLES | {
    "cross_gain": (
        "cross-spectrum over teacher's power\n(after the connector; 1: equal, 0: unrelated)"
    ),
    "phase_coherence": "phase coherence, mean cosine\n(1: equal phases, 0: unrelated)",
}
_LEFT: dict[str, Any] = {"fontsize": 9, "x": 0.005, "ha": "left"}  # of titles
BEST = {
    "share_error": 0,
    "amplitude_error": 0,
    "cross_gain": 1,
    "coherence": 1,
    "phase_coherence": 1,
}
ONE_RANGE = "one range of colours in all panels, -1 (blue) to 1 (red)"


def methods_figure(means: pd.DataFrame, *, methods: Iterable[str], title: str) -> Figure:
    """A row a method: each measure of one level by iteration and band.

    Args:
        means: what ``ledger_methods.mean_ledger`` returns, of one level.
        methods: in the order of the rows; those without a ledger have none.
        title: of the study.
    """
    from matplotlib.figure import Figure

    shown = [name for name in MEASURES if means[name].notna().any()]
    methods = [method for method in methods if method in set(means["method"])]
    size = (WIDE * len(shown) + 0.8, 0.9 + HIGH * len(methods))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(_caption(means, title, f"{ONE_RANGE}; {NOTE}", len(shown)), **_LEFT)
    parts = figure.subfigures(len(methods), 1, squeeze=False)[:, 0]
    for part, method in zip(parts, methods, strict=True):
        own = means[means["method"] == method]
        part.suptitle(_words(own, method), **_LEFT)
        axes = part.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, shown, strict=True):
            image = heat(ax, own, name)
            ax.set_title(HEADS[name], fontsize=8)
            if ax is not axes[0]:
                ax.set_ylabel("")
        part.colorbar(image, ax=axes, extend="both", fraction=0.03, pad=0.01)
    return figure


def bands_figure(last: pd.DataFrame, *, palette: Mapping[str, Style], title: str) -> Figure:
    """Each measure of one level over frequency: the mean of each method, its runs as thin lines.

    Args:
        last: what ``ledger_methods.last_of_runs`` returns, of one level.
        palette: method -> style; gives the order too.
        title: of the study.
    """
    from matplotlib.figure import Figure

    bands = last[last["high"] > 0]
    shown = [name for name in MEASURES if bands[name].notna().any()]
    figure = Figure(figsize=(WIDE * len(shown) + 0.8, 3.9), layout="constrained")
    about = (
        "last validation of each run; thick lines: mean of a method, thin ones: its runs; grey "
        "line: a student that equals its teacher"
    )
    figure.suptitle(_caption(last, title, about, len(shown)), **_LEFT)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    methods = [method for method in palette if method in set(bands["method"])]
    for ax, name in zip(axes, shown, strict=True):
        ax.axhline(BEST[name], color="#94a3b8", lw=1)
        for method in methods:
            own = bands[bands["method"] == method].dropna(subset=name)
            own = own.assign(middle=(own["low"] + own["high"]) / 2)
            for _, run in own.groupby("run_dir"):
                ax.plot(run["middle"], run[name], color=palette[method].colour, lw=0.6, alpha=0.45)
            means = own.groupby("middle")[name].mean()
            if len(means):
                ax.plot(means.index, means, label=method, **line(palette[method], marked=True))
        ax.set_xlim(0, 1)
        ax.set_title(HEADS[name].replace("red", "above 0"), fontsize=8)
        ax.set_xlabel(FREQUENCY, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.grid(color="#e5e7eb")
    handles = {
        label: handle
        for ax in axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=6, fontsize=8)
    return figure


def _caption(rows: pd.DataFrame, title: str, about: str, panels: int) -> str:
    """Study and level; then averaging, unit and sign."""
    first = rows.iloc[0]
    where = (
        f"teacher {first['teacher_layer']}" if pd.notna(first["teacher_layer"]) else "no teacher"
    )
    averaged = f"mean over {first['images']} fixed val images and all channels"
    about = fill(f"{averaged}; {about}", LETTERS * max(panels, 2))
    return f"{title}: student {first['layer']}, {where}\n{about}"


def _words(own: pd.DataFrame, method: str) -> str:
    """What a method's runs compare, in words, with the connector."""
    first = own.iloc[0]
    runs = own["n"].max()
    counted = f"{runs} run" if runs == 1 else f"mean of {runs} runs"
    return f"{method} ({counted}): {first['compared']}; maps of {first['height']}x{first['width']}"
