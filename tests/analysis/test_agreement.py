"""Rank agreement of trials and full runs: tau by hand, its interval by simulation, which pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from fourierkd.analysis.agreement import both_ways, kendall, sentence
from fourierkd.analysis.selection import of_search, searches
from fourierkd.errors import ConfigError


def row(phase: str, value: float | None, trial: int | None = None, **known: Any) -> dict[str, Any]:
    """One run of the table; a value of None is that of a failed run."""
    state = "failed" if value is None else "complete"
    head = {"phase": phase, "method": phase, "trial": trial, "seed": 0, "split": "val"}
    tail = {"metric": "mIoU", "value": value, "val_mIoU": value, "state": state}
    return head | tail | known


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    types = {"trial": "Int64", "value": float, "val_mIoU": float}
    return pd.DataFrame(rows).astype(types)


SHORT = {"train_cfg.max_iters": 100}


def test_tau_is_that_of_its_definition() -> None:
    assert kendall([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).tau == pytest.approx(4 / 6)
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    assert kendall(x, y).tau == pytest.approx(kendalltau(x, y).statistic)
    assert kendall([1, 1, 2], [1, 2, 3]).tau == pytest.approx(2 / 3)  # a tie is in neither order


def test_few_configurations_are_no_certainty() -> None:
    assert math.isnan(kendall([1.0], [1.0]).tau)
    three, nine = kendall(range(3), range(3)), kendall(range(9), range(9))
    assert three[:3] == (1.0, pytest.approx(-0.63, abs=0.03), 1.0)
    assert 0.7 < nine.low < 0.9
    other = kendall(range(9), range(9)[::-1])  # the other order is its mirror
    assert (other.tau, other.low) == (-1.0, -1.0)
    assert other.high == pytest.approx(-nine.low, abs=0.02)


@pytest.mark.parametrize(("n", "tau"), [(3, 0.0), (5, 0.5), (8, 0.8), (8, -0.3)])
def test_the_interval_covers_whatever_the_values_are(n: int, tau: float) -> None:
    rho, generator = math.sin(math.pi * tau / 2), np.random.default_rng(n)
    missed, tables = 0, 400
    known: dict[float, tuple[float, float]] = {}  # of a tau: the interval follows from it alone
    for _ in range(tables):
        x, noise = generator.standard_normal((2, n))
        y = np.exp(rho * x + math.sqrt(1 - rho**2) * noise)  # only orders count
        count = round(float(np.sign(np.subtract.outer(x, x) * np.subtract.outer(y, y)).sum()))
        if count not in known:
            known[count] = kendall(x, y)[1:3]
        low, high = known[count]
        missed += not low <= tau <= high
    assert missed / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_what_was_trained_both_ways() -> None:
    parameters = {"param.weight": 1}
    final = {"method": "tuned", "val_mIoU": 73.0, "split": "test", **parameters}
    table = table_of(
        row("baseline", 20.0, method="student_alone"),
        *(row("trial", v, i, **{"param.weight": i}) for i, v in enumerate((50.0, 61.0, 60.0))),
        row("trial", None, 3, **{"param.weight": 3}),
        *(row("rung", v, trial) for trial, v in ((1, 70.0), (1, 72.0), (2, 75.0), (2, None))),
        row("final", 55.0, seed=1000, **final),
        row("final", 30.0, method="student_alone", val_mIoU=31.0, split="test", seed=1000),
    )
    found = both_ways(table, metric="mIoU").set_index("method")
    assert found.loc["student_alone", ["proxy", "full", "runs"]].tolist() == [20.0, 31.0, 1]
    trials = found.loc["trial"].set_index("trial")
    assert trials.loc[1, ["proxy", "full", "runs"]].tolist() == [61.0, (70 + 72 + 73) / 3, 3]
    assert trials.loc[2, ["proxy", "full", "runs"]].tolist() == [60.0, 75.0, 1]
    assert list(trials.index) == [1, 2]  # trial 0 was not trained in full
    text = sentence(table, SHORT, metric="mIoU")
    assert text.startswith("Trials were trained with train_cfg.max_iters=100, rung and final runs")
    assert "Kendall's tau of both values: 0.33 [" in text
    assert "over 3 configurations trained both ways" in text
    assert "not known over 0 configurations" in sentence(table.head(2), SHORT)


def test_of_a_tuned_method_only_its_own_setting_counts() -> None:
    own, found = {"param.weight": 0.0}, {"param.weight": 1.0}
    table = table_of(
        row("baseline", 50.0, 0, method="pkd", tunes="pkd", **own),
        row("trial", 60.0, 1, method="pkd", tunes="pkd", **found),
        row("final", 70.0, method="pkd", split="test", seed=1000, **found),
    )
    (part,) = (of_search(table, tunes) for tunes in searches(table))
    assert both_ways(part)["trial"].tolist() == [1]
    assert "values: of pkd not known over 1 configuration trained" in sentence(table, SHORT)


def test_other_numbers_of_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="as many finite values"):
        kendall([1.0, 2.0], [1.0])
    with pytest.raises(ConfigError, match="as many finite values"):
        kendall([1.0, math.nan], [1.0, 2.0])
