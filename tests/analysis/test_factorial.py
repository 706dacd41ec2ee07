"""Designs by their definition, effects by hand, and what is promised of them by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import StringIO
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fourierkd.analysis.factorial import (
    Points,
    design,
    design_sentences,
    effect_intervals,
    effect_sentences,
    effects,
    left_out,
    mixed,
)
from fourierkd.analysis.terminal import components
from fourierkd.records import MINIMIZE, Metric

TABLES = pytest.mark.parametrize(
    "tables", [400, pytest.param(4000, marks=pytest.mark.slow)], ids=["quick", "long"]
)
SEEDS = pytest.mark.parametrize("seeds", [3, 5, 10])
PARTS = pytest.mark.parametrize("parts", [2, 4, 8])


def points_of(parts: str) -> dict[str, tuple[str, ...]]:
    return {"".join(on) or "none": on for on in design(parts)}


def signs_of(points: Points, parts: str) -> np.ndarray:
    return np.array([[1 if part in on else -1 for part in parts] for on in points.values()])


@pytest.mark.parametrize("count", range(1, 10))
def test_no_effect_is_mixed_with_another_nor_with_two_together(count: int) -> None:
    """Resolution IV: columns, and their products by two, are orthogonal to other columns."""
    parts = "abcdefghi"[:count]
    points = points_of(parts)
    signs = signs_of(points, parts)
    assert len(points) == {1: 2, 2: 4, 3: 8, 4: 8, 9: 32}.get(count, 16)
    assert next(iter(points.values())) == tuple(parts)  # all on, as published
    assert (signs.T @ signs == len(points) * np.eye(count)).all()
    assert (signs.sum(0) == 0).all()
    for i, j in combinations(range(count), 2):
        others = np.delete(signs, (i, j), axis=1)
        assert ((signs[:, i] * signs[:, j]) @ others == 0).all()


def test_half_as_many_runs_would_mix_effects_with_those_of_two() -> None:
    """So it is the smallest: a design of resolution IV has at least 2 k runs (Webb 1968)."""
    for count in range(2, 10):
        assert len(design("abcdefghi"[:count])) < 4 * count


def test_what_is_mixed_is_said() -> None:
    assert mixed(points_of("abc")) == []
    assert mixed(points_of("abcd")) == [("a", "b", "c", "d")]
    assert mixed(points_of("abcde")) == [("a", "b", "c", "d", "e")]  # the best of 16 runs
    assert {len(group) for group in mixed(points_of("abcdefgh"))} == {4}
    assert design_sentences(points_of("ab")) == [
        "all 4 combinations are trained, so nothing is mixed"
    ]
    first, second = design_sentences(points_of("abcd"))
    assert first == (
        "8 of 16 combinations are trained: the effect of a part is mixed with no other part's, nor "
        "with what fewer than 3 others do together"
    )
    assert second.endswith("with what the others do together: a × b × c × d")


def draw(
    points: Points, truth: dict[str, float], seeds: int, seed: int
) -> dict[str, dict[int, float]]:
    """Scores of a design's runs with known effects; the seed alone moves all alike."""
    generator = np.random.default_rng(seed)
    common = generator.normal(30.0, 3.0, seeds)
    return {
        name: dict(
            enumerate(
                common
                + sum(size / 2 if part in on else -size / 2 for part, size in truth.items())
                + generator.normal(0.0, 1.0, seeds)
            )
        )
        for name, on in points.items()
    }


def at_most(promised: float, counted: int, tables: int) -> bool:
    return counted / tables <= promised + 3 * math.sqrt(promised * (1 - promised) / tables)


@TABLES
@SEEDS
@PARTS
def test_parts_that_do_nothing_get_a_false_verdict_in_one_family_of_twenty(
    parts: int, seeds: int, tables: int
) -> None:
    names = "abcdefgh"[:parts]
    points, false = points_of(names), 0
    for i in range(tables):
        found = effect_intervals(draw(points, dict.fromkeys(names, 0.0), seeds, i), points)
        false += any(not gain.low <= 0 <= gain.high for gain in found.values())
    assert at_most(0.05, false, tables)
    assert false / tables > 0.005  # not by saying nothing


