"""Whether a cheap search ranks as full runs do: a results table flows in, Kendall's tau flows out.

With ``search_options`` trials are trained otherwise (shorter, on fewer images) than rung and final
runs. Where a configuration was trained both ways its two values are compared by rank.

References:
    Kendall, "A New Measure of Rank Correlation", Biometrika 30 (1938) 81-93.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fourierkd.analysis.results import metric_values, parameters
from fourierkd.analysis.selection import TRIAL_PHASES, of_search, searches
from fourierkd.analysis.stats import LEVEL
from fourierkd.errors import ConfigError
from fourierkd.records import VAL, Phase, State

DRAWS = 4000  # simulated samples: a limit's tail of 2.5 % is known to 0.25 %
STEPS = 20  # of bisection


class Agreement(NamedTuple):
    """Kendall's tau in [-1, 1] and its limits, over n configurations; NaN for n < 2."""

    tau: float
    low: float
    high: float
    n: int


def kendall(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Agreement:
    """Kendall's tau: the share of pairs in the same order minus that in the other.

    The interval holds every tau at which one as far off as this would not be rare: the distribution
    of tau for n pairs is simulated, with a normal distribution of correlation ``sin(pi * tau / 2)``
    (a fixed seed, 4000 samples), and both tails are tested at half of ``1 - level``. As only orders
    count, that is exact, up to the simulation, for all values that some rising functions make
    normal, at any n; so three in equal order do not make it certain, as a bootstrap of them would.

    Args:
        first: (n,), any unit.
        second: (n,), of the same configurations.
        level: in (0, 1).

    Raises:
        ConfigError: other numbers of values, or values that are not finite.

    References:
        Kendall (1938); a pair that is tied in either counts as neither order.

    Example:
        >>> [round(x, 2) for x in kendall([1, 2, 3, 4], [10, 30, 20, 40])]
        [0.67, -0.39, 0.98, 4]
    """
    x, y = np.asarray(first, float), np.asarray(second, float)
    if x.shape != y.shape or x.ndim != 1 or not np.isfinite([x, y]).all():
        raise ConfigError("ranks are compared of as many finite values", value=(first, second))
    n = len(x)
    if n < 2:
        return Agreement(math.nan, math.nan, math.nan, n)
    i, j = np.triu_indices(n, 1)
    concordant = float((np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])).sum())
    low, high = _limits(concordant, n, (1 - level) / 2)
    return Agreement(concordant / len(i), low, high, n)


def _limits(concordant: float, n: int, tail: float) -> tuple[float, float]:
    """The taus at which so large a count, or so small a one, is as rare as ``tail``.

    Args:
        concordant: pairs in the same order less those in the other.

    With the same draws for every tau the count of each draw rises with tau, so there is one limit.
    """
    x, noise = np.random.default_rng(0).standard_normal((2, DRAWS, n))
    i, j = np.triu_indices(n, 1)
    dx, de = x[:, i] - x[:, j], noise[:, i] - noise[:, j]

    def counts(tau: float) -> np.ndarray:
        rho = math.sin(math.pi * tau / 2)
        dy = rho * dx + math.sqrt(1 - rho**2) * de
        found: np.ndarray = (np.sign(dx) * np.sign(dy)).sum(axis=1)
        return found

    pairs = len(i)
    low = _crossing(lambda tau: (counts(tau) >= concordant).mean() > tail)
    high = _crossing(lambda tau: (counts(tau) <= concordant).mean() < tail)
    return (-1.0 if concordant <= -pairs else low), (1.0 if concordant >= pairs else high)


def _crossing(above: Callable[[float], bool]) -> float:
    """Where ``above``, which is false below and true above, changes, in [-1, 1]."""
    low, high = -1.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return (low + high) / 2


def both_ways(table: pd.DataFrame, *, metric: str | None = None) -> pd.DataFrame:
    """The configurations of a search that were trained as a trial and in full, all on val.

    Args:
        table: of one search (``selection.of_search``).
        metric: as for ``metric_values``.

    Returns:
        One row each: ``trial`` (missing of an arm beside the search), ``method``, ``proxy`` (value
        of the trial), ``full`` (mean over the seeds of rung and final runs), ``runs`` (how many).
    """
    whole = table[table["state"] == State.COMPLETE]
    whole = whole.assign(score=metric_values(whole, metric))
    name = metric or next(iter(whole["metric"].dropna()), None)
    finals = whole[whole["phase"] == Phase.FINAL]
    on_val = finals.get(f"{VAL}_{name}", pd.Series(dtype=float)).reindex(finals.index)
    finals, rung = finals.assign(score=on_val), whole[whole["phase"] == Phase.RUNG]
    rows = []
    for row in whole[whole["phase"].isin(TRIAL_PHASES)].dropna(subset=["score"]).to_dict("records"):
        same = [_same(row, other) for other in finals.to_dict("records")]
        full = pd.concat(
            [rung.loc[rung["trial"] == row["trial"], "score"], finals.loc[same, "score"]]
        )
        if full.notna().any():
            known = {"proxy": row["score"], "full": full.mean(), "runs": int(full.count())}
            rows.append({"trial": row["trial"], "method": row["method"], **known})
    return pd.DataFrame(rows, columns=["trial", "method", "proxy", "full", "runs"])


def _same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs are of one configuration; one without parameters is known by its name."""
    own = parameters(dict(row))
    named = bool(own) or row["method"] == other["method"]
    return named and own == parameters(dict(other))


def sentence(table: pd.DataFrame, options: Mapping[str, Any], *, metric: str | None = None) -> str:
    """How the trials' values, trained with ``options``, rank beside those of full runs.

    Args:
        table: a results table, or the part of one search.
        options: the study's ``search_options``.
        metric: as for ``metric_values``.
    """
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    said = []
    for tunes in searches(table):
        found = both_ways(of_search(table, tunes), metric=metric)
        tau, low, high, n = kendall(found["proxy"].tolist(), found["full"].tolist())
        known = f"{tau:.2f} [{low:.2f}, {high:.2f}]" if n > 1 else "not known"
        count = f"{n} configuration{'' if n == 1 else 's'} trained both ways"
        said.append(f"{f'of {tunes} ' if tunes else ''}{known} over {count}")
    return (
        f"Trials were trained with {told}, rung and final runs without. Kendall's tau of both "
        f"values: {', '.join(said) or 'no trial has ended'} (1: one order, 0: none; 95 % intervals "
        "by simulation of normal values). The rung holds the best trials alone, whose order is the "
        "hardest to tell."
    )
