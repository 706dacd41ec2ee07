"""What verdicts and intervals promise, over thousands of simulated tables.

A rate that is promised to be at most p is refused above p plus three standard errors of the
simulation; the slow tests repeat the quick ones on ten times as many tables.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fourierkd.analysis.comparison import every_pair, verdict
from fourierkd.analysis.stats import Interval, bonferroni, differences, interval

TABLES = pytest.mark.parametrize(
    "tables", [400, pytest.param(4000, marks=pytest.mark.slow)], ids=["quick", "long"]
)
SEEDS = pytest.mark.parametrize("seeds", [3, 5, 10])
METHODS = pytest.mark.parametrize("methods", [2, 4, 8])


def at_most(promised: float, counted: int, tables: int) -> bool:
    return counted / tables <= promised + 3 * math.sqrt(promised * (1 - promised) / tables)


def draw(effects: list[float], seeds: int, seed: int, noise: float = 1.0) -> dict[str, dict]:
    """Scores of a baseline "0" and of methods with known effects; the seed moves all alike."""
    generator = np.random.default_rng(seed)
    common = generator.normal(30.0, 3.0, seeds)
    scores = common + generator.normal(0.0, noise, (len(effects) + 1, seeds))
    scores[1:] += np.asarray(effects)[:, None]
    return {str(i): dict(enumerate(row)) for i, row in enumerate(scores)}


def against_baseline(scores: dict[str, dict]) -> list[Interval]:
    found = every_pair(scores)
    return [found[name, "0"] for name in scores if name != "0"]


def with_truths(effects: list[float], seeds: int, seed: int, noise: float = 1.0):
    """Each pair's interval, once, with its true difference."""
    found, true = every_pair(draw(effects, seeds, seed, noise)), [0.0, *effects]
    return [(gain, true[int(a)] - true[int(b)]) for (a, b), gain in found.items() if a < b]


def covers(found: Interval, truth: float) -> bool:
    return found.low <= truth <= found.high


@TABLES
@SEEDS
@METHODS
def test_equal_methods_get_a_false_verdict_in_one_table_of_twenty(
    methods: int, seeds: int, tables: int
) -> None:
    false = 0
    for i in range(tables):
        found = every_pair(draw([0.0] * methods, seeds, i)).values()
        false += any(verdict(g, "maximize", 1.0) in ("better", "worse") for g in found)
    assert at_most(0.05, false, tables)
    assert false / tables > 0.005  # not by saying nothing


@TABLES
@SEEDS
def test_so_do_those_beside_large_effects(seeds: int, tables: int) -> None:
    """Holm's case: the others are all rejected, so the last has all of the 5 %."""
    false = 0
    for i in range(tables):
        *_, last = against_baseline(draw([200.0, -200.0, 300.0, 0.0], seeds, i))
        false += not covers(last, 0.0)
    assert at_most(0.05, false, tables)
    assert false / tables > 0.02


@TABLES
@SEEDS
def test_an_interval_that_includes_0_misses_in_one_table_of_twenty(seeds: int, tables: int) -> None:
    effects = [0.0, 0.0, 0.5, -1.0, 1.5, 2.5, 4.0, 100.0]
    missed = 0
    for i in range(tables):
        found = with_truths(effects, seeds, i)
        missed += any(covers(g, 0.0) and not covers(g, truth) for g, truth in found)
    assert at_most(0.05, missed, tables)


@TABLES
@SEEDS
def test_each_interval_covers_its_own_truth(seeds: int, tables: int) -> None:
    effects = [0.0, 0.5, -1.0, 2.0, 4.0, 100.0]
    missed = np.zeros(len(effects), int)
    for i in range(tables):
        found = against_baseline(draw(effects, seeds, i))
        missed += [not covers(g, truth) for g, truth in zip(found, effects, strict=True)]
    assert all(at_most(0.05, int(count), tables) for count in missed)


@TABLES
@SEEDS
def test_intervals_by_bonferroni_cover_at_once(seeds: int, tables: int) -> None:
    effects = [50.0, 100.0, -50.0, 0.0, 150.0, 200.0, 250.0, -100.0]
    level, missed = bonferroni(len(effects)), 0
    for i in range(tables):
        scores = draw(effects, seeds, i)
        missed += not all(
            covers(interval(differences(scores[str(k + 1)], scores["0"]), level), truth)
            for k, truth in enumerate(effects)
        )
    assert at_most(0.05, missed, tables)


def test_holms_intervals_do_not() -> None:
    """Why the docstring does not promise it: with four large effects they miss in more."""
    effects = [50.0, 100.0, -50.0, 300.0]
    missed = sum(not all(covers(*pair) for pair in with_truths(effects, 5, i)) for i in range(400))
    assert missed / 400 > 0.06


@TABLES
@SEEDS
@METHODS
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_difference_of_the_margin_is_not_called_equivalent(
    methods: int, seeds: int, noise: float, tables: int
) -> None:
    false = 0
    for i in range(tables // 2):
        signs = [(-1.0) ** k for k in range(methods)]
        found = with_truths(signs, seeds, i, noise)
        false += any(truth and verdict(g, "maximize", 1.0) == "equivalent" for g, truth in found)
    assert at_most(0.05, false, tables // 2)


@TABLES
@SEEDS
@pytest.mark.parametrize("equal", [2, 4])
def test_the_first_sentence_makes_a_false_claim_in_one_table_of_twenty(
    seeds: int, equal: int, tables: int
) -> None:
    """It may be about the best of those that equal each other, picked by its scores."""
    false, names = 0, list(map(str, range(equal + 1)))
    for i in range(tables // 2):
        scores = draw([0.0] * equal + [50.0, -50.0], seeds, i)
        found = every_pair(scores)
        best = max(names, key=lambda name: sum(scores[name].values()))
        said = [
            verdict(found[best, name], "maximize", 1.0)
            for name in scores
            if name in names and name != best
        ]
        false += "better" in said or "worse" in said
    assert at_most(0.05, false, tables // 2)


@TABLES
@pytest.mark.parametrize(("effect", "word"), [(4.0, "better"), (-4.0, "worse"), (0, "equivalent")])
def test_what_is_so_is_found(effect: float, word: str, tables: int) -> None:
    """Four methods, five seeds, differences with a deviation of 0.42: the power is above 0.9."""
    found = [against_baseline(draw([effect] * 4, 5, i, noise=0.3))[0] for i in range(tables // 4)]
    said = [verdict(gain, "maximize", 3.0 if word == "equivalent" else 1.0) for gain in found]
    assert said.count(word) / len(said) > 0.9
