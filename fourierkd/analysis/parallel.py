"""Trials in parallel coordinates: Optuna's study flows in, places on axes and a figure flow out.

All lines of one shade are one trace, so thousands of trials draw as fast as ten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fourierkd.analysis.figures import blank_figure
from fourierkd.analysis.tuning import complete_trials, short

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure

SHADES = 12
WORST, BEST = (156, 163, 175), (0, 114, 178)  # RGB; both stand out from white and from black
ABSENT = -0.12  # place of a trial that lacks the parameter
NONE = "not there"


@dataclass(frozen=True)
class Axis:
    """One axis: ``ticks`` are pairs of a place in [0, 1] and its text."""

    name: str
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Parallel:
    """Lines over axes.

    Attributes:
        axes: the value's, then those of the parameters.
        trials: number of each trial, the worst first, so that the best is drawn above.
        places: of each trial one place an axis, in [0, 1] or ``ABSENT``.
        shares: of each trial how good it is among all, in [0, 1].
    """

    axes: list[Axis]
    trials: list[int]
    places: list[list[float]]
    shares: list[float]


def parallel_axes(study: optuna.Study, names: Sequence[str], label: str) -> Parallel:
    """Where the complete trials with parameters lie, over ``names`` (see
    ``tuning.drawn_parameters``).

    Args:
        label: of the value's axis.
    """
    trials = [trial for trial in complete_trials(study) if trial.params]
    trials.sort(key=_value, reverse=study.direction.name == "MINIMIZE")
    values = [_value(trial) for trial in trials]
    scale = _Numbers(values, log=False)
    axes, columns = [Axis(label, scale.ticks())], [[scale.place(value) for value in values]]
    best_is_low = study.direction.name == "MINIMIZE"
    shares = [1 - place if best_is_low else place for place in columns[0]]
    for name in names:
        known = [trial.params[name] for trial in trials if name in trial.params]
        found = _scale(known, next(t.distributions[name] for t in trials if name in t.params))
        places = [found.place(t.params[name]) if name in t.params else ABSENT for t in trials]
        none = [(ABSENT, NONE)] if ABSENT in places else []
        axes.append(Axis(name, [*found.ticks(), *none]))
        columns.append(places)
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Parallel(axes, [trial.number for trial in trials], rows, shares)


def parallel_figure(study: optuna.Study, names: Sequence[str], *, label: str) -> Figure:
    """A line a complete trial, the better the bluer, over the value and the parameters."""
    found = parallel_axes(study, names, label)
    figure = blank_figure(height=320)
    count = len(found.axes)
    shades: dict[int, list[int]] = {}
    for i, share in enumerate(found.shares):
        shades.setdefault(min(SHADES - 1, int(share * SHADES)), []).append(i)
    traces = [_trace(found, rows, shade) for shade, rows in sorted(shades.items())]
    figure.add_traces(traces)
    rules = [
        {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": {"color": "#94a3b8"}}
        for i in range(count)
    ]
    texts = []
    for i, axis in enumerate(found.axes):
        side, shift = ("left", 4) if i < count - 1 else ("right", -4)  # within the figure
        fixed: dict[str, Any] = {"x": i, "showarrow": False, "xanchor": side}
        texts.append({**fixed, "y": 1, "yshift": 20, "text": axis.name, "font": {"size": 12}})
        for place, text in axis.ticks:
            texts.append({**fixed, "y": place, "xshift": shift, "text": text, "font": {"size": 11}})
    absent = any(place == ABSENT for row in found.places for place in row)
    return figure.update_layout(
        shapes=rules,
        annotations=texts,
        showlegend=False,
        xaxis={"visible": False, "range": [-0.02, count - 0.98]},
        yaxis={"visible": False, "range": [-0.2 if absent else -0.06, 1.06]},
        margin={"l": 16, "r": 16, "t": 40, "b": 12},
    )


def _trace(found: Parallel, rows: Sequence[int], shade: int) -> dict[str, Any]:
    """The lines of one shade, with gaps between."""
    share = (shade + 0.5) / SHADES
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(WORST, BEST, strict=True))
    count = len(found.axes)
    x, y, text = [], [], []
    for row in rows:
        x += [*range(count), None]
        y += [*(round(place, 4) for place in found.places[row]), None]
        text += [f"trial {found.trials[row]}"] * count + [""]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "text": text,
        "hoverinfo": "text",
        "line": {"color": f"rgb({red},{green},{blue})", "width": 1.6},
        "opacity": round(0.35 + 0.6 * share, 2),
    }


class _Numbers:
    """Numbers on an axis from their least to their greatest."""

    def __init__(self, values: Sequence[float], *, log: bool) -> None:
        self._log = log and min(values) > 0
        self._low, self._high = self._of(min(values)), self._of(max(values))

    def _of(self, value: float) -> float:
        return math.log(value) if self._log else float(value)

    def place(self, value: float) -> float:
        span = self._high - self._low
        return (self._of(value) - self._low) / span if span else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        if self._high == self._low:
            return [(0.5, self._text(self._low))]
        middle = (self._low + self._high) / 2
        ends = zip((0.0, 0.5, 1.0), (self._low, middle, self._high), strict=True)
        return [(place, self._text(value)) for place, value in ends]

    def _text(self, value: float) -> str:
        return f"{math.exp(value) if self._log else value:.3g}"


class _Choices:
    """Choices on an axis, evenly."""

    def __init__(self, values: Sequence[Any]) -> None:
        texts = sorted({short(value) for value in values})
        last = max(1, len(texts) - 1)
        self._places: Mapping[str, float] = {text: i / last for i, text in enumerate(texts)}

    def place(self, value: Any) -> float:
        return self._places[short(value)]

    def ticks(self) -> list[tuple[float, str]]:
        return [(place, text) for text, place in self._places.items()]


def _scale(values: Sequence[Any], distribution: BaseDistribution) -> _Numbers | _Choices:
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(distribution, FloatDistribution | IntDistribution):
        return _Numbers(values, log=distribution.log)
    return _Choices(values)


def _value(trial: FrozenTrial) -> float:
    return math.nan if trial.value is None else trial.value  # a complete one has a value
