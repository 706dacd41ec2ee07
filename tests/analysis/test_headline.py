"""The first sentence by cases: who is best, what was chosen, what the intervals allow to say."""

from __future__ import annotations

import pandas as pd
import pytest

from fourierkd.analysis.comparison import compare
from fourierkd.analysis.headline import headline
from fourierkd.analysis.words import claim
from fourierkd.records import MAXIMIZE, MINIMIZE, Direction, Metric

TRIAL = {
    "phase": "trial",
    "method": "trial",
    "trial": 0,
    "seed": 0,
    "value": 90.0,
    "split": "val",
    "param.w": 4.0,
}
ALONE = {0: 35.0, 1: 36.0, 2: 37.0}
LOW = {0: 50.1, 1: 49.9, 2: 52.3}
MIDDLE = {0: 60.0, 1: 62.0, 2: 61.0}
HIGH = {0: 70.2, 1: 71.1, 2: 72.0}
CLOSE = {0: 69.0, 1: 72.5, 2: 71.5}  # as good as HIGH, within the seeds' noise


def table_of(
    scores: dict[str, dict[int, float]],
    chosen: dict[str, float] | None = None,
    search: tuple[dict[str, object], ...] = (TRIAL,),
) -> pd.DataFrame:
    """Final runs, method -> seed -> score, and a search; ``chosen``: method -> its ``param.w``."""
    finals = [
        {"phase": "final", "method": method, "seed": seed, "value": value, "split": "test"}
        | {"param.w": (chosen or {}).get(method)}
        for method, by_seed in scores.items()
        for seed, value in by_seed.items()
    ]
    table = pd.DataFrame([*search, *finals]).reindex(columns=[*TRIAL]).astype({"trial": "Int64"})
    return table.assign(state="complete", metric="mIoU", reason=None, run_dir="runs/x")


def say(table: pd.DataFrame, direction: Direction = MAXIMIZE) -> str:
    return headline(table, metric=Metric("mIoU", direction))


def test_tuned_is_the_best() -> None:
    scores = {"student_alone": ALONE, "published": LOW, "feature_l2": LOW, "pkd": MIDDLE}
    assert say(table_of({"tuned": HIGH, **scores})) == (
        "Best method by mean: tuned with 71.10 mIoU on test (3 seeds); it is better than published "
        "(+20.33 [+13.39, +27.27]), better than the best simple baseline pkd "
        "(+10.10 [+4.59, +15.61]), better than plain L2 feature_l2 (+20.33 [+13.79, +26.88]) and "
        "better than student_alone (+35.10 [+33.29, +36.91]) "
        "(95 % intervals by Holm over every pair, 3 paired seeds; equivalent: within ±1 mIoU)."
    )


def test_an_interval_around_zero_is_undecided() -> None:
    text = say(table_of({"student_alone": ALONE, "published": LOW, "pkd": CLOSE, "tuned": HIGH}))
    assert text.startswith("Best method by mean: tuned with 71.10 mIoU on test (3 seeds); ")
    assert "it is better than published (" in text
    assert "), undecided against the best simple baseline pkd (+0.10 [-9.13, +9.33]) and" in text


def test_a_simple_baseline_is_the_best() -> None:
    text = say(table_of({"student_alone": ALONE, "published": LOW, "pkd": HIGH, "tuned": MIDDLE}))
    assert text.startswith("Best method by mean: pkd with 71.10 mIoU on test (3 seeds); tuned is ")
    assert "), worse than the best simple baseline pkd (-10.10 [-13.97, -6.23])" in text
    assert "and better than student_alone" in text


@pytest.mark.parametrize("better", [MIDDLE, HIGH, CLOSE])
def test_the_words_are_those_of_the_table(better: dict[int, float]) -> None:
    table = table_of({"student_alone": ALONE, "pkd": better, "tuned": MIDDLE, "published": CLOSE})
    for other, name in (
        ("student_alone", "student_alone"),
        ("pkd", "the best simple baseline pkd"),
        ("published", "published"),
    ):
        row = compare(table, baseline=other).set_index("method").loc["tuned"]
        words = f"{claim(row['verdict']).removeprefix('is ')} {name}"
        limits = f"[{row['diff_low']:+.2f}, {row['diff_high']:+.2f}]"
        assert f" {words} ({row['difference']:+.2f} {limits})" in say(table)


def test_a_small_interval_is_equivalent() -> None:
    like = {0: 70.2, 1: 71.15, 2: 71.98}
    table = table_of({"student_alone": ALONE, "pkd": like, "tuned": HIGH})
    assert "tuned is equivalent to the best simple baseline pkd (-0.01 [-0.22, +0.20])" in say(
        table
    )
    strict = headline(table, metric="mIoU", margin=0.1)
    assert "tuned is undecided against the best simple baseline pkd (-0.01 [" in strict
    assert strict.endswith("equivalent: within ±0.1 mIoU).")


