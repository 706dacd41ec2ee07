"""Figures for papers and folders: the tables and panels of the reports flow in, matplotlib's files
flow out (PNG, PDF, SVG by their suffix).

Styles are those of the page (``figures.styles``): colour, line and symbol say the same thing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fourierkd.analysis.figures import MARKED, Style
from fourierkd.run_dir import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fourierkd.analysis.run_curves import Panel

WIDTH = 6.8  # inches; two columns of most papers
_DASHES: dict[str, Any] = {  # plotly's name of a line -> matplotlib's
    "solid": "-",
    "dot": (0, (1, 1.6)),
    "dash": (0, (5, 2)),
    "longdash": (0, (9, 2.5)),
    "dashdot": (0, (6, 2, 1, 2)),
    "longdashdot": (0, (9, 2, 1, 2)),
    "5px,2px,2px,2px,2px,2px": (0, (5, 1.5, 1.5, 1.5, 1.5, 1.5)),
}
_MARKERS = {
    "circle": "o",
    "circle-open": "o",
    "diamond": "D",
    "square": "s",
    "cross": "P",
    "triangle-up": "^",
    "x": "X",
    "star": "*",
    "star-open": "*",
}
_STYLE: Any = {  # of matplotlib's own literal keys
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "svg.hashsalt": "fourierkd",  # one content, one file
}


def curves_picture(panels: Sequence[Panel], path: Path, *, maker: str = "fourierkd") -> None:
    """All panels of curves in one picture, two in a row.

    Args:
        panels: at least one.
        path: of the file; its suffix says the format.
        maker: recorded in the file.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with styled(columns * WIDTH / 2 * 1.25, rows * 2.4) as figure:
        for place, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, place)
            draw_curves(axes, panel.curves, panel.palette, panel.label, log=panel.log)
        save(figure, path, maker=maker)


def draw_curves(
    axes: Axes,
    curves: pd.DataFrame,
    palette: Mapping[str, Style],
    label: str,
    *,
    log: bool = False,
    legend: bool = True,
) -> None:
    """Lines of ``curves.mean_curves``, with their intervals as bands (see
    ``figures.curves_figure``).
    """
    for method in (m for m in palette if m in set(curves["method"])):
        own = curves[curves["method"] == method].sort_values("iter")
        style = palette[method]
        x, mean = own["iter"].to_numpy(float), own["mean"].to_numpy(float)
        axes.plot(x, mean, label=method, **line(style, marked=len(own) <= MARKED))
        band = own.dropna(subset=["low"])
        if len(band):
            limits = (band[c].to_numpy(float) for c in ("iter", "low", "high"))
            axes.fill_between(*limits, color=style.colour, alpha=0.14, linewidth=0)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel(label)
    if legend:
        axes.legend(fontsize=7)


def marker(style: Style) -> str:
    """Matplotlib's name of a symbol."""
    return _MARKERS[style.symbol]


def line(style: Style, *, marked: bool) -> dict[str, Any]:
    """Arguments of ``Axes.plot``; ``marked``: with symbols at the points."""
    hollow = {"markerfacecolor": "white"} if style.symbol.endswith("-open") else {}
    return {
        "color": style.colour,
        "linestyle": _DASHES[style.dash],
        "linewidth": 1.3,
        "marker": _MARKERS[style.symbol] if marked else "",
        "markersize": 3.5,
        **hollow,
    }


@contextmanager
def styled(width: float, height: float) -> Iterator[Figure]:
    """A figure of our style, inside of which it is drawn and saved; sizes in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path, *, maker: str = "fourierkd") -> None:
    """Write a figure as a whole; equal figures give equal files."""
    kind = path.suffix.lstrip(".")
    metadata: Any = {
        "png": {"Software": maker},
        "pdf": {"Creator": maker, "CreationDate": None},
        "svg": {"Creator": maker, "Date": None},
    }[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    write_atomic(path, buffer.getvalue())
