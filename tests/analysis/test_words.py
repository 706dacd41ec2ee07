"""Sentences and cells of a comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from fourierkd.analysis.comparison import compare
from fourierkd.analysis.words import decimals, margin_words, sentences


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
    assert good == "good is better than base: +3.00 mIoU [+2.43, +3.57] (3 paired seeds)"
    assert same == "same is equivalent to base: +0.01 mIoU [-0.59, +0.61] (3 paired seeds)"
    assert unknown == "open is undecided against base: -0.10 mIoU [-5.04, +4.84] (3 paired seeds)"
    assert bad == "bad is worse than base: -2.00 mIoU [-2.50, -1.50] (3 paired seeds)"


def test_digits_follow_the_unit() -> None:
    assert decimals(pd.Series([0.31, 0.35])) == 3
    assert decimals(pd.Series([31.0, np.nan])) == 2
