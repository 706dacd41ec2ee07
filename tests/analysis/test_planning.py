"""Seeds that an effect needs: by printed tables and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from fourierkd.analysis.planning import MOST, outlook, power, seeds_needed
from fourierkd.analysis.sequential import always_valid
from fourierkd.analysis.stats import bonferroni, interval
from fourierkd.errors import ConfigError


def test_seeds_by_printed_tables() -> None:
    # G*Power 3.1, "difference between two dependent means", two-sided 0.05, power 0.8
    assert [seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8, 1.0, 2.0)] == [199, 34, 15, 10, 5]
    assert seeds_needed(-1.0, 2.0) == seeds_needed(0.5, 1.0)  # either side, any unit
    assert seeds_needed(1e-6, 1.0) == MOST


def test_a_family_needs_more_and_so_do_rounded_scores() -> None:
    assert seeds_needed(0.5, 1.0, level=bonferroni(5)) > seeds_needed(0.5, 1.0)
    assert seeds_needed(0.01, 0.01, error=0.001) > seeds_needed(0.01, 0.01)
    assert seeds_needed(0.0009, 0.001, error=0.001) == MOST  # rounding hides it for ever


def test_who_looks_needs_more_and_has_found_it_by_then() -> None:
    level = bonferroni(3)
    needed = seeds_needed(1.0, 1.0, level=level, looked=True)
    assert needed > seeds_needed(1.0, 1.0, level=level)
    assert f", {needed} of the margin" in outlook(3)
    draws = np.random.default_rng(0).normal(1.0, 1.0, (400, needed))
    by_then = [
        any(always_valid(row[:n], level).low > 0 for n in range(2, needed + 1)) for row in draws
    ]
    assert np.mean(by_then) > 0.78


@pytest.mark.parametrize(("effect", "count"), [(1.0, 1), (0.5, 5)])
def test_the_promised_power_is_reached(effect: float, count: int) -> None:
    level = bonferroni(count)
    n = seeds_needed(effect, 1.0, level=level)
    draws = np.random.default_rng(count).normal(effect, 1.0, (4000, n))
    found = np.mean([interval(row, level).low > 0 for row in draws])
    assert found == pytest.approx(power(effect, 1.0, n, level), abs=0.02)
    assert found > 0.78
    assert power(effect, 1.0, n - 1, level) < 0.8


@pytest.mark.parametrize(("effect", "deviation"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_to_find_or_no_deviation(effect: float, deviation: float) -> None:
    with pytest.raises(ConfigError, match="effect is not 0 and deviation above 0"):
        seeds_needed(effect, deviation)
