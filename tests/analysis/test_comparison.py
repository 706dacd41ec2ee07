"""Verdicts of results tables, by hand-made scores and by simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.comparison import compare, compare_pairs, verdict
from fourierkd.analysis.results import results_table
from fourierkd.analysis.stats import Interval, bonferroni, interval, paired_difference
from fourierkd.analysis.words import sentences
from fourierkd.errors import ConfigError, DataError, StudyError
from fourierkd.records import MINIMIZE, Metric
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
Table = Callable[..., pd.DataFrame]


def simulated(effect: float, seed: int, studies: int) -> list[dict[str, dict[int, float]]]:
    """Scores of studies with 3 seeds: a seed effect of 3 in both methods, noise of 0.5 per run."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(studies):
        common = generator.normal(30, 3, 3)
        base, new = common + generator.normal(0, 0.5, (2, 3))
        drawn.append({"base": dict(enumerate(base)), "new": dict(enumerate(new + effect))})
    return drawn


def test_verdicts_follow_the_paired_interval(table_of: Table) -> None:
    for scores in simulated(0.6, seed=5, studies=60):
        gain = paired_difference(scores["new"], scores["base"])
        expected = verdict(gain, "maximize", margin=1.0)
        assert compare(table_of(scores), baseline="base")["verdict"].iloc[1] == expected


@pytest.mark.parametrize(("effect", "verdict"), [(5.0, "better"), (-5.0, "worse")])
def test_a_known_effect_is_found(table_of: Table, effect: float, verdict: str) -> None:
    found = [
        compare(table_of(scores), baseline="base").iloc[1]
        for scores in simulated(effect, seed=3, studies=60)
    ]
    assert np.mean([row["verdict"] == verdict for row in found]) > 0.9
    assert np.mean([row["difference"] for row in found]) == pytest.approx(effect, abs=0.2)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 3.0, "better"),
        (-3.0, -0.1, "worse"),
        (0.1, 0.3, "better"),  # real, and too small to matter: its size stands beside it
        (-0.3, -0.1, "worse"),
        (-0.9, 0.9, "equivalent"),
        (-0.9, 1.0, "undecided"),  # the margin itself matters
        (-23.0, 23.0, "undecided"),
        (math.nan, math.nan, "n<2"),
    ],
)
def test_a_verdict_is_what_its_interval_says(low: float, high: float, word: str) -> None:
    gain = Interval((low + high) / 2, low, high, 1 if word == "n<2" else 5)
    mirror = {"better": "worse", "worse": "better"}
    assert verdict(gain, "maximize", margin=1.0) == word
    assert verdict(gain, "minimize", margin=1.0) == mirror.get(word, word)


def test_the_margin_follows_the_unit_or_is_given(table_of: Table) -> None:
    fractions = {"a": {0: 0.5012, 1: 0.5110, 2: 0.5230}, "b": {0: 0.5013, 1: 0.5109, 2: 0.5231}}
    found = compare(table_of(fractions), baseline="a")
    assert list(found["margin"]) == [0.01, 0.01]
    assert found["verdict"].iloc[1] == "equivalent"
    percent = {m: {s: 100 * v for s, v in own.items()} for m, own in fractions.items()}
    assert list(compare(table_of(percent), baseline="a")["margin"]) == [1.0, 1.0]
    assert compare_pairs(table_of(percent))["margin"].eq(1.0).all()
    given = compare(table_of(percent), baseline="a", margin=0.001)
    assert given["margin"].eq(0.001).all()
    assert given["verdict"].iloc[1] == "undecided"
    with pytest.raises(ConfigError, match="margin is above 0, in the metric's unit, got -1"):
        compare(table_of(percent), baseline="a", margin=-1)


def test_what_stands_beside_the_verdicts(table_of: Table) -> None:
    generator = np.random.default_rng(11)
    scores = {m: dict(enumerate(generator.normal(30 + 5 * i, 1, 7))) for i, m in enumerate("abc")}
    scores["a"][3] = -20.0  # its differences have an outlier, and its scores two groups
    found = compare(table_of(scores), baseline="b").set_index("method")
    gains = [scores["a"][s] - scores["b"][s] for s in range(7)]
    at_once = interval(gains, bonferroni(3))  # of the three pairs
    row = found.loc["a"]
    assert (row["all_low"], row["all_high"]) == (at_once.low, at_once.high)
    assert row["median"] == np.median(gains)
    assert row["boot_low"] <= row["median"] <= row["boot_high"]
    assert row["wilcoxon"] == pytest.approx(2 / 2**7)  # all seven below 0
    assert row["groups"].startswith("1 seed near -20, 6 near ")
    assert (row["verdict"], row["seeds_needed"] > 1000) == ("undecided", True)
    assert found.loc["c", "groups"] == ""
    assert math.isnan(found.loc["c", "seeds_needed"])  # decided
    assert math.isnan(found.loc["b", "median"])


def test_every_pair_is_one_family(table_of: Table) -> None:
    generator = np.random.default_rng(3)
    scores = {str(m): dict(enumerate(generator.normal(30 + 3 * m, 1, 4))) for m in range(4)}
    pairs = compare_pairs(table_of(scores)).set_index(["method", "against"])
    assert len(pairs) == 12
    for (a, b), row in pairs.iterrows():
        back = pairs.loc[(b, a)]
        assert (row["difference"], row["diff_low"]) == (-back["difference"], -back["diff_high"])
        assert {row["verdict"], back["verdict"]} in ({"better", "worse"}, {"undecided"})
        own = compare(table_of({a: scores[a], b: scores[b]}), baseline=b).iloc[1]
        assert row["difference"] == pytest.approx(own["difference"])
        assert row["diff_low"] <= own["diff_low"]  # wider than alone


