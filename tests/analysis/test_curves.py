"""Curves are read from the run folders as logged, and averaged over the runs of a method."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fourierkd.analysis.curves import mean_curves, scalar_curves
from fourierkd.analysis.results import results_table
from fourierkd.analysis.stats import interval
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]


def rows(*values: float) -> list[dict[str, float]]:
    return [
        {"iter": 10 * (i + 1), "val/mIoU": v, "val/mIoU.cat": 1.0} for i, v in enumerate(values)
    ]


def test_scalars_of_every_run_by_prefix(build_run: Build, tmp_path: Path) -> None:
    table = results_table([build_run("a", rows=rows(1.0, 2.0), seed=4, method="m")])
    found = scalar_curves(table, tmp_path, prefix="val/mIoU")
    assert set(found["name"]) == {"val/mIoU", "val/mIoU.cat"}
    one = found[found["name"] == "val/mIoU"]
    assert list(one["iter"]) == [10, 20]
    assert list(one["value"]) == [1.0, 2.0]
    assert set(one["method"]) == {"m"}
    assert set(one["seed"]) == {4}


def test_rows_before_a_resume_are_void_and_nulls_left_out(build_run: Build, tmp_path: Path) -> None:
    run = build_run("a", rows=[*rows(1.0, 2.0, 3.0), {"event": "resume", "iter": 10}])
    run.append({"iter": 20, "val/mIoU": 2.5})
    run.append({"iter": 30, "val/mIoU": math.nan})
    found = scalar_curves(results_table([run]), tmp_path, prefix="val/mIoU")
    assert list(found[found["name"] == "val/mIoU"]["value"]) == [1.0, 2.5]


def test_a_folder_that_is_gone_adds_nothing(build_run: Build, tmp_path: Path) -> None:
    table = results_table([build_run("a")])
    found = scalar_curves(table, tmp_path / "moved", prefix="val/")
    assert found.empty
    assert mean_curves(found).empty
    assert "mean" in mean_curves(found).columns


def test_mean_and_interval_over_runs(build_run: Build, tmp_path: Path) -> None:
    runs = [
        build_run("a0", rows=rows(1.0, 5.0), method="a", seed=0),
        build_run("a1", rows=rows(3.0, 6.0), method="a", seed=1),
        build_run("a2", rows=rows(5.0), method="a", seed=2),
        build_run("b0", rows=rows(9.0), method="b", seed=0),
    ]
    curves = scalar_curves(results_table(runs), tmp_path, prefix="val/mIoU")
    found = mean_curves(curves[curves["name"] == "val/mIoU"]).set_index(["method", "iter"])
    assert found.loc[("a", 10), ["n", "mean"]].tolist() == [3, 3.0]
    assert found.loc[("a", 10), "low"] == pytest.approx(interval([1.0, 3.0, 5.0]).low)
    assert found.loc[("a", 20), ["n", "mean"]].tolist() == [2, 5.5]
    assert math.isnan(found.loc[("b", 10), "low"])


def test_names_keep_the_order_in_which_they_were_logged(build_run: Build, tmp_path: Path) -> None:
    row = {"iter": 1, "spectra/f/gap_low": 1.0, "spectra/f/gap_high": 2.0}
    table = results_table([build_run("a", rows=[row, {**row, "iter": 2}])])
    found = mean_curves(scalar_curves(table, tmp_path, prefix="spectra/"))
    assert list(dict.fromkeys(found["name"])) == ["spectra/f/gap_low", "spectra/f/gap_high"]
