"""Shares of the teacher's gap, by hand and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.gap import gap_closed, share_of, teacher_scores
from fourierkd.analysis.results import results_table
from fourierkd.analysis.stats import interval
from fourierkd.records import MINIMIZE, Metric
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]


def test_with_a_gap_that_is_known_it_is_the_t_interval() -> None:
    gains = [4.0, 6.0, 5.0]
    plain, found = interval(gains), share_of(gains, [10.0] * 3)
    assert found == pytest.approx((0.5, plain.low / 10, plain.high / 10, 3))


def test_fieller_by_its_definition() -> None:
    """At each end a t interval of gains - r * gaps ends at 0."""
    gains, gaps = np.array([4.0, 7.5, 5.1, 6.2]), np.array([9.0, 12.0, 8.5, 11.0])
    found = share_of(gains, gaps)
    assert found.share == pytest.approx(gains.mean() / gaps.mean())
    for end in (found.low, found.high):
        limits = interval(gains - end * gaps)
        assert min(abs(limits.low), abs(limits.high)) == pytest.approx(0, abs=1e-9)


def test_a_gap_that_may_be_none_bounds_nothing() -> None:
    assert math.isnan(share_of([1.0, 2.0], [-5.0, -4.0]).share)  # the student alone is the better
    wide = share_of([1.0, 2.0, 1.5], [0.1, 9.0, -1.0])
    assert wide.share == pytest.approx(4.5 / 8.1)
    assert math.isnan(wide.low)
    assert math.isnan(share_of([1.0], [2.0]).low)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_covers(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    covered = 0
    for _ in range(2000):
        alone = generator.normal(30, 1, seeds)
        own = alone + generator.normal(12, 2, seeds)  # the teacher has 50: a share of 0.6
        found = share_of(own - alone, 50 - alone)
        covered += found.low <= 0.6 <= found.high
    assert 0.93 < covered / 2000 < 0.97


def test_of_a_study(study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    assert teacher_scores(table, "mIoU") == dict.fromkeys((100, 101, 102), 64.2)
    found = gap_closed(table, baseline="student_alone", metric="mIoU")
    assert list(found) == [m for m in found if m != "student_alone"]
    # val is one above test: (31.27 - 26.17) / (64.2 - 27.17)
    assert found["tuned"].share == pytest.approx(5.1 / (64.2 - 26.1667 - 1), abs=1e-4)
    assert found["feature_l2"].n == 2  # its third run failed
    assert found["tuned"].low < found["tuned"].share < found["tuned"].high


def test_without_one_teacher_there_is_no_gap(build_run: Build, study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    alone = table[table["phase"] != "teacher"]
    assert gap_closed(alone, baseline="student_alone", metric="mIoU") == {}
    other = results_table([build_run("t", phase="teacher", method="teacher", value=70.0)])
    two = pd.concat([table, other], ignore_index=True)
    assert gap_closed(two, baseline="student_alone", metric="mIoU") == {}
    assert gap_closed(table, baseline="nobody", metric="mIoU") == {}
    assert gap_closed(table, baseline="student_alone", metric="unknown") == {}


def test_each_seed_has_the_gap_of_its_own_teacher(build_run: Build) -> None:
    runs, weights = [], {}
    for seed, teacher in ((0, 70.0), (1, 80.0), (2, 90.0)):
        runs += [build_run(f"t{seed}", phase="teacher", method="teacher", value=teacher)]
        weights[runs[-1].path.name] = f"sha{seed}"
        for method, value in (("student_alone", 40.0 + seed), ("pkd", 50.0 + 3 * seed)):
            name = f"{method}{seed}"
            runs += [build_run(name, phase="final", method=method, seed=seed, value=value)]
            weights[runs[-1].path.name] = None if method == "student_alone" else f"sha{seed}"
    table = results_table(runs)
    assert gap_closed(table, baseline="student_alone", metric="mIoU") == {}  # whose is whose?
    table["teacher_sha256"] = table["run_dir"].map(lambda path: weights[Path(path).name])
    assert teacher_scores(table, "mIoU") == {0: 70.0, 1: 80.0, 2: 90.0}
    found = gap_closed(table, baseline="student_alone", metric="mIoU")
    assert found["pkd"] == share_of([10.0, 12.0, 14.0], [30.0, 39.0, 48.0])
    unknown = table.drop(index=table.index[table["value"] == 90.0])
    assert gap_closed(unknown, baseline="student_alone", metric="mIoU")["pkd"].n == 2


def test_a_lower_metric_closes_the_gap_from_above(study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    table["val_mIoU"] = 100 - table["val_mIoU"]
    found = gap_closed(table, baseline="student_alone", metric=Metric("mIoU", MINIMIZE))
    assert found["tuned"].share == pytest.approx(5.1 / (64.2 - 26.1667 - 1), abs=1e-4)
