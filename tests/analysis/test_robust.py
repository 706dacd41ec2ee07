"""Median, bootstrap, signed ranks and groups of scores, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fourierkd.analysis.robust import WILCOXON_FROM, robust, two_groups


def test_one_late_run_moves_the_mean_and_not_the_median() -> None:
    found = robust([1.0, 1.2, 0.9, 1.1, -20.0])
    assert found.median == 1.0
    assert (found.low, found.high) == (-20.0, 1.2)  # five seeds allow no narrower claim
    assert robust([1.0, 1.2, 0.9, 1.1, -20.0]) == found


def test_few_differences() -> None:
    assert math.isnan(robust([]).median)
    one = robust([2.0])
    assert one.median == 2.0
    assert math.isnan(one.low)
    assert math.isnan(one.wilcoxon)


def test_signed_ranks_from_six_pairs_on() -> None:
    values = [1.3, 0.4, 2.2, 0.7, 1.9, 0.8, -0.1]
    assert math.isnan(robust(values[: WILCOXON_FROM - 1]).wilcoxon)
    # all six above 0: 2 of the 64 ways to give signs are as extreme
    assert robust(values[:6]).wilcoxon == pytest.approx(2 / 64)
    assert robust(values).wilcoxon == pytest.approx(scipy.stats.wilcoxon(values).pvalue)
    assert robust([0.0] * 6).wilcoxon == 1.0


@pytest.mark.parametrize(("n", "covered"), [(3, 0.75), (5, 0.9375), (10, 0.93)])
@pytest.mark.parametrize("name", ["normal", "standard_cauchy"])
def test_the_bootstrap_covers_as_the_docstring_says(n: int, covered: float, name: str) -> None:
    draws = getattr(np.random.default_rng(n), name)(size=(400, n))
    found = [robust(row) for row in draws]
    assert np.mean([r.low <= 0 <= r.high for r in found]) == pytest.approx(covered, abs=0.06)


def test_late_runs_are_two_groups() -> None:
    scores = {
        "late": pd.Series([73.9, 66.4, 74.2, 73.8, 74.0]),
        "even": pd.Series([31.0, 32.2, 33.1, 31.8, 30.4]),
        "few": pd.Series([10.0, 90.0]),
    }
    found = two_groups(scores)
    assert list(found) == ["late"]
    assert found["late"].counts == (1, 4)
    assert str(found["late"]) == "1 seed near 66.4, 4 near 73.97"


def test_rounding_makes_no_groups() -> None:
    """Two of three AP are equal when rounded: a pair of no width, beside a third."""
    scores = {"a": pd.Series([0.205, 0.205, 0.212])}
    assert two_groups(scores)  # of exact scores it would be remarkable
    assert not two_groups(scores, error=0.0005)
    assert not two_groups({"a": pd.Series([0.2] * 5)})
    assert not two_groups({"a": pd.Series([0.2] * 5)}, error=0.0005)


TABLES = pytest.mark.parametrize(
    "tables", [400, pytest.param(4000, marks=pytest.mark.slow)], ids=["quick", "long"]
)


@TABLES
@pytest.mark.parametrize("methods", [1, 6])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_normal_scores_raise_a_false_alarm_in_one_table_of_twenty(
    methods: int, seeds: int, tables: int
) -> None:
    draws = np.random.default_rng(seeds).normal(30, 2, (tables, methods, seeds)).round(2)
    alarms = sum(
        bool(two_groups({str(i): pd.Series(row) for i, row in enumerate(rows)}, error=0.005))
        for rows in draws
    )
    assert alarms / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_two_humps_are_seen_with_enough_seeds() -> None:
    generator = np.random.default_rng(4)
    late = [np.r_[generator.normal(70, 1, 6), generator.normal(60, 1, 4)] for _ in range(100)]
    assert sum(bool(two_groups({"a": pd.Series(row)})) for row in late) > 95
