"""Intervals under looking: by their definition, and their error rates over all looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from fourierkd.analysis.comparison import compare, compare_pairs, every_pair, open_pairs, verdict
from fourierkd.analysis.headline import headline
from fourierkd.analysis.sequential import PRECISION, always_valid, standard_errors
from fourierkd.analysis.stats import Interval, bonferroni, differences, interval

LOOKS = 20
TABLES = pytest.mark.parametrize(
    "tables", [2000, pytest.param(40_000, marks=pytest.mark.slow)], ids=["quick", "long"]
)
METHODS = pytest.mark.parametrize("methods", [1, 2, 4, 8])


def at_most(promised: float, rate: float, tables: int) -> bool:
    return rate <= promised + 3 * math.sqrt(promised * (1 - promised) / tables)


def draw(tables: int, methods: int, effect: float = 0.0) -> np.ndarray:
    """Paired differences to one baseline, (tables, methods, LOOKS), of deviation 1.4."""
    scores = np.random.default_rng(methods).standard_normal((tables, methods + 1, LOOKS))
    return scores[:, 1:] + effect - scores[:, :1]


def looks(data: np.ndarray, level: float, times=standard_errors):
    """Lower and upper limits after 2, 3, ... differences; ``data``: (..., LOOKS)."""
    for n in range(2, data.shape[-1] + 1):
        seen = data[..., :n]
        half = times(n, level) * seen.std(axis=-1, ddof=1) / math.sqrt(n)
        yield seen.mean(axis=-1) - half, seen.mean(axis=-1) + half


def test_the_limits_are_where_the_martingale_reaches_its_bound() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 7)
    n = len(values)
    for level in (0.9, 0.95, 0.99):
        found = always_valid(values, level)
        for mean in (found.low, found.high):
            total, squares = (values - mean).sum(), ((values - mean) ** 2).sum()
            ratio = total**2 / ((n + PRECISION) * squares)
            reached = math.sqrt(PRECISION / (n + PRECISION)) * (1 - ratio) ** (-n / 2)
            assert reached == pytest.approx(1 / (1 - level))


def test_the_likelihood_ratio_by_integration() -> None:
    """The formula of the docstring is that of its words: effects drawn, scale by its invariant."""
    x = np.array([0.4, 1.9, -0.3, 1.1])
    n, total, squares = len(x), x.sum(), (x**2).sum()
    effect = np.linspace(-40, 40, 4001)
    scale = np.exp(np.linspace(-8, 12, 4001))[:, None]
    prior = np.sqrt(PRECISION / (2 * np.pi)) * np.exp(-PRECISION * effect**2 / 2)

    def weight(at: np.ndarray) -> np.ndarray:  # of all scales, with the invariant measure ds / s
        power = -(squares / scale**2 - 2 * at * total / scale + n * at**2) / 2
        return np.trapezoid(scale**-n * np.exp(power), np.log(scale[:, 0]), axis=0)

    ratio = np.trapezoid(prior * weight(effect), effect) / weight(np.zeros(1))[0]
    formula = (1 - total**2 / ((n + PRECISION) * squares)) ** (-n / 2)
    assert ratio == pytest.approx(math.sqrt(PRECISION / (n + PRECISION)) * formula, rel=1e-3)


def test_few_differences_bound_nothing() -> None:
    assert math.isnan(always_valid([1.0]).low)
    two = always_valid([1.0, 1.0])
    assert (two.low, two.high) == (-math.inf, math.inf)
    assert verdict(two, "maximize", 1.0) == "undecided"
    plain, found = interval([1.0, 2.0, 4.0]), always_valid([1.0, 2.0, 4.0])
    assert found.low < plain.low < plain.high < found.high < math.inf
    assert always_valid([0.001] * 5, error=0.001).low < 0  # rounded, so no certainty


def test_a_t_interval_does_not_hold_under_looking() -> None:
    wrong = np.zeros(4000, bool)
    for low, high in looks(draw(4000, 1)[:, 0], 0.95, lambda n, p: stdtrit(n - 1, 0.5 + p / 2)):
        wrong |= (low > 0) | (high < 0)
    assert 0.2 < wrong.mean() < 0.3


@TABLES
@METHODS
def test_equal_methods_are_told_apart_in_one_table_of_twenty_over_all_looks(
    methods: int, tables: int
) -> None:
    wrong = np.zeros(tables, bool)
    for low, high in looks(draw(tables, methods), bonferroni(methods)):
        wrong |= ((low > 0) | (high < 0)).any(axis=1)
    assert at_most(0.05, wrong.mean(), tables)
    assert wrong.mean() > 0.005


@TABLES
@METHODS
def test_the_truth_is_covered_at_all_looks_at_once(methods: int, tables: int) -> None:
    missed = np.zeros(tables, bool)
    for low, high in looks(draw(tables, methods, effect=1.0), bonferroni(methods)):
        missed |= ((low > 1) | (high < 1)).any(axis=1)
    assert at_most(0.05, missed.mean(), tables)


@TABLES
@METHODS
def test_a_difference_of_the_margin_is_not_called_equivalent_at_any_look(
    methods: int, tables: int
) -> None:
    margin, false = 4.0, np.zeros(tables, bool)
    for low, high in looks(draw(tables, methods, effect=margin), bonferroni(methods)):
        false |= ((low <= 0) & (high >= 0) & (low > -margin) & (high < margin)).any(axis=1)
    assert at_most(0.05, false.mean(), tables)


@pytest.mark.parametrize(("effect", "within"), [(2.0, 20), (4.0, 9), (10.0, 6)])
def test_an_effect_is_found_within_some_seeds(effect: float, within: int) -> None:
    """In deviations of a score; four methods, stopped where all are decided: in 4 of 5 tables."""
    decided = np.zeros((2000, 4), bool)
    found = list(looks(draw(2000, 4, effect), bonferroni(4)))
    for low, _ in found[: within - 1]:
        decided |= low > 0
    assert decided[:, 0].mean() > 0.8


def until_decided(
    effects: list[float], noise: list[float], *, seed: int, margin: float, most: int = 20
) -> dict[str, Interval]:
    """The rule of ``compare --until-decided``: five seeds, then more for the baseline "0" and for
    what is undecided against it; the differences at its end.
    """
    generator = np.random.default_rng(seed)
    names = [str(i) for i in range(len(effects) + 1)]
    scores: dict[str, dict[int, float]] = {name: {} for name in names}
    asked = names
    for number in range(most):
        common, own = generator.normal(30.0, 3.0), generator.normal(0.0, [1.0, *noise])
        for name, value in zip(names, common + own + [0.0, *effects], strict=True):
            if name in asked:
                scores[name][number] = float(value)
        if number >= 4:
            undecided = open_pairs(scores, "0", direction="maximize", margin=margin)
            if not undecided:
                break
            asked = ["0", *undecided]
    found = every_pair(scores, looked=True)
    return {name: found[name, "0"] for name in names[1:]}


@pytest.mark.parametrize(
    "tables", [400, pytest.param(5000, marks=pytest.mark.slow)], ids=["quick", "long"]
)
@METHODS
@pytest.mark.parametrize("other", [0.0, 1.5], ids=["all equal", "half differ by the margin"])
def test_the_rule_of_until_decided_keeps_the_rate_of_false_verdicts_of_a_table(
    methods: int, tables: int, other: float
) -> None:
    """All methods equal the baseline, or half of them differ by the margin, which is not
    equivalent; some vary more than others, and so go on for longer.
    """
    margin, noise = 1.5, [0.3 + i % 3 for i in range(methods)]
    effects = [other * (i % 2) for i in range(methods)]
    false, seeds = np.zeros(tables, bool), []
    for table in range(tables):
        found = until_decided(effects, noise, seed=table, margin=margin)
        for effect, gain in zip(effects, found.values(), strict=True):
            said = verdict(gain, "maximize", margin)
            wrong = ("better", "worse") if effect == 0 else ("worse", "equivalent")
            false[table] |= said in wrong
            seeds.append(gain.n)
    assert at_most(0.05, false.mean(), tables)
    assert min(seeds) == 5  # what is decided gets no more seeds
    assert max(seeds) == 20


def test_the_rule_decides_what_can_be_decided() -> None:
    """A large effect and an equal method that hardly varies; one that varies much stays open."""
    said = {"1": [], "2": [], "3": []}
    for table in range(30):
        found = until_decided([6.0, 0.0, 0.0], [1.0, 0.1, 9.0], seed=table, margin=3.0)
        for name, gain in found.items():
            said[name].append((verdict(gain, "maximize", 3.0), gain.n))
    assert sum(word == "better" and n < 20 for word, n in said["1"]) >= 28
    assert sum(word == "equivalent" and n < 20 for word, n in said["2"]) >= 28
    assert sum(word == "undecided" and n == 20 for word, n in said["3"]) >= 28


def test_who_looked_gets_no_interval_that_needs_a_fixed_number_of_seeds(table_of) -> None:
    generator = np.random.default_rng(0)
    scores = {
        name: {seed: float(generator.normal(mean, 1.0)) for seed in range(count)}
        for name, mean, count in (("alone", 30.0, 9), ("kd", 36.0, 5), ("l2", 30.0, 9))
    }
    table = table_of(scores, trial=None)
    found = compare(table, baseline="alone", looked=True).set_index("method")
    plain = compare(table, baseline="alone").set_index("method")
    for name in ("kd", "l2"):
        expected = always_valid(differences(scores[name], scores["alone"]), bonferroni(3))
        assert tuple(found.loc[name, ["difference", "diff_low", "diff_high"]]) == expected[:3]
        assert found.loc[name, "diff_high"] > plain.loc[name, "diff_high"]
        assert found.loc[name, "high"] > plain.loc[name, "high"]  # of its own mean, too
    assert found[["boot_low", "boot_high", "wilcoxon"]].isna().all(axis=None)
    assert found.loc["l2", "seeds_needed"] > plain.loc["l2", "seeds_needed"]
    assert "no run" in plain.loc["kd", "missing"]
    assert found.loc["kd", "missing"] == ""  # it was decided
    pairs = compare_pairs(table, looked=True).set_index(["method", "against"])
    expected = always_valid(differences(scores["kd"], scores["l2"]), bonferroni(3))
    assert pairs.loc[("kd", "l2"), "diff_low"] == expected.low
    text = headline(table, metric="mIoU", baseline="alone", looked=True)
    assert "95 % intervals at any number of seeds (Bonferroni) over every pair" in text
