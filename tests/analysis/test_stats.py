"""Intervals and verdicts, proved by hand-made values and by simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fourierkd.analysis.results import results_table
from fourierkd.analysis.stats import (
    Interval,
    compare,
    compare_pairs,
    decimals,
    differences,
    holm,
    interval,
    paired_difference,
    sentences,
)
from fourierkd.errors import ConfigError, DataError, StudyError
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
STUDIES = 4000
TABLES = 600


def table_of(scores: dict[str, dict[int, float]], **columns: object) -> pd.DataFrame:
    """A results table of final runs: method -> seed -> score."""
    rows = [
        {"method": method, "seed": seed, "value": value}
        for method, by_seed in scores.items()
        for seed, value in by_seed.items()
    ]
    known = {"phase": "final", "state": "complete", "split": "test", "metric": "mIoU"}
    return pd.DataFrame(rows).assign(reason=None, run_dir="runs/x", **(known | columns))


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


def simulated(effect: float, seed: int, studies: int) -> list[dict[str, dict[int, float]]]:
    """Scores of studies with 3 seeds: a seed effect of 3 in both methods, noise of 0.5 per run."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(studies):
        common = generator.normal(30, 3, 3)
        base, new = common + generator.normal(0, 0.5, (2, 3))
        drawn.append({"base": dict(enumerate(base)), "new": dict(enumerate(new + effect))})
    return drawn


def test_without_an_effect_false_wins_are_rare() -> None:
    studies = simulated(0.0, seed=2, studies=STUDIES)
    found = [paired_difference(s["new"], s["base"]) for s in studies]
    wins = np.mean([i.low > 0 for i in found])
    losses = np.mean([i.high < 0 for i in found])
    assert 0.03 < wins + losses < 0.07  # 5 % two-sided, standard error 0.35 %
    assert wins < 0.035
    assert losses < 0.035


def test_verdicts_follow_the_paired_interval() -> None:
    for scores in simulated(0.6, seed=5, studies=60):
        gain = paired_difference(scores["new"], scores["base"])
        expected = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not better"
        assert compare(table_of(scores), baseline="base")["verdict"].iloc[1] == expected


@pytest.mark.parametrize(("effect", "verdict"), [(5.0, "better"), (-5.0, "worse")])
def test_a_known_effect_is_found(effect: float, verdict: str) -> None:
    found = [
        compare(table_of(scores), baseline="base").iloc[1]
        for scores in simulated(effect, seed=3, studies=60)
    ]
    assert np.mean([row["verdict"] == verdict for row in found]) > 0.9
    assert np.mean([row["difference"] for row in found]) == pytest.approx(effect, abs=0.2)


def test_holm_by_hand() -> None:
    # 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, 0.04 <= 0.05
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])
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


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("methods", [2, 4, 8])
def test_equal_methods_get_a_false_verdict_in_one_table_of_twenty(methods: int, seeds: int) -> None:
    generator = np.random.default_rng(100 * methods + seeds)
    false = 0
    for scores in generator.normal(30.0, 1.0, (TABLES, methods + 1, seeds)):
        runs = {str(i): pd.Series(row) for i, row in enumerate(scores)}
        gains = differences(runs, [(name, "0") for name in runs if name != "0"])
        false += any(g.low > 0 or g.high < 0 for g in gains.values())
    assert false / TABLES < 0.05 + 3 * math.sqrt(0.05 * 0.95 / TABLES)
    assert false / TABLES > 0.01  # not by saying nothing


def test_every_pair_is_one_family() -> None:
    generator = np.random.default_rng(3)
    scores = {str(m): dict(enumerate(generator.normal(30 + 3 * m, 1, 4))) for m in range(4)}
    pairs = compare_pairs(table_of(scores)).set_index(["method", "against"])
    assert len(pairs) == 12
    for (a, b), row in pairs.iterrows():
        back = pairs.loc[(b, a)]
        assert (row["difference"], row["diff_low"]) == (-back["difference"], -back["diff_high"])
        assert {row["verdict"], back["verdict"]} in ({"better", "worse"}, {"not better"})
        own = compare(table_of({a: scores[a], b: scores[b]}), baseline=b).iloc[1]
        assert row["difference"] == pytest.approx(own["difference"])
        assert row["diff_low"] <= own["diff_low"]  # wider than alone