@pytest.mark.parametrize("looked", [False, True])
def test_a_pair_has_one_verdict_whatever_it_is_compared_in(table_of: Table, looked: bool) -> None:
    generator = np.random.default_rng(7)
    means = {"alone": 30.0, "close": 30.0, "kd": 36.0, "l2": 27.0}
    table = table_of({m: dict(enumerate(generator.normal(v, 1, 6))) for m, v in means.items()})
    pairs = compare_pairs(table, looked=looked).set_index(["method", "against"])
    columns = ["difference", "diff_low", "diff_high", "pairs", "verdict", "margin"]
    for baseline in means:
        found = compare(table, baseline=baseline, looked=looked).set_index("method")
        for method in set(means) - {baseline}:
            expected = pairs.loc[(method, baseline), columns]
            assert list(found.loc[method, columns]) == list(expected)
    assert {"better", "worse", "undecided"} <= set(pairs["verdict"])


def test_compare_on_a_whole_study(study_runs: list[RunDir]) -> None:
    found = compare(results_table(study_runs), baseline="student_alone")
    assert list(found["method"]) == ["student_alone", "tuned", "feature_l2", "published"]
    by = found.set_index("method")
    assert by.loc["student_alone", "verdict"] == "baseline"
    assert math.isnan(by.loc["student_alone", "difference"])
    # made with 31.1 - 26.0 and noise of mean 0
    assert by.loc["tuned", "difference"] == pytest.approx(5.1)
    assert by.loc["tuned", "verdict"] == "better"
    assert by.loc["published", "verdict"] == "undecided"
    assert by.loc["published", "diff_low"] < 0 < by.loc["published", "diff_high"]
    assert list(by["n"]) == [3, 3, 2, 3]
    assert by.loc["feature_l2", "missing"] == "102 (failed: killed by signal 9)"
    assert by.loc["tuned", "missing"] == ""


def test_difference_uses_equal_seeds_only(table_of: Table) -> None:
    scores = {"base": {0: 10.0, 1: 12.0, 2: 14.0}, "new": {0: 11.0, 1: 13.5, 9: 99.0}}
    row = compare(table_of(scores), baseline="base").set_index("method").loc["new"]
    assert (row["n"], row["pairs"]) == (3, 2)
    assert row["difference"] == pytest.approx(1.25)
    assert row["missing"] == "2 (no run)"


def test_one_seed_gives_no_verdict(table_of: Table) -> None:
    found = compare(table_of({"base": {0: 10.0}, "new": {0: 20.0}}), baseline="base")
    assert list(found["verdict"]) == ["baseline", "n<2"]
    assert sentences(found, "mIoU") == [
        "new has no verdict against base: +10.00 mIoU (1 paired seed)"
    ]
    found = compare(table_of({"base": {0: 10.0}, "new": {1: 20.0}}), baseline="base")
    assert sentences(found, "mIoU") == ["new has no verdict against base (0 paired seeds)"]


def test_a_lower_metric_can_be_better(table_of: Table) -> None:
    scores = {"base": {0: 10.0, 1: 12.0, 2: 14.0}, "new": {0: 8.0, 1: 10.1, 2: 12.0}}
    up = compare(table_of(scores), baseline="base")
    down = compare(table_of(scores), baseline="base", metric=Metric("mIoU", MINIMIZE))
    assert list(up["verdict"]) == ["baseline", "worse"]
    assert list(down["verdict"]) == ["baseline", "better"]
    own = compare(table_of(scores, direction="minimize"), baseline="base")  # the table says it
    assert own.equals(down)
    both = pd.concat([table_of(scores, direction=word) for word in ("minimize", "maximize")])
    with pytest.raises(DataError, match="both directions"):
        compare(both, baseline="base")


def test_other_metrics_can_be_compared(study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    by = compare(table, baseline="student_alone", metric="aAcc").set_index("method")
    assert by.loc["tuned", "mean"] == pytest.approx(
        compare(table, baseline="student_alone").set_index("method").loc["tuned", "mean"] + 41
    )


def test_failed_and_unfinished_runs_do_not_count(build_run: Build) -> None:
    known = {"phase": "final", "method": "a"}
    runs = [
        build_run("0", seed=0, value=1.0, test=1.0, **known),
        build_run("1", seed=1, value=2.0, test=2.0, state="failed", reason="late", **known),
        build_run("2", seed=2, state=None, test_split="test", **known),
    ]
    (row,) = compare(results_table(runs), baseline="a").to_dict("records")
    assert (row["n"], row["mean"]) == (1, 1.0)
    assert row["missing"] == "1 (failed: late), 2 (running)"


def test_compare_refuses_what_cannot_be_compared(table_of: Table) -> None:
    scores = {"tuned": {0: 1.0, 1: 2.0}, "base": {0: 1.0, 1: 2.0}}
    with pytest.raises(StudyError, match=r"baseline must be a method.*'bse'; did you mean 'base'"):
        compare(table_of(scores), baseline="bse")
    twice = pd.concat([table_of(scores), table_of({"tuned": {0: 5.0}})], ignore_index=True)
    with pytest.raises(StudyError, match="tuned has one run per seed, found several of seed 0"):
        compare(twice, baseline="base")
    mixed = table_of(scores).assign(split=["test", "test", "val", "val"])
    with pytest.raises(DataError, match=r"on one split, got \['test', 'val'\]"):
        compare(mixed, baseline="base")
