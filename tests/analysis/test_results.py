"""The results table: what each record becomes, what a broken folder becomes, what files keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from fourierkd.analysis.results import (
    class_values,
    load_results,
    metric_values,
    parameters,
    results_table,
    write_results,
)
from fourierkd.errors import DataError
from fourierkd.run_dir import RunDir, write_atomic

Build = Callable[..., RunDir]


def test_row_of_a_finished_run(build_run: Build) -> None:
    run = build_run(
        "final_tuned_100",
        phase="final",
        method="tuned",
        seed=100,
        value=31.5,
        test=30.25,
        parameters={"loss_weight": 7, "mask": "low_pass"},
    )
    (row,) = results_table([run]).to_dict("records")
    assert row["study"] == "fake"
    assert (row["phase"], row["method"], row["seed"]) == ("final", "tuned", 100)
    assert (row["split"], row["metric"], row["value"]) == ("test", "mIoU", 30.25)
    assert (row["val_mIoU"], row["test_mIoU"], row["test_aAcc"]) == (31.5, 30.25, 71.25)
    assert (row["param.loss_weight"], row["param.mask"]) == (7.0, "low_pass")
    assert (row["seconds"], row["seconds_train"], row["iters"]) == (40.5, 30.25, 200)
    assert (row["state"], row["run_dir"]) == ("complete", "runs/final_tuned_100")
    assert row["versions"] == "torch 2.13.0, mmseg 1.4.2, optuna 5.0.0"
    assert row["commit"].startswith("0123456789abcdef")
    assert pd.isna(row["trial"])
    assert pd.isna(row["reason"])
    assert parameters(row) == {"loss_weight": 7.0, "mask": "low_pass"}


def test_without_a_test_split_the_value_is_the_best_on_val(build_run: Build) -> None:
    (row,) = results_table([build_run("a", value=28.5)]).to_dict("records")
    assert (row["split"], row["value"]) == ("val", 28.5)


def test_a_val_score_never_stands_in_for_a_missing_test_score(build_run: Build) -> None:
    run = build_run("a", value=28.5, state="failed", reason="disk full", test_split="test")
    (row,) = results_table([run]).to_dict("records")
    assert row["split"] == "test"
    assert np.isnan(row["value"])


def test_unfinished_runs_are_running(build_run: Build) -> None:
    (row,) = results_table([build_run("a", state=None)]).to_dict("records")
    assert row["state"] == "running"
    assert np.isnan(row["value"])


@pytest.mark.parametrize("damage", ["no request", "cut request", "cut result", "list result"])
def test_broken_folders_are_named_and_the_others_stay(build_run: Build, damage: str) -> None:
    good, bad = build_run("good"), build_run("bad")
    if damage == "no request":
        bad.request.unlink()
    else:
        path = bad.request if damage == "cut request" else bad.result
        write_atomic(path, "[]" if damage == "list result" else path.read_text()[:20])
    table = results_table([good, bad]).set_index("run_dir")
    assert table.loc["runs/good", "state"] == "complete"
    assert table.loc["runs/bad", "state"] == "failed"
    assert table.loc["runs/bad", "reason"].startswith("unreadable run folder: ")
    if damage != "no request":
        assert ("request" if damage == "cut request" else "result") in table.loc[
            "runs/bad", "reason"
        ]


def test_uncommitted_changes_are_marked(build_run: Build) -> None:
    run = build_run("a")
    write_atomic(
        run.environment,
        '{"versions": {"torch": "2", "wandb": null}, "commit": "ab", "dirty": true, '
        '"processor": "EPYC", "threads": 2}',
    )
    (row,) = results_table([run]).to_dict("records")
    assert (row["commit"], row["versions"]) == ("ab-dirty", "torch 2")
    assert row["machine"] == "EPYC, 2 threads a run"


def test_run_dir_is_absolute_outside_of_the_work_dir(build_run: Build, tmp_path: Path) -> None:
    run = build_run("a")
    inside = results_table([run], work_dir=tmp_path)["run_dir"][0]
    outside = results_table([run], work_dir=tmp_path / "elsewhere")["run_dir"][0]
    assert inside == "runs/a"
    assert outside == str(run.path)
    assert tmp_path / "elsewhere" / outside == run.path


def test_no_runs_make_an_empty_table(tmp_path: Path) -> None:
    table = results_table([])
    assert len(table) == 0
    write_results(table, tmp_path)
    assert list(load_results(tmp_path).columns) == list(table.columns)


def test_columns_and_types(study_runs: list[RunDir]) -> None:
    table = results_table(study_runs)
    head = ["study", "phase", "method", "trial", "tunes", "seed"]
    head += ["split", "metric", "direction", "value"]
    tail = ["seconds", "seconds_train", "iters", "parameters_student", "parameters_added"]
    tail += ["peak_mib", "state", "reason", "run_dir"]
    tail += ["versions", "commit"]
    tail += ["machine", "teacher_sha256", "data", "config_hash", "device", "threads", "host"]
    assert list(table.columns[:10]) == head
    assert list(table.columns[-len(tail) :]) == tail
    assert list(table.columns[10:14]) == ["val_aAcc", "val_mIoU", "test_aAcc", "test_mIoU"]
    assert table["trial"].dtype == "Int64"
    assert table["param.noise"].dtype == "boolean"
    assert table["param.loss_weight"].dtype == float
    assert len(table) == 25


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_keep_the_table(study_runs: list[RunDir], tmp_path: Path, suffix: str) -> None:
    table = results_table(study_runs)
    paths = write_results(table, tmp_path)
    (path,) = [p for p in paths if p.suffix == suffix]
    assert_frame_equal(load_results(path), table)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.csv", "results.parquet"]


def test_mixed_and_nested_parameters_survive_as_text(build_run: Build, tmp_path: Path) -> None:
    runs = [
        build_run("a", parameters={"mask": "None", "bands": [0.1, 0.5]}),
        build_run("b", parameters={"mask": 0.5}),
    ]
    table = results_table(runs)
    assert list(table["param.mask"]) == ["None", "0.5"]
    assert table["param.bands"][0] == "[0.1, 0.5]"
    for path in write_results(table, tmp_path):
        assert_frame_equal(load_results(path), table)


def test_load_prefers_parquet_and_falls_back_to_csv(
    study_runs: list[RunDir], tmp_path: Path
) -> None:
    _, parquet = write_results(results_table(study_runs), tmp_path)
    write_results(results_table(study_runs[:3]), tmp_path / "other")
    (tmp_path / "other" / "results.csv").replace(tmp_path / "results.csv")
    assert len(load_results(tmp_path)) == 25
    parquet.unlink()
    assert len(load_results(tmp_path)) == 3


def test_load_errors_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"work dir holds results\.parquet or results\.csv"):
        load_results(tmp_path)
    with pytest.raises(DataError, match=r"must exist.*nowhere\.csv"):
        load_results(tmp_path / "nowhere.csv")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(
        DataError, match=r"a\.csv is not a results table: it lacks the columns study"
    ):
        load_results(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"a\.parquet is not a readable table"):
        load_results(tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"\.csv or \.parquet"):
        load_results(tmp_path / "a.txt")


def test_metric_values_take_the_split_of_each_row(build_run: Build) -> None:
    table = results_table([build_run("a", value=30.0), build_run("b", value=31.0, test=29.0)])
    assert list(metric_values(table)) == [30.0, 29.0]
    assert list(metric_values(table, "mIoU")) == [30.0, 29.0]
    assert list(metric_values(table, "aAcc")) == [70.0, 70.0]
    assert list(metric_values(table, "val_mIoU")) == [30.0, 31.0]
    with pytest.raises(DataError, match=r"no run has this metric, got 'mAP'; known: aAcc, mIoU"):
        metric_values(table, "mAP")


def test_a_table_without_machines_is_read(study_runs: list[RunDir], tmp_path: Path) -> None:
    """Those of earlier versions have none."""
    write_results(results_table(study_runs).drop(columns="machine"), tmp_path)
    table = load_results(tmp_path)
    assert table["machine"].isna().all()
    assert len(table) == len(study_runs)


ODD = ["zebra", 'a "b", c/d.e', "Straße 道路", "mIoU", "class.x", "line\nbreak"]


def test_scores_of_classes_are_columns_that_both_files_keep(
    build_run: Build, tmp_path: Path
) -> None:
    scores = {name: 10.5 + i for i, name in enumerate(ODD)}
    one = build_run("one", classes={"val": scores, "test": {**scores, "zebra": None}}, test=40.0)
    other = build_run("other", classes={"val": {"apple": 0.25, "mIoU": 1.0}})
    table = results_table([one, other, build_run("old")])
    names = [name for name in table.columns if name.startswith("val_class.")]
    assert names == [f"val_class.{name}" for name in (*ODD, "apple")]
    order = [list(table.columns).index(n) for n in ("test_mIoU", names[0], "test_class.zebra")]
    assert order == sorted(order)
    found = class_values(table, split="val")
    assert list(found.columns) == [*ODD, "apple"]
    assert found.iloc[0][ODD].to_dict() == scores
    assert np.isnan(found.loc[0, "apple"])
    assert found.loc[1].dropna().to_dict() == {"mIoU": 1.0, "apple": 0.25}
    assert found.loc[2].isna().all()
    assert np.isnan(class_values(table, split="test").loc[0, "zebra"])
    assert metric_values(table).tolist() == [40.0, 30.0, 30.0]
    for path in write_results(table, tmp_path):
        assert_frame_equal(load_results(path), table)
    with pytest.raises(DataError, match="known: aAcc, mIoU$"):
        metric_values(table, "nothing")


def test_a_table_of_runs_without_classes_has_no_such_column(build_run: Build) -> None:
    table = results_table([build_run("a")])
    assert not any("_class." in name for name in table.columns)
    assert class_values(table, split="val").shape == (1, 0)
