"""Figures of confusion matrices, precision-recall curves and AP by size: what ``class_arrays``
found flows in, plotly figures flow out. The methods of a figure have one range of colours or axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fourierkd.analysis.class_arrays import SIZES, row_shares
from fourierkd.analysis.figures import FONT, GRID, Style, blank_figure, layout

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLUMNS = 3  # panels in a row
NUMBERED = 10  # classes up to which every field of a matrix has its number
PANEL = 230  # px, at least
OVERLAPS = (0.5, 0.75)  # of precision-recall curves that are drawn
SEED_SIZE, MEAN_SIZE = 5, 10


def confusion_figure(
    found: Mapping[str, tuple[pd.DataFrame, int]], *, against: str | None = None
) -> Figure:
    """A matrix a method, in percent of the truth's class.

    Args:
        found: what ``class_arrays.confusions`` returns, in the order of the panels.
        against: a method of these: the others are shown minus it, in percentage points.
    """
    shares = {method: row_shares(matrix) for method, (matrix, _) in found.items()}
    counts = {method: count for method, (_, count) in found.items()}
    if against is not None:
        base = shares.pop(against)
        shares = {method: own - base for method, own in shares.items()}
    names = {escape(str(name)): None for own in shares.values() for name in own.index}
    classes, letters = len(names), max(map(len, names))
    minus = f" minus {escape(against)}" if against is not None else ""
    titles = [f"{escape(m)}{minus} (n={counts[m]})" for m in shares]
    size = max(PANEL, 26 * min(classes, 24))
    figure, places = _grid(titles, size, gap=0.02, bottom=34 + 6 * min(letters, 24))
    form = ".1f" if against is None else "+.1f"
    for (row, column), own in zip(places, shares.values(), strict=True):
        figure.add_heatmap(
            z=own.to_numpy(),
            x=[escape(str(name)) for name in own.columns],
            y=[escape(str(name)) for name in own.index],
            text=_numbers(own, signed=against is not None) if classes <= NUMBERED else None,
            texttemplate="%{text}",
            coloraxis="coloraxis",
            hovertemplate=f"truth %{{y}}, predicted %{{x}}: %{{z:{form}}}<extra></extra>",
            row=row,
            col=column,
        )
        figure.update_xaxes(title="predicted", title_standoff=4, row=row, col=column)
        first = {"title": "truth", "title_standoff": 4, "automargin": True}
        figure.update_yaxes(
            **(first if column == 1 else {"showticklabels": False}), row=row, col=column
        )
    figure.update_xaxes(type="category", tickangle=90, showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    if against is None:
        scale = {"colorscale": "Blues", "cmin": 0, "cmax": 100}
        title = "% of the<br>truth's class"
    else:
        limit = max(1.0, *(float(np.nanmax(np.abs(own))) for own in shares.values()))
        scale = {"colorscale": "RdBu_r", "cmin": -limit, "cmax": limit}
        title = "percentage<br>points"
    bar = {"title": {"text": title, "font_size": 11}, "thickness": 12}
    return figure.update_layout(coloraxis=scale | {"colorbar": bar})


def _numbers(shares: pd.DataFrame, *, signed: bool) -> list[list[str]]:
    """Whole numbers for the fields; what rounds to 0 has none."""
    form = "+.0f" if signed else ".0f"
    return [
        [f"{value:{form}}" if abs(value) >= 0.5 else "" for value in row]
        for row in shares.to_numpy()
    ]


def recall_figure(
    curves: pd.DataFrame, *, palette: Mapping[str, Style], classes: Sequence[str] = ()
) -> Figure:
    """Precision over recall, a line a method.

    Args:
        curves: what ``class_arrays.precision_recall`` returns, of one kind.
        palette: method -> style; gives the order too.
        classes: a panel for each of these at the least overlap; by default a panel an overlap of
            ``OVERLAPS``, mean over all classes.
    """
    known = sorted(curves["threshold"].unique())
    overlaps = [t for t in known if t in OVERLAPS] or known[:1]
    if classes:
        panels = {
            f"{escape(name)}, IoU {overlaps[0]:g}": curves[
                (curves["class"] == name) & (curves["threshold"] == overlaps[0])
            ]
            for name in classes
        }
    else:
        panels = {
            f"mean over {curves['class'].nunique()} classes, IoU {overlap:g}": curves[
                curves["threshold"] == overlap
            ]
            for overlap in overlaps
        }
    figure, places = _grid(list(panels), PANEL, gap=0.06, bottom=46)
    named: set[str] = set()
    for (row, column), own in zip(places, panels.values(), strict=True):
        means = own.groupby(["method", "recall"], sort=False)["precision"].mean()
        for method in (m for m in palette if m in means.index.get_level_values(0)):
            line = means[method]
            figure.add_scatter(
                x=line.index,
                y=line,
                name=escape(method),
                mode="lines",
                line={"color": palette[method].colour, "width": 2, "dash": palette[method].dash},
                legendgroup=method,
                showlegend=method not in named,
                hovertemplate=f"{escape(method)}: %{{y:.3f}} at %{{x:.2f}}<extra></extra>",
                row=row,
                col=column,
            )
            named.add(method)
        if column == 1:
            figure.update_yaxes(title="precision", row=row, col=column)
        figure.update_xaxes(title="recall", title_standoff=4, row=row, col=column)
    figure.update_xaxes(range=[0, 1])
    return figure.update_yaxes(range=[0, 1.02])


def sizes_figure(found: pd.DataFrame, *, palette: Mapping[str, Style], label: str) -> Figure:
    """AP by size of the objects: the mean of each method, its runs as smaller points.

    Args:
        found: what ``class_arrays.sizes`` returns, of one metric.
        palette: method -> style; gives the order too.
        label: of the value axis.
    """
    methods = [method for method in palette if method in set(found["method"])]
    order = [size for size in SIZES.values() if size in set(found["size"])]
    figure = blank_figure(height=300)
    for place, method in enumerate(methods):
        own, style = found[found["method"] == method], palette[method]
        shift = 0.7 * ((place + 0.5) / len(methods) - 0.5)
        figure.add_scatter(
            x=[order.index(size) + shift for size in own["size"]],
            y=own["value"],
            mode="markers",
            marker={"color": style.colour, "size": SEED_SIZE, "opacity": 0.5},
            text=[f"seed {seed}" for seed in own["seed"]],
            hovertemplate=f"{escape(method)}, %{{text}}: %{{y:.3f}}<extra></extra>",
            showlegend=False,
            legendgroup=method,
        )
        means = own.groupby("size")["value"].mean()
        figure.add_scatter(
            x=[order.index(str(size)) + shift for size in means.index],
            y=means,
            name=escape(method),
            mode="markers",
            marker={"color": style.colour, "size": MEAN_SIZE, "symbol": style.symbol},
            hovertemplate=f"{escape(method)}, mean: %{{y:.3f}}<extra></extra>",
            legendgroup=method,
        )
    figure.update_xaxes(
        tickvals=list(range(len(order))),
        ticktext=order,
        range=[-0.5, len(order) - 0.5],
        title="size of the objects (COCO: below 32², to 96², above, in px)",
    )
    return figure.update_yaxes(title=label, rangemode="tozero")


def _grid(
    titles: Sequence[str], size: int, *, gap: float, bottom: int
) -> tuple[Figure, list[tuple[int, int]]]:
    """Panels of ``size`` px in height, and row and column of each.

    Args:
        titles: one a panel.
        gap: between panels, in parts of the width.
        bottom: px between rows, for the labels below a panel.
    """
    from plotly.subplots import make_subplots

    columns = min(COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    inner = rows * size + (rows - 1) * (bottom + 34)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=titles,
        horizontal_spacing=gap,
        vertical_spacing=(bottom + 34) / inner if rows > 1 else 0,
    )
    margins: dict[str, Any] = {"t": 92, "b": bottom + 8, "l": 64, "r": 16}
    figure.update_layout(layout(inner + margins["t"] + margins["b"]), margin=margins)
    title = {"x": 0.01, "y": 1, "yref": "container", "yanchor": "top", "pad_t": 12, "font_size": 14}
    figure.update_layout(legend={"y": 1 + 30 / inner}, title=title)  # the legend stands below it
    figure.update_annotations(font={"size": 12, "family": FONT})
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure, [(i // columns + 1, i % columns + 1) for i in range(len(titles))]
