"""What intervals cover with one teacher, with one a seed, and why there is nothing between."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.comparison import compare
from fourierkd.analysis.headline import headline
from fourierkd.analysis.sequential import standard_errors
from fourierkd.analysis.stats import bonferroni, interval
from fourierkd.analysis.teachers import beside_seeds, covered, teachers
from fourierkd.errors import DataError

TABLES = 4000
SPREAD = (0.0, 0.5, 1.0, 2.0)  # of a difference over teachers, in deviations over seeds


def finals(weights: dict[int, str | None]) -> pd.DataFrame:
    """Two methods, and for each seed the teacher of the second."""
    rows = [
        {"method": method, "seed": seed, "value": value + seed, "teacher_sha256": sha}
        for seed, own in weights.items()
        for method, value, sha in (("student_alone", 30.0, None), ("pkd", 40.0 + seed, own))
    ]
    fixed = {"phase": "final", "state": "complete", "metric": "mIoU", "split": "test"}
    return pd.DataFrame(rows).assign(**fixed, reason=None, tunes=None, trial=None, run_dir="r")


@pytest.mark.parametrize(
    ("weights", "count", "words", "short"),
    [
        ({0: None, 1: None}, 0, "over seeds of weights and data order", ""),
        ({0: "a", 1: "a"}, 1, "over seeds of weights and data order, one teacher", ", one teacher"),
        (
            {0: "a", 1: "b"},
            2,
            "over seeds of weights and data order and 2 teachers, one a seed",
            ", each with its own teacher",
        ),
    ],
)
def test_what_intervals_cover_is_said(weights, count, words, short) -> None:
    table = finals(weights)
    assert teachers(table) == count
    assert (covered(table), beside_seeds(table)) == (words, short)
    assert f"2 paired seeds{short}; equivalent" in headline(table, metric="mIoU")


def test_teachers_that_seeds_share_are_refused() -> None:
    table = finals({0: "a", 1: "b", 2: "a"})
    with pytest.raises(DataError, match="a teacher for each seed.*got 'pkd: 2 teachers, 3 seeds'"):
        compare(table, baseline="student_alone")
    failed = table.assign(state=["complete"] * 4 + ["failed"] * 2)
    compare(failed, baseline="student_alone")  # the others have one each
    assert compare(finals({0: "a", 1: "b", 2: "c"}), baseline="student_alone")["pairs"].max() == 3


def differences(count: int, seeds: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """(TABLES, seeds) of true mean 0: a part of its teacher's and one of its own; the teachers."""
    generator = np.random.default_rng([count, seeds, round(10 * spread)])
    whose = np.arange(seeds) % count
    of_teacher = spread * generator.standard_normal((TABLES, count))
    return of_teacher[:, whose] + generator.standard_normal((TABLES, seeds)), whose


def coverage(samples: np.ndarray) -> float:
    """How many intervals of rows hold 0; the factor of the interval is that of ``interval``."""
    n = samples.shape[1]
    found = interval(np.arange(n))
    factor = (found.high - found.mean) / np.std(np.arange(n), ddof=1)
    held = np.abs(samples.mean(axis=1)) <= factor * samples.std(axis=1, ddof=1)
    return float(held.mean())


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", SPREAD)
def test_with_a_teacher_for_each_seed_the_interval_covers(seeds: int, spread: float) -> None:
    error = 3 * math.sqrt(0.95 * 0.05 / TABLES)
    assert coverage(differences(seeds, seeds, spread)[0]) == pytest.approx(0.95, abs=error)


def test_with_fewer_it_would_not() -> None:
    """Unless a mean of each teacher's seeds were one value, which leaves as many as teachers."""
    error = 3 * math.sqrt(0.95 * 0.05 / TABLES)
    widths = {}
    for count, seeds, most in ((2, 10, 0.73), (3, 10, 0.82), (5, 10, 0.90)):
        samples, whose = differences(count, seeds, 1.0)
        assert coverage(samples) < most
        for spread in (0.0, 1.0):
            samples, whose = differences(count, seeds, spread)
            means = np.stack([samples[:, whose == i].mean(axis=1) for i in range(count)], axis=1)
            if seeds % count == 0:
                assert coverage(means) == pytest.approx(0.95, abs=error)
            own = differences(seeds, seeds, spread)[0]
            widths[count, spread] = width(means) / width(own)
    # also where teachers make no difference at all; see docs/design.md
    assert widths[2, 0.0] > 4
    assert widths[3, 0.0] > 1.6
    assert widths[5, 0.0] > 1.1
    assert widths[5, 1.0] > 1.4


def width(samples: np.ndarray) -> float:
    """Mean half width of the intervals of rows."""
    return float(np.mean([found.high - found.mean for found in map(interval, samples[:1000])]))


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_seeds_with_teachers_may_be_added_after_a_look(spread: float) -> None:
    looks, level = 12, bonferroni(1)
    samples = differences(looks, looks, spread)[0]
    ever = np.zeros(TABLES, bool)
    for n in range(3, looks + 1):
        own = samples[:, :n]
        half = standard_errors(n, level) * own.std(axis=1, ddof=1) / math.sqrt(n)
        ever |= np.abs(own.mean(axis=1)) > half
    assert ever.mean() < 0.05


def test_the_teacher_of_the_search_would_flatter_what_it_chose() -> None:
    """Of 20 settings that differ in nothing but what each does with a teacher, the best with the
    first is trained with five: of which the first is one, or with five others.
    """
    generator = np.random.default_rng(0)
    seeds, with_teacher = 5, generator.standard_normal((TABLES, 20, 6))
    chosen = (with_teacher[:, :, 0] + generator.standard_normal((TABLES, 20))).argmax(axis=1)
    own = with_teacher[np.arange(TABLES), chosen] + generator.standard_normal((TABLES, 6))
    same, fresh = own[:, :seeds], own[:, 1:]
    assert same.mean() > 0.2  # deviations over seeds, for nothing
    assert abs(fresh.mean()) < 0.05
    better = {name: lower(part) > 0 for name, part in (("same", same), ("fresh", fresh))}
    assert better["same"].mean() > 0.035
    assert better["fresh"].mean() < 0.033


def lower(samples: np.ndarray) -> np.ndarray:
    """The lower ends of the intervals of rows."""
    return np.array([interval(row).low for row in samples])
