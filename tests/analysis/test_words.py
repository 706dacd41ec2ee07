"""Sentences and cells of a comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from fourierkd.analysis.comparison import compare
from fourierkd.analysis.words import decimals, group_lines, margin_words, needs, sentences


def test_sentences_in_plain_words(table_of: Callable[..., pd.DataFrame]) -> None:
    scores = {
        "base": {0: 10.0, 1: 12.0, 2: 14.0},
        "good": {0: 13.0, 1: 15.1, 2: 16.9},
        "bad": {0: 8.0, 1: 9.9, 2: 12.1},
        "same": {0: 10.12, 1: 11.91, 2: 14.0},
        "open": {0: 10.9, 1: 11.0, 2: 13.8},
    }
    found = compare(table_of(scores), baseline="base")
    assert margin_words(found, "mIoU") == "equivalent: within ±1 mIoU"
    good, same, unknown, bad = sentences(found, "mIoU")
    assert good == "good is better than base: +3.00 mIoU [+2.09, +3.91] (3 paired seeds)"
    assert same == "same is equivalent to base: +0.01 mIoU [-0.95, +0.97] (3 paired seeds)"
    assert unknown == (
        "open is undecided against base: -0.10 mIoU [-7.96, +7.76] (3 paired seeds); an effect of "
        "1 mIoU would need about 17 seeds"
    )
    assert needs(found, "mIoU") == ["an effect of 1 mIoU of open would need about 17 seeds"]
    assert needs(compare(table_of(scores), baseline="base", margin=9), "mIoU") == []
    less = sentences(compare(table_of(scores), baseline="base", margin=0.55), "mIoU")[1]
    assert less.endswith("; an effect of 0.55 mIoU would need about 4 seeds")
    none = sentences(compare(table_of(scores), baseline="base", margin=0.001), "mIoU")[1]
    assert none.endswith("; an effect of 0.001 mIoU would need more than 1000 seeds")
    assert bad == "bad is worse than base: -2.00 mIoU [-2.82, -1.18] (3 paired seeds)"


def test_an_effect_that_would_have_been_seen(table_of: Callable[..., pd.DataFrame]) -> None:
    """Six seeds would find an effect of the margin, and yet the interval leaves the margin."""
    gains = [1.31, 0.22, -0.33, 0.95, 0.04, 0.81]
    base = {seed: 30.0 + seed for seed in range(6)}
    new = {seed: base[seed] + gain for seed, gain in enumerate(gains)}
    (text,) = sentences(compare(table_of({"base": base, "new": new}), baseline="base"), "mIoU")
    assert text.startswith("new is undecided against base: +0.50 mIoU [")
    assert text.endswith("(6 paired seeds); an effect of 1 mIoU would probably have been found")


def test_two_groups_of_scores_are_said(table_of: Callable[..., pd.DataFrame]) -> None:
    even = {0: 31.02, 1: 32.2, 2: 33.1, 3: 31.8, 4: 30.4}
    late = {0: 73.92, 1: 66.41, 2: 74.2, 3: 73.8, 4: 74.0}
    found = compare(table_of({"base": even, "late": late}), baseline="base")
    assert group_lines(found) == [
        "the scores of late lie in two groups: 1 seed near 66.41, 4 near 73.98"
    ]


def test_digits_follow_the_unit() -> None:
    assert decimals(pd.Series([0.31, 0.35])) == 3
    assert decimals(pd.Series([31.0, np.nan])) == 2
