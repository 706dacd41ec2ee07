"""Plotly figures of a comparison: tables and arrays flow in, figures in one style flow out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Style(NamedTuple):
    """How one method is drawn: a colour, and what says the same without it."""

    colour: str
    dash: str  # of its line, as plotly names it
    symbol: str  # of its points


# Okabe and Ito's colours, told apart with any colour vision; the baseline is always grey. Lines and
# symbols run through cycles of other lengths, so two methods that share a colour differ in both.
BASELINE = Style("#6b7280", "dot", "circle-open")
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("solid", "longdash", "dashdot", "5px,2px,2px,2px,2px,2px", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "x", "star")
TEACHER_COLOUR = "#111827"
TEACHER = Style(TEACHER_COLOUR, "dash", "star-open")
MARKED = 30  # points of a line that are few enough to be told apart
FREQUENCY = "frequency (fraction of Nyquist)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
GRID = "#e5e7eb"
SEED_LINE = {"color": "#cbd5e1", "width": 1}
SEED_DOT = {"color": "white", "size": 7, "line": {"color": "#475569", "width": 1.2}}


def styles(methods: Iterable[str], baseline: str | None = None) -> dict[str, Style]:
    """One style a method, in their order; grey and dotted for the baseline, which comes last."""
    others = [m for m in dict.fromkeys(methods) if m != baseline]
    chosen = {
        method: Style(PALETTE[i % len(PALETTE)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)])
        for i, method in enumerate(others)
    }
    return chosen | ({baseline: BASELINE} if baseline else {})


def result_figure(
    scores: pd.DataFrame, comparison: pd.DataFrame, *, label: str, palette: Mapping[str, Style]
) -> Figure:
    """Every seed as a dot, mean and interval per method; dots of one seed are joined.

    Args:
        scores: columns ``method, seed, value``.
        comparison: what ``comparison.compare`` returns; its order is the order on the axis.
        label: of the value axis.
        palette: method -> style.
    """
    figure = blank_figure(height=80 + 46 * len(comparison))
    order = list(comparison["method"])
    dots = []
    for seed, group in scores.groupby("seed"):
        group = group.set_index("method").reindex(order).dropna(subset=["value"])
        x, y = list(group["value"]), [order.index(m) for m in group.index]
        figure.add_scatter(x=x, y=y, mode="lines", line=SEED_LINE, hoverinfo="skip")
        dots.append((f"seed {seed}: %{{x:.3f}}<extra></extra>", x, y))
    for i, row in enumerate(comparison.to_dict("records")):
        half, colour = row["high"] - row["mean"], palette[row["method"]].colour
        bar = {"array": [half], "color": colour, "thickness": 2.5}
        figure.add_scatter(
            x=[row["mean"]],
            y=[i],
            mode="markers",
            marker={"color": colour, "size": 12, "symbol": "diamond"},
            error_x=bar if math.isfinite(half) else None,
            hovertemplate=f"{row['method']}: %{{x:.3f}}<extra></extra>",
        )
    for text, x, y in dots:
        figure.add_scatter(x=x, y=y, mode="markers", marker=SEED_DOT, hovertemplate=text)
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=order,
        range=[len(order) - 0.5, -0.5],
        showgrid=False,
    )
    figure.update_xaxes(title=label)
    return figure.update_layout(showlegend=False)


def curves_figure(
    curves: pd.DataFrame,
    *,
    label: str,
    palette: Mapping[str, Style],
    title: str = "",
    height: int = 330,
    log: bool = False,
) -> Figure:
    """Mean over seeds per method, with the interval as a band.

    Args:
        curves: what ``curves.mean_curves`` returns, of one scalar.
        label: of the value axis.
        palette: method -> style; gives the order too.
        log: the value axis is logarithmic; values must be above 0.
    """
    figure = blank_figure(height=height)
    for method in (m for m in palette if m in set(curves["method"])):
        own = curves[curves["method"] == method].sort_values("iter")
        band = own.dropna(subset=["low"])
        if len(band):
            figure.add_scatter(
                x=[*band["iter"], *band["iter"][::-1]],
                y=[*band["high"], *band["low"][::-1]],
                fill="toself",
                fillcolor=_faint(palette[method].colour),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=method,
            )
        figure.add_scatter(
            x=own["iter"],
            y=own["mean"],
            name=method,
            mode="lines+markers" if len(own) <= MARKED else "lines",
            **_drawn(palette[method], size=6),
            legendgroup=method,
            hovertemplate=f"{method}, iteration %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    if log:
        figure.update_yaxes(type="log", exponentformat="power")
    else:
        _set_range(figure, curves)
    figure.update_xaxes(title="iteration")
    return _titled(figure.update_yaxes(title=label), title)


def gap_figure(curves: pd.DataFrame, *, palette: Mapping[str, Style]) -> Figure:
    """Gap between teacher and student over training: one panel per band, one line per method.

    Above 0 the student has less energy than the teacher in the band, below 0 it has more.

    Args:
        curves: what ``curves.mean_curves`` returns for ``spectra/<loss>/gap_<band>`` of one loss.
        palette: method -> style.
    """
    from plotly.subplots import make_subplots

    names = list(dict.fromkeys(curves["name"]))
    titles = [f"{name.rsplit('/gap_', 1)[-1]} Nyquist" for name in names]
    figure = make_subplots(
        1, len(names), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.02
    )
    for column, name in enumerate(names, start=1):
        for method in (m for m in palette if m in set(curves["method"])):
            own = curves[(curves["method"] == method) & (curves["name"] == name)]
            figure.add_scatter(
                x=own["iter"],
                y=own["mean"],
                name=method,
                mode="lines+markers",
                **_drawn(palette[method], size=5),
                legendgroup=method,
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_layout(**layout(330), margin_t=64)
    figure.update_layout(legend_y=1.12).update_annotations(font_size=12)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, nticks=4)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title="iteration", col=(len(names) + 1) // 2)
    figure.add_hline(y=0, line={"color": "#94a3b8", "width": 1})
    return figure.update_yaxes(title="gap (above 0: student lacks energy)", col=1)


def profile_figure(
    profiles: Mapping[str, Mapping[str, np.ndarray]],
    *,
    palette: Mapping[str, Style],
    title: str = "",
) -> Figure:
    """Radial power over frequency: the student of every method, the teacher in black.

    Dotted lines are the inner edges of the bands, on the axis of the profiles.

    Args:
        profiles: method -> arrays of ``spectra.Spectrum.arrays`` of one loss and level.
        palette: method -> style.
    """
    figure = blank_figure(height=330)
    for i, (method, arrays) in enumerate(profiles.items()):
        x = arrays["radius"]
        if i == 0:
            _line(figure, x, arrays["teacher_profile"], "teacher", TEACHER)
        _line(figure, x, arrays["student_profile"], method, palette[method])
    first = next(iter(profiles.values()))
    for edge in first.get("band_edges", np.zeros(0))[1:-1]:
        figure.add_vline(x=float(edge), line={"color": "#cbd5e1", "width": 1, "dash": "dot"})
    figure.update_xaxes(title=FREQUENCY, range=[0, 1])
    figure.update_yaxes(title="radial power", type="log", exponentformat="power", dtick=1)
    return _titled(figure, title)


def spectrum_figure(arrays: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Log amplitude of teacher and student on one colour scale, and their difference.

    Axes are fractions of Nyquist, DC in the middle.

    Args:
        arrays: what ``spectra.Spectrum.arrays`` returns; its ``mask`` is drawn as a line at 0.5.

    Raises:
        KeyError: the run saved profiles without the pictures' arrays.
    """
    from plotly.subplots import make_subplots

    teacher, student = arrays["teacher_log_amplitude"], arrays["student_log_amplitude"]
    low = float(min(teacher.min(), student.min()))
    high = float(max(teacher.max(), student.max()))
    limit = float(np.abs(student - teacher).max()) or 1.0
    names = ("teacher", "student", "student minus teacher")
    figure = make_subplots(1, 3, subplot_titles=names, horizontal_spacing=0.05)
    shared = {"zmin": low, "zmax": high, "colorscale": "Viridis", "showscale": False}
    height, width = teacher.shape
    axes = {"x": centred_frequencies(width), "y": centred_frequencies(height)}
    figure.add_heatmap(z=teacher, row=1, col=1, **axes, **shared)
    figure.add_heatmap(z=student, row=1, col=2, **axes, **shared)
    figure.add_heatmap(
        z=student - teacher,
        **axes,
        row=1,
        col=3,
        zmin=-limit,
        zmax=limit,
        colorscale="RdBu_r",
        showscale=True,
    )
    if "mask" in arrays and float(np.ptp(arrays["mask"])) > 0:
        middle = float(arrays["mask"].min() + arrays["mask"].max()) / 2
        for column in (1, 2, 3):
            figure.add_contour(
                z=arrays["mask"],
                **axes,
                row=1,
                col=column,
                showscale=False,
                showlegend=False,
                contours={"start": middle, "end": middle, "coloring": "none"},
                line={"color": "white" if column < 3 else "black", "width": 1.5, "dash": "dot"},
            )
    ticks = {"tickvals": [-1, 0, 1], "showgrid": False, "zeroline": False}
    figure.update_xaxes(**ticks).update_yaxes(**ticks, autorange="reversed")
    figure.update_xaxes(title=FREQUENCY, row=1, col=2)
    for column in (1, 2, 3):
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    return _titled(figure.update_layout(**layout(300)), title)


