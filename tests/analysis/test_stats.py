"""Intervals, alone and in families, proved by hand-made values and by simulated studies."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fourierkd.analysis.stats import (
    holm,
    interval,
    p_value,
    paired_difference,
    rounding_step,
)
from fourierkd.errors import ConfigError

STUDIES = 4000


def test_interval_by_hand() -> None:
    # t(0.975, 2) = 4.302653 and t(0.95, 2) = 2.919986, from printed tables
    mean, low, high, n = interval([1.0, 2.0, 3.0])
    assert (mean, n) == (2.0, 3)
    assert high - mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)
    assert mean - low == pytest.approx(high - mean)
    assert interval([1.0, 2.0, 3.0], level=0.9).high == pytest.approx(2 + 2.919986 / math.sqrt(3))


def test_interval_of_few_values() -> None:
    one = interval([5.0])
    assert (one.mean, one.n) == (5.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(interval([]).mean)


@pytest.mark.parametrize("values", [[1.0, math.nan], [1.0, math.inf]])
def test_interval_refuses_what_is_not_finite(values: list[float]) -> None:
    with pytest.raises(ConfigError, match="values must be finite"):
        interval(values)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_interval_refuses_levels_that_are_none(level: float) -> None:
    with pytest.raises(ConfigError, match=r"level must be in \(0, 1\)"):
        interval([1.0, 2.0], level)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_covers_the_truth_at_its_level(n: int) -> None:
    data = np.random.default_rng(0).normal(30.0, 2.0, (STUDIES, n))
    covered = np.mean([(i.low <= 30.0 <= i.high) for i in map(interval, data)])
    assert 0.93 < covered < 0.97


def test_pairs_are_made_by_seed_not_by_order() -> None:
    a = pd.Series({3: 10.0, 1: 5.0, 7: 99.0})
    b = pd.Series({1: 4.0, 3: 8.0, 9: 0.0})
    assert paired_difference(a, b)[:1] == (1.5,)
    assert paired_difference(a, b).n == 2
    assert paired_difference({0: 1.0}, {1: 2.0}).n == 0


def test_pairing_removes_what_the_seed_does() -> None:
    generator = np.random.default_rng(1)
    seed_effect = generator.normal(0, 5, 5)
    a = dict(enumerate(seed_effect + 1 + generator.normal(0, 0.1, 5)))
    b = dict(enumerate(seed_effect))
    paired, alone = paired_difference(a, b), interval(list(a.values()))
    assert paired.low > 0.5
    assert alone.high - alone.low > 10 * (paired.high - paired.low)


def test_rounding_is_seen() -> None:
    assert rounding_step([0.205, 0.21]) == 0.001  # COCO's AP
    assert rounding_step([76.58, 31.7]) == 0.01  # mIoU
    assert rounding_step([76.5, 31.0]) == 0.1
    assert rounding_step([10.0, 20.0]) == 0.1  # round numbers are no step of 10
    assert rounding_step([0.2051, 0.21]) == pytest.approx(0.0001)
    assert rounding_step([2 / 3, 0.21]) == 0.0


def test_equal_rounded_values_are_no_certainty() -> None:
    """AP that differs by one step at every seed: the exact values may not differ at all."""
    alone = dict.fromkeys(range(3), 0.150)
    for steps, unknown in ((0, True), (1, True), (3, True), (4, False)):
        found = paired_difference(dict.fromkeys(range(3), 0.150 + steps / 1000), alone)
        assert found.high - found.low > 0.006  # t(0.975, 2) = 4.3027: 0.001 * sqrt(1 + 18.51 / 2)
        assert (found.low <= 0 <= found.high) == unknown


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_of_rounded_values_holds_that_of_the_exact_ones(n: int) -> None:
    generator = np.random.default_rng(n)
    for spread in (1e-4, 1e-3, 1e-2):
        for _ in range(200):
            exact = generator.normal(0.2, spread, (2, n))
            rounded = exact.round(3)
            wide = interval(rounded[0] - rounded[1], error=0.001)
            true = interval(exact[0] - exact[1])
            assert wide.low <= true.low + 1e-12
            assert true.high <= wide.high + 1e-12


def test_the_bound_on_rounding_is_hardly_wider_than_needed() -> None:
    """The worst of two values: one up, one down by as much as allowed."""
    t = 12.7062
    moved = [interval([a, b]).high for a in (-1, 1) for b in (-1, 1)]
    assert max(moved) == pytest.approx(t, abs=1e-3)  # of (-1, 1): its mean 0, half width t
    assert interval([0.0, 0.0], error=1.0).high == pytest.approx(math.sqrt(1 + t * t), abs=1e-3)


@pytest.mark.parametrize("error", [0.0, 0.01, 0.3])
def test_the_interval_at_its_p_value_ends_at_zero(error: float) -> None:
    generator = np.random.default_rng(5)
    for n in (2, 3, 5, 10):
        values = generator.normal(1.0, 1.0, n)
        p = p_value(list(values), error=error)
        if p == 1.0:
            assert abs(values.mean()) <= error
            continue
        found = interval(values, 1 - p, error=error)
        assert min(abs(found.low), abs(found.high)) == pytest.approx(0, abs=1e-6)
    exact = list(generator.normal(1.0, 1.0, 5))
    assert p_value(exact) == pytest.approx(scipy.stats.ttest_1samp(exact, 0).pvalue)


def test_holm_by_hand() -> None:
    # 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, 0.04 <= 0.05
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])
    # 0.03 > 0.05 / 2: rejected is the first alone, the others have the level for all three
    assert holm([0.9, 0.01, 0.03]) == pytest.approx([1 - 0.05 / 3] * 3)
    # 0.02 > 0.05 / 3: none is rejected, whatever it is alone
    assert holm([0.02, 0.03, 0.9]) == pytest.approx([1 - 0.05 / 3] * 3)
    assert holm([0.03]) == [0.95]  # one method: its own interval
    assert holm([]) == []


def test_intervals_exclude_0_exactly_where_holm_rejects() -> None:
    generator = np.random.default_rng(7)
    for _ in range(300):
        count = int(generator.integers(1, 9))
        draws = generator.normal(generator.normal(0, 1.5, (count, 1)), 1.0, (count, 5))
        p_values = scipy.stats.ttest_1samp(draws, 0, axis=1).pvalue
        order = np.argsort(p_values)
        adjusted = np.empty(count)  # Holm's adjusted p-values, from the definition
        adjusted[order] = np.maximum.accumulate(p_values[order] * (count - np.arange(count)))
        found = [interval(d, level) for d, level in zip(draws, holm(list(p_values)), strict=True)]
        assert [i.low > 0 or i.high < 0 for i in found] == list(adjusted <= 0.05)


@pytest.mark.parametrize("name", ["stats", "comparison", "planning", "robust", "gap", "sequential"])
def test_the_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"fourierkd.analysis.{name}")).failed == 0
