"""Figures of the spectral ledger: tables flow in, pictures of one form and one range flow out.

Every colour range is fixed, so a colour means the same in the figures of any two runs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fourierkd.analysis.figures import PALETTE, TEACHER_COLOUR
from fourierkd.analysis.ledger import LEVEL, band_name
from fourierkd.analysis.ledger_difference import last_validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = 50  # letters a line above a panel
MARKERS = ("o", "s")  # beside the colours
NO_VALUE = "#d4d4d8"
LEAST_SHARE = 1e-4
BANDS_LABEL = "band (fraction of Nyquist)"
NOTE = (
    "bands: rings of the spectrum, fractions of Nyquist; 0: the map's mean, which no share has. "
    "grey: no value"
)
TITLES = {
    "share_error": "share error\n(variance 1; red: student has more)",
    "amplitude_error": "amplitude error\n(after the connector; red: student has more)",
    "coherence": "coherence\n(1: equal but for a factor, 0: unrelated)",
}
_TWO = {
    "share_error": "share error, {a} minus {b}\n(red: {a} has more)",
    "share_change": "amplitude, {a} over {b}, minus 1\n(variance 1; red: {a} has more)",
    "amplitude_error": "amplitude error, {a} minus {b}\n(red: {a} has more)",
    "coherence": "coherence, {a} minus {b}\n(red: {a} is closer to the teacher)",
}


def ledger_figure(table: pd.DataFrame, *, name: str) -> Figure:
    """One run: a row a level, errors and coherence by iteration and band, the last shares.

    Args:
        table: what ``ledger.read_ledger`` gives.
        name: of the run.
    """
    return _figure(table, {name: table}, TITLES, title=name)


def difference_figure(
    difference: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, *, names: tuple[str, str]
) -> Figure:
    """One run minus another, in the same form.

    Args:
        difference: what ``ledger_difference.ledger_difference`` gives of the two.
        ours: the first run's ledger.
        theirs: the other's.
        names: of both.
    """
    a, b = names if names[0] != names[1] else ("first", "second")
    titles = {
        key: "\n".join(fill(line, TITLE) for line in text.format(a=a, b=b).split("\n"))
        for key, text in _TWO.items()
    }
    if difference["share_error"].notna().any():
        titles.pop("share_change")
    return _figure(difference, {a: ours, b: theirs}, titles, title=f"{a} minus {b}")


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _figure(
    table: pd.DataFrame,
    runs: Mapping[str, pd.DataFrame],
    quantities: Mapping[str, str],
    *,
    title: str,
) -> Figure:
    from matplotlib.figure import Figure

    shown = [name for name in quantities if table[name].notna().any()]
    keys = [column for column in LEVEL if column in table]
    levels = list(table.groupby(keys, dropna=False, sort=False))
    wide, high = 4.2 * (len(shown) + 1), 0.8 + 3.3 * len(levels)
    figure = Figure(figsize=(wide, high), layout="constrained")
    images = next(iter(runs.values()))["images"].iloc[0]
    about = f"mean over {images} fixed val images and all channels; {NOTE}"
    figure.suptitle(f"Spectra: {title}\n{about}", fontsize=10, x=0.005, ha="left")
    parts = figure.subfigures(len(levels), 1, squeeze=False)[:, 0]
    for part, (_, own) in zip(parts, levels, strict=True):
        part.suptitle("\n".join(_words(own, runs)), fontsize=9, x=0.005, ha="left")
        axes = part.subplots(1, len(shown) + 1, squeeze=False)[0]
        for ax, name in zip(axes, shown, strict=False):
            image = heat(ax, own, name)
            ax.set_title(quantities[name], fontsize=9)
            part.colorbar(image, ax=ax, extend="both", fraction=0.05).ax.tick_params(labelsize=7)
        _shares(axes[-1], own, runs)
    return figure


def _words(own: pd.DataFrame, runs: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a level compares, by run where they differ."""
    layer, size = own["layer"].iloc[0], ""
    found = {}
    for name, table in runs.items():
        rows = table[table["layer"] == layer]
        if "loss" in own and len(runs) == 1:
            rows = rows[rows["compared"] == own["compared"].iloc[0]]
        first = rows.iloc[0]
        size = f"{first['height']}x{first['width']}"
        found[name] = first["compared"]
    if len(set(found.values())) == 1:
        return [f"{next(iter(found.values()))}; maps of {size}"]
    return [f"{name}: {words}; maps of {size}" for name, words in found.items()]


def heat(ax: Axes, own: pd.DataFrame, name: str) -> Any:
    """Draw a column of one level: bands up, iterations to the right, from -1 (blue) to 1 (red)."""
    from matplotlib import colormaps

    values = own.pivot(index=["low", "high"], columns="iter", values=name).sort_index()
    colours = colormaps["RdBu_r"].with_extremes(bad=NO_VALUE)
    image = ax.imshow(
        np.ma.masked_invalid(values.to_numpy(dtype=float)),
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=-1,
        vmax=1,
        interpolation="nearest",
    )
    ax.set_yticks(range(len(values)), [band_name(*band) for band in values.index], fontsize=7)
    step = -(-values.shape[1] // 8)
    places = list(range(values.shape[1]))[::-1][::step][::-1]  # the last one has its number
    ax.set_xticks(places, [str(values.columns[i]) for i in places], fontsize=7)
    ax.set_xlabel("iteration", fontsize=8)
    ax.set_ylabel(BANDS_LABEL, fontsize=8)
    return image


def _shares(ax: Axes, own: pd.DataFrame, runs: Mapping[str, pd.DataFrame]) -> None:
    """The shares of the last validation of each run, and the teacher's."""
    layer = own["layer"].iloc[0]
    for i, (name, table) in enumerate(runs.items()):
        rows = last_validation(table[table["layer"] == layer])
        rows = rows[(rows["high"] > 0) & (rows["compared"] == rows["compared"].iloc[0])]
        rows = rows.dropna(subset="student_share")  # a line goes on over a band that is not there
        x = (rows["low"] + rows["high"]) / 2
        if i == 0 and rows["teacher_share"].notna().any():
            y = rows["teacher_share"].clip(lower=LEAST_SHARE)
            ax.plot(x, y, "--", color=TEACHER_COLOUR, marker="^", ms=4, label="teacher")
        label = name if len(runs) > 1 else "student"
        y = rows["student_share"].clip(lower=LEAST_SHARE)
        ax.plot(x, y, color=PALETTE[i], marker=MARKERS[i], ms=4, label=label)
    ax.set_yscale("log")
    ax.set_xlim(0, 1)
    ax.set_ylim(LEAST_SHARE, 1)
    ax.set_xlabel("frequency (fraction of Nyquist)", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.grid(color="#e5e7eb")
    ax.legend(fontsize=7)
    ax.set_title("share of the map's variance\n(last validation)", fontsize=9)