def centred_frequencies(size: int) -> np.ndarray:
    """Frequencies of an axis with DC in the middle, in fractions of Nyquist, (size,).

    >>> centred_frequencies(4).tolist()
    [-1.0, -0.5, 0.0, 0.5]
    """
    return 2 * np.fft.fftshift(np.fft.fftfreq(size))


def layout(height: int) -> dict[str, object]:
    """The style that all figures share, ``height`` in px; the width follows the page."""
    return {
        "template": "plotly_white",
        "paper_bgcolor": "rgba(0,0,0,0)",  # the page's own, light or dark
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": height,
        "autosize": True,
        "font": {"family": FONT, "size": 12, "color": "#1f2937"},
        "margin": {"l": 64, "r": 16, "t": 34, "b": 46},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": None},
        "hoverlabel": {"font": {"family": FONT}},
    }


def blank_figure(*, height: int) -> Figure:
    """An empty figure in that style."""
    from plotly.graph_objects import Figure

    figure = Figure(layout=layout(height))
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)


def _titled(figure: Figure, title: str) -> Figure:
    if title:
        figure.update_layout(title={"text": title, "x": 0.01, "font_size": 14}, margin_t=72)
    return figure


def _line(figure: Figure, x: np.ndarray, y: np.ndarray, name: str, style: Style) -> None:
    line = {"color": style.colour, "width": 2, "dash": style.dash}
    figure.add_scatter(x=x, y=y, name=name, mode="lines", line=line)


def _drawn(style: Style, size: int) -> dict[str, Any]:
    """Line and points of a trace."""
    return {
        "line": {"color": style.colour, "width": 2, "dash": style.dash},
        "marker": {"size": size, "symbol": style.symbol},
    }


def _set_range(figure: Figure, curves: pd.DataFrame) -> None:
    """Fit the axis to the means: an interval of two seeds can be ten times as wide."""
    low, high = curves["mean"].min(), curves["mean"].max()
    span = (high - low) or abs(high) or 1.0
    low_band, high_band = curves["low"].min(), curves["high"].max()
    bottom = min(low, max(low - 0.35 * span, low_band)) if np.isfinite(low_band) else low
    top = max(high, min(high + 0.35 * span, high_band)) if np.isfinite(high_band) else high
    figure.update_yaxes(range=[bottom - 0.04 * span, top + 0.04 * span])


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"
