"""Runs of W&B as a results table: what is known stands in its column, the rest is empty, and
nothing is compared that is not known to be alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fourierkd.analysis import compare, compare_pairs, load_results
from fourierkd.analysis.classes import compare_classes
from fourierkd.analysis.gap import gap_closed
from fourierkd.analysis.results import metric_of
from fourierkd.errors import ConfigError, DataError
from fourierkd.tracking import past_runs
from fourierkd.tracking.past_runs import PastRun
from sweeps.imported import _split_and_name
from sweeps.run import main

SCORES = {"cwd": (70.0, 71.0, 72.5), "plain": (60.0, 61.2, 62.0)}


def past(identity: str, **known: Any) -> PastRun:
    config, summary = known.pop("config", {}), known.pop("summary", {})
    words = {"name": f"run {identity}", "project": "old", "place": f"{identity}.wandb"}
    words |= {"state": "finished", **known}
    return PastRun(id=identity, config=config, summary=summary, **words)


def foreign() -> list[PastRun]:
    """Three seeds of two methods of another code, and a run that crashed."""
    runs = [
        past(
            f"{method}{seed}",
            config={"model": {"kd": method}, "rng": seed, "trial": "b"},
            summary={"val": {"mIoU": {"max": score}}, "_runtime": 12.5, "curve": {"_type": "x"}},
        )
        for method, scores in SCORES.items()
        for seed, score in enumerate(scores)
    ]
    crashed = {"model": {"kd": "cwd"}, "rng": 9}
    return [*runs, past("gone", config=crashed, state="crashed")]


OF_OURS = {
    "study": "shapes",
    "phase": "final",
    "method": "pkd",
    "seed": 1000,
    "trial": None,
    "commit": "abc",
}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[PastRun]:
    """What W&B's reader finds."""
    found: list[PastRun] = []
    monkeypatch.setattr(past_runs, "runs_in_files", lambda _: found)
    return found


KEYS = ["--metric", "val.mIoU.max", "--method-key", "model.kd", "--seed-key", "rng"]


def test_known_columns_are_filled_and_the_rest_is_empty(runs, tmp_path, capsys):
    runs += foreign()
    assert main(["import", "old", "--out", str(tmp_path / "old"), *KEYS]) == 0
    first, second = capsys.readouterr().out.splitlines()
    csv = tmp_path / "old" / "results.csv"
    assert first == f"results: {csv}: 7 runs of 2 methods, 6 complete with val.mIoU.max"
    assert second == "not known of them, so not assumed: teacher, data, schedule, machine"
    table = load_results(tmp_path / "old")
    pd.testing.assert_frame_equal(table, load_results(csv))
    row = table.iloc[1]
    assert (row["study"], row["phase"], row["method"], row["seed"]) == ("old", "final", "cwd", 1)
    assert (row["split"], row["metric"], row["value"]) == ("val", "mIoU", 71.0)
    assert (row["val_mIoU"], row["seconds"]) == (71.0, 12.5)
    assert (row["state"], row["run_dir"]) == ("complete", "cwd1.wandb")
    unknown = ["trial", "teacher_sha256", "data", "config_hash", "versions", "machine"]
    assert row[unknown].isna().all()
    assert list(table["state"].iloc[-1:]) == ["failed"]
    assert table["reason"].iloc[-1] == "W&B says crashed"


def test_its_runs_are_compared_with_each_other_as_the_notebook_does(runs, tmp_path):
    runs += foreign()
    main(["import", "old", "--out", str(tmp_path), *KEYS])
    table = load_results(tmp_path)
    found = compare(table, baseline="plain").set_index("method")
    assert found.loc["cwd", "difference"] == pytest.approx(10.1)
    assert found.loc["cwd", ["pairs", "verdict"]].tolist() == [3, "better"]
    assert len(compare_pairs(table)) == 2
    assert gap_closed(table, baseline="student_alone", metric=metric_of(table)) == {}
    assert compare_classes(table, baseline="student_alone").empty


def test_they_are_not_compared_with_runs_of_which_more_is_known(runs, tmp_path):
    runs += foreign()
    main(["import", "old", "--out", str(tmp_path), *KEYS])
    table = load_results(tmp_path)
    native = table[table["method"] == "plain"].assign(data="d1", method="student_alone")
    assert len(compare(native, baseline="student_alone")) == 1
    with pytest.raises(DataError, match=r"not known of all.*cwd.*compare imported runs with each"):
        compare(pd.concat([native, table], ignore_index=True), baseline="student_alone")