@TABLES
@SEEDS
def test_known_effects_are_recovered_and_each_interval_covers_its_own(
    seeds: int, tables: int
) -> None:
    """Also beside what two parts do together: a and b gain 6 more where both are on, or off."""
    truth = dict(zip("abcdef", [0.0, 0.5, -1.0, 2.0, 4.0, 20.0], strict=True))
    points = points_of("abcdef")
    missed, sums = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
    for i in range(tables):
        scores = draw(points, truth, seeds, i)
        for name, on in points.items():
            together = 3.0 if ("a" in on) == ("b" in on) else -3.0
            scores[name] = {seed: value + together for seed, value in scores[name].items()}
        for part, gain in effect_intervals(scores, points).items():
            missed[part] += not gain.low <= truth[part] <= gain.high
            sums[part] += gain.mean
    error = 3 * 2 / math.sqrt(len(points) * seeds * tables)  # 3 deviations of a mean effect
    for part, size in truth.items():
        assert at_most(0.05, missed[part], tables)
        assert sums[part] / tables == pytest.approx(size, abs=error)


def test_a_large_effect_is_found() -> None:
    points = points_of("abcd")
    found = [
        effect_intervals(draw(points, {"a": 5.0, "b": 0, "c": 0, "d": 0}, 5, i), points)["a"]
        for i in range(200)
    ]
    assert sum(gain.low > 0 for gain in found) / 200 > 0.9


@pytest.fixture
def table(table_of: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Of two parts: a gains 4, b loses what two seeds say differently."""
    return table_of(
        {
            "ab": {1: 34.0, 2: 35.5, 3: 36.0},
            "a": {1: 35.0, 2: 35.3, 3: 37.0, 4: 33.0},
            "b": {1: 30.1, 2: 31.2, 3: 32.2},
            "none": {1: 31.0, 2: 31.1, 3: 33.1},
        }
    )


POINTS = {"ab": ("a", "b"), "b": ("b",), "a": ("a",), "none": ()}


def test_effects_by_hand(table: pd.DataFrame) -> None:
    found = effects(table, POINTS, metric="mIoU").set_index("part")
    assert list(found.index) == ["a", "b"]  # the largest first
    assert found.loc["a", "on"] == pytest.approx((34 + 35.5 + 36 + 35 + 35.3 + 37) / 6)
    # by seed (34 + 35 - 30.1 - 31) / 2, ...
    assert found.loc["a", "difference"] == pytest.approx((3.95 + 4.25 + 3.85) / 3)
    assert found.loc["b", "difference"] == pytest.approx((-0.95 + 0.15 - 0.95) / 3)
    assert list(found["pairs"]) == [3, 3]  # only one run has seed 4
    assert list(found["verdict"]) == ["better", "undecided"]
    assert found.loc["b", "seeds_needed"] > 3
    less = effects(table, POINTS, metric=Metric("mIoU", MINIMIZE)).set_index("part")
    assert less.loc["a", "verdict"] == "worse"
    looked = effects(table, POINTS, metric="mIoU", looked=True).set_index("part")
    assert looked.loc["a", "diff_low"] < found.loc["a", "diff_low"]


def test_rounding_may_move_an_effect_by_a_step(table: pd.DataFrame) -> None:
    even = table.assign(value=table["method"].map({"ab": 2.1, "a": 2.0, "b": 1.1, "none": 1.0}))
    row = effects(even, POINTS, metric="mIoU").set_index("part").loc["b"]
    assert row["difference"] == pytest.approx(0.1)
    assert row["diff_low"] <= 0 <= row["diff_high"]  # equal scores are no certainty


def test_words_and_the_terminals_table(table: pd.DataFrame) -> None:
    first, second = effect_sentences(effects(table, POINTS, metric="mIoU"), "mIoU")
    assert first == "a: on is better than off: +4.02 mIoU [+2.82, +5.21] (3 seeds)"
    assert second.startswith("b: on is undecided against off: -0.58 mIoU [")
    out = StringIO()
    Console(file=out, width=80).print(components(table, POINTS, metric="mIoU"))
    text = " ".join(out.getvalue().split())
    assert "…" not in text
    assert "a 35.47 31.45 +4.02 [+2.82, +5.21] 3 better" in text
    assert "an effect of 1 mIoU of b would need about" in text
    assert "seed 4 does not count, as it lacks ab, b, none" in text
    assert "all 4 combinations are trained" in text


def test_a_design_that_is_not_whole_has_no_effects(table: pd.DataFrame) -> None:
    part = table[table["method"] != "none"]
    found = effects(part, POINTS, metric="mIoU")
    assert list(found["verdict"]) == ["n<2", "n<2"]
    assert len(left_out(part, POINTS)) == 4
    assert effect_sentences(found, "mIoU")[0] == "a: on has no verdict against off (0 seeds)"