def test_compare_on_a_whole_study(study_runs: list[RunDir]) -> None:
    found = compare(results_table(study_runs), baseline="student_alone")
    assert list(found["method"]) == ["student_alone", "tuned", "feature_l2", "published"]
    by = found.set_index("method")
    assert by.loc["student_alone", "verdict"] == "baseline"
    assert math.isnan(by.loc["student_alone", "difference"])
    # made with 31.1 - 26.0 and noise of mean 0
    assert by.loc["tuned", "difference"] == pytest.approx(5.1)
    assert by.loc["tuned", "verdict"] == "better"
    assert by.loc["published", "verdict"] == "not better"
    assert by.loc["published", "diff_low"] < 0 < by.loc["published", "diff_high"]
    assert list(by["n"]) == [3, 3, 2, 3]
    assert by.loc["feature_l2", "missing"] == "102 (failed: killed by signal 9)"
    assert by.loc["tuned", "missing"] == ""


def test_difference_uses_equal_seeds_only() -> None:
    scores = {"base": {0: 10.0, 1: 12.0, 2: 14.0}, "new": {0: 11.0, 1: 13.5, 9: 99.0}}
    row = compare(table_of(scores), baseline="base").set_index("method").loc["new"]
    assert (row["n"], row["pairs"]) == (3, 2)
    assert row["difference"] == pytest.approx(1.25)
    assert row["missing"] == "2 (no run)"


def test_one_seed_gives_no_verdict() -> None:
    found = compare(table_of({"base": {0: 10.0}, "new": {0: 20.0}}), baseline="base")
    assert list(found["verdict"]) == ["baseline", "n<2"]
    assert sentences(found, "mIoU") == [
        "new has no verdict against base: +10.00 mIoU (1 paired seed)"
    ]
    found = compare(table_of({"base": {0: 10.0}, "new": {1: 20.0}}), baseline="base")
    assert sentences(found, "mIoU") == ["new has no verdict against base (0 paired seeds)"]


def test_a_lower_metric_can_be_better() -> None:
    scores = {"base": {0: 10.0, 1: 12.0, 2: 14.0}, "new": {0: 8.0, 1: 10.1, 2: 12.0}}
    up = compare(table_of(scores), baseline="base")
    down = compare(table_of(scores), baseline="base", direction="minimize")
    assert list(up["verdict"]) == ["baseline", "worse"]
    assert list(down["verdict"]) == ["baseline", "better"]
    own = compare(table_of(scores, direction="minimize"), baseline="base")  # the table says it
    assert own.equals(down)
    with pytest.raises(ConfigError, match="direction"):
        compare(table_of(scores), baseline="base", direction="up")
    both = pd.concat([table_of(scores, direction=word) for word in ("minimize", "maximize")])
    with pytest.raises(DataError, match="both directions"):
        compare(both, baseline="base")


def test_sentences_in_plain_words() -> None:
    scores = {
        "base": {0: 10.0, 1: 12.0, 2: 14.0},
        "good": {0: 13.0, 1: 15.1, 2: 16.9},
        "bad": {0: 8.0, 1: 9.9, 2: 12.1},
        "same": {0: 10.4, 1: 11.8, 2: 13.9},
    }
    good, same, bad = sentences(compare(table_of(scores), baseline="base"), "mIoU")
    assert good == "good is better than base: +3.00 mIoU [+2.56, +3.44] (3 paired seeds)"
    assert same == "same is not better than base: +0.03 mIoU [-0.77, +0.83] (3 paired seeds)"
    assert bad == "bad is worse than base: -2.00 mIoU [-2.36, -1.64] (3 paired seeds)"


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


def test_compare_refuses_what_cannot_be_compared() -> None:
    scores = {"tuned": {0: 1.0, 1: 2.0}, "base": {0: 1.0, 1: 2.0}}
    with pytest.raises(StudyError, match=r"baseline must be a method.*'bse'; did you mean 'base'"):
        compare(table_of(scores), baseline="bse")
    twice = pd.concat([table_of(scores), table_of({"tuned": {0: 5.0}})], ignore_index=True)
    with pytest.raises(StudyError, match="tuned has one run per seed, found several of seed 0"):
        compare(twice, baseline="base")
    mixed = table_of(scores).assign(split=["test", "test", "val", "val"])
    with pytest.raises(DataError, match=r"on one split, got \['test', 'val'\]"):
        compare(mixed, baseline="base")


def test_digits_follow_the_unit() -> None:
    assert decimals(pd.Series([0.31, 0.35])) == 3
    assert decimals(pd.Series([31.0, np.nan])) == 2
    assert Interval(1.0, 0.0, 2.0, 3).n == 3