def test_the_best_of_several_simple_baselines_is_named() -> None:
    scores = {"student_alone": ALONE, "feature_l2": MIDDLE, "pkd": LOW, "tuned": HIGH}
    text = say(table_of(scores))
    assert "the best simple baseline feature_l2 (" in text
    assert "pkd" not in text


def test_another_form_of_the_published_settings_is_no_simple_baseline() -> None:
    scores = {"student_alone": ALONE, "published": LOW, "published_mended": HIGH, "tuned": MIDDLE}
    text = say(table_of(scores))
    assert "simple baseline" not in text
    # but the best method is compared with, whatever it is
    assert text.startswith("Best method by mean: published_mended with 71.10")
    assert "tuned is worse than published_mended (" in text


def test_the_search_chose_an_arm() -> None:
    scores = {"student_alone": ALONE, "pkd": HIGH, "feature_l2": MIDDLE, "published": LOW}
    text = say(table_of(scores, chosen={"pkd": 4.0, "published": 41.0}))
    assert text.startswith(
        "Best method by mean: pkd with 71.10 mIoU on test (3 seeds); the search chose pkd itself, "
        "so tuned is pkd; it is better than published (+20.33 ["
    )
    assert "the best simple baseline feature_l2 (" in text
    text = say(table_of(scores, chosen={"published": 4.0}))
    assert "the search chose published itself, so tuned is published;" in text
    assert "; published is worse than the best simple baseline pkd (" in text


def test_nothing_was_chosen() -> None:
    scores = {"student_alone": ALONE, "pkd": HIGH}
    text = say(table_of(scores, search=({**TRIAL, "value": None},)))
    assert text == (
        "Best method by mean: pkd with 71.10 mIoU on test (3 seeds); nothing is tuned: no trial "
        "was chosen."
    )


def test_where_nothing_was_searched_the_best_is_set_against_the_others() -> None:
    scores = {"student_alone": ALONE, "pkd": HIGH, "cwd": CLOSE, "feature_l2": MIDDLE}
    table = table_of({**scores, "published": LOW}, search=())
    text = say(table)
    assert text.startswith(
        "Best method by mean: pkd with 71.10 mIoU on test (3 seeds); it is undecided against the "
        "next best cwd (+0.10 ["
    )
    assert ", better than published (+20.33 [" in text
    assert ", better than plain L2 feature_l2 (+10.10 [" in text
    assert text.endswith(
        "(95 % intervals by Holm over every pair, 3 paired seeds; equivalent: within ±1 mIoU)."
    )
    row = compare(table, baseline="student_alone").set_index("method").loc["pkd"]
    gain = f"(+35.10 [{row['diff_low']:+.2f}, {row['diff_high']:+.2f}])"
    assert f"and better than student_alone {gain}" in text
    assert say(table_of({"pkd": HIGH}, search=())).endswith("; it is compared with nothing.")


def test_few_seeds_give_no_verdict() -> None:
    scores = {"student_alone": {0: 35.0}, "published": {1: 3.0}, "tuned": {0: 70.0}}
    assert say(table_of(scores)) == (
        "Best method by mean: tuned with 70.00 mIoU on test (1 seed); it has no verdict against "
        "published and has no verdict against student_alone (+35.00) (95 % intervals "
        "by Holm over every pair, 0 to 1 paired seed; equivalent: within ±1 mIoU)."
    )


def test_a_lower_metric_can_be_better() -> None:
    scores = {"student_alone": HIGH, "published": MIDDLE, "pkd": LOW, "tuned": ALONE}
    text = say(table_of(scores), MINIMIZE)
    assert text.startswith("Best method by mean: tuned with 36.00 mIoU")
    assert " better than the best simple baseline pkd (-14.77 [" in text
    assert "best simple" not in say(table_of(scores), MAXIMIZE).split(";")[0]


def test_no_value_and_no_final_run() -> None:
    table = table_of({"student_alone": ALONE, "tuned": HIGH})
    lost = table.assign(state="failed")
    assert say(lost) == "No method is best: no final run has a value."
    only = table.assign(state=["complete"] * 4 + ["failed"] * 3)
    assert say(only).endswith("student_alone with 36.00 mIoU on test (3 seeds); no final run of "
                              "tuned has a value.")  # fmt: skip
    assert say(table[table["phase"] != "final"]) == ""
    alone = table_of({"tuned": HIGH})
    assert say(alone).endswith("(3 seeds); it is compared with nothing.")