def test_runs_of_ours_keep_their_place_in_a_study(runs, tmp_path):
    scored = {"test/mIoU": 71.5, "state": "complete"}
    runs.append(past("a", config=OF_OURS, summary=scored))
    runs.append(past("b", config=OF_OURS | {"phase": "trial", "trial": 4}, summary=scored))
    pruned = {"test/mIoU": 1.0, "state": "pruned"}
    runs.append(past("c", config=OF_OURS | {"phase": "single"}, summary=pruned, state="failed"))
    runs.append(past("d", config=OF_OURS | {"phase": "report", "method": "report"}))
    main(["import", "x", "--out", str(tmp_path), "--metric", "test/mIoU"])
    table = load_results(tmp_path)
    assert list(table["phase"]) == ["final", "trial", "final"]
    assert list(table["state"]) == ["complete", "complete", "pruned"]
    assert table["trial"].fillna(-1).tolist() == [-1, 4, -1]
    row = table.iloc[0]
    assert (row["study"], row["method"], row["seed"], row["commit"]) == (
        "shapes",
        "pkd",
        1000,
        "abc",
    )
    assert (row["split"], row["metric"], row["value"]) == ("test", "mIoU", 71.5)
    assert row["test_mIoU"] == 71.5


@pytest.mark.parametrize(
    ("key", "ours", "split", "name"),
    [
        ("test/mIoU", False, "test", "mIoU"),
        ("val/mIoU.max", False, "val", "mIoU"),
        ("best/mIoU", False, None, "mIoU"),
        ("best/mIoU", True, "val", "mIoU"),
        ("mIoU", True, None, "mIoU"),
        ("eval/coco/AP", False, None, "AP"),
        ("max", False, None, "max"),
    ],
)
def test_a_key_says_split_and_metric_or_not(key, ours, split, name):
    assert _split_and_name(key, ours=ours) == (split, name)


def test_a_run_of_ours_knows_which_way_its_metric_is_better(runs, tmp_path):
    known = OF_OURS | {"metric": "error", "run": {"direction": "minimize"}}
    runs.append(past("a", config=known, summary={"test/error": 3.0, "test/mIoU": 70.0}))
    for metric, direction in (("error", "minimize"), ("mIoU", "maximize")):
        main(["import", "x", "--out", str(tmp_path), "--metric", f"test/{metric}"])
        assert load_results(tmp_path)["direction"].tolist() == [direction]


def test_smaller_can_be_better(runs, tmp_path):
    runs += foreign()
    main(["import", "old", "--out", str(tmp_path), *KEYS, "--minimize"])
    found = compare(load_results(tmp_path), baseline="plain").set_index("method")
    assert found.loc["cwd", "verdict"] == "worse"


def test_what_is_wrong_is_one_line(runs, tmp_path):
    def run(*arguments: str) -> None:
        main(["import", "old", "--out", str(tmp_path / "new"), *arguments])

    with pytest.raises(DataError, match="there must be runs to import"):
        run(*KEYS)
    runs += foreign()
    with pytest.raises(ConfigError, match=r"--metric is a number .*did you mean 'val.mIoU.max'"):
        run("--metric", "val.mIoU")
    with pytest.raises(ConfigError, match=r"as method, and run cwd0 does not.*model\.kd"):
        run("--metric", "val.mIoU.max")
    assert not (tmp_path / "new").exists()
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(ConfigError, match="folder of its own"):
        main(["import", "old", "--out", str(tmp_path), *KEYS])


def test_files_and_a_server_are_sources(monkeypatch, tmp_path):
    files, server = foreign()[:3], foreign()[2:]
    seen = []
    monkeypatch.setattr(past_runs, "runs_in_files", lambda paths: seen.append(paths) or files)
    monkeypatch.setattr(past_runs, "runs_of_project", lambda path: seen.append(path) or server)
    main(["import", "a", "wandb:lab/old", "b", "--out", str(tmp_path), *KEYS])
    assert seen == [[Path("a"), Path("b")], "lab/old"]
    assert len(load_results(tmp_path)) == len(foreign())  # the run that both have is there once
