"""What runs hold back arrives once, and what a server lacks is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from wandb_loopback import LoopbackServer

from fourierkd.errors import ConfigError
from fourierkd.records import Request, Result, State, Tracking
from fourierkd.run_dir import RunDir
from fourierkd.tracking import upload as module
from fourierkd.tracking.record import read_record, sync_command
from fourierkd.tracking.study_table import log_study_table
from fourierkd.tracking.upload import upload
from fourierkd.tracking.wandb_backend import WandbBackend
from tests.predictions import add_predictions

ROWS = [{"iter": k, "epoch": 0, "val/acc": 10.0 * k} for k in range(3)]


def begin(path: Path, **tracking: str) -> tuple[RunDir, WandbBackend]:
    """A run with rows and a picture, kept offline, that is at work."""
    wanted = Tracking(**{"mode": "offline", **tracking})
    run_dir = RunDir(path).create(Request(config="", seed=0, wandb=wanted))
    run_dir.config.write_text("metric = 'acc'\n")
    backend = WandbBackend(run_dir, run_dir.read_request(), {"metric": "acc"})
    for row in ROWS:
        run_dir.append(row)
        backend.log(row)
    backend.image("spectra/l2", np.zeros((8, 8, 3), np.uint8), ROWS[-1])
    return run_dir, backend


def ended(path: Path, **tracking: str) -> RunDir:
    run_dir, backend = begin(path, **tracking)
    backend.close(State.COMPLETE, {"val/acc": 20.0})
    run_dir.write_result(Result(state=State.COMPLETE, metrics={"val/acc": 20.0}))
    return run_dir


def lacking(runs: list[RunDir]) -> dict[str, tuple[str, bool]]:
    return {run.path.name: (lacks, sent) for run, lacks, sent in upload(runs)}


def test_runs_of_two_projects_arrive_once(server: LoopbackServer, tmp_path: Path) -> None:
    runs = [ended(tmp_path / "a"), ended(tmp_path / "b", project="other")]
    log_study_table(
        tmp_path / "study", {"t": pd.DataFrame({"a": [1]})}, study="s", wandb={"mode": "offline"}
    )
    runs.append(RunDir(tmp_path / "study"))
    copy = RunDir(shutil.copytree(tmp_path / "a", tmp_path / "copy of a"))
    seen: list[tuple[int, int]] = []
    found = upload(runs, progress=lambda *count: seen.append(count))
    assert all(not lacks and sent for _, lacks, sent in found)
    assert seen == [(0, 3)]
    assert {run.fields["project"] for run in server.runs.values()} == {"fourierkd", "other"}
    assert lacking(runs) == {"a": ("", False), "b": ("", False), "study": ("", False)}
    assert lacking([copy]) == {"copy of a": ("", False)}  # it holds no mark of W&B's
    assert sync_command([copy.path]) == ""
    for run in runs[:2]:
        rows = server.runs[read_record(run)["id"]].rows
        assert [row["val/acc"] for row in rows if "val/acc" in row] == [0.0, 10.0, 20.0]
        assert len(rows) == len(ROWS) + 1


def test_one_whose_process_died_is_sent_from_its_folder_and_one_at_work_later(
    server: LoopbackServer, tmp_path: Path
) -> None:
    died = RunDir(tmp_path / "died").create(
        Request(config="", seed=0, wandb=Tracking(mode="offline"))
    )
    died.config.write_text("metric = 'acc'\n")
    died.append(ROWS[0])
    died.write_result(Result(state=State.FAILED, reason="killed", metrics={}))
    at_work, backend = begin(tmp_path / "at_work")
    untracked = RunDir(tmp_path / "untracked").create(Request(config="", seed=0))
    assert lacking([died, at_work, untracked]) == {
        "died": ("", True),
        "at_work": ("still at work", False),
    }
    assert read_record(at_work)["id"] not in server.runs
    backend.close(State.COMPLETE, {})
    at_work.write_result(Result(state=State.COMPLETE, metrics={}))
    assert lacking([died, at_work]) == {"died": ("", False), "at_work": ("", True)}


def test_pictures_of_predictions_are_rows_that_a_server_has(
    server: LoopbackServer, tmp_path: Path
) -> None:
    run, backend = begin(tmp_path / "final")
    labels = np.zeros((48, 64), int)
    add_predictions(run, {"truth": labels, "student": labels}, score=50.0)
    backend.predictions()
    backend.close(State.COMPLETE, {"val/acc": 20.0})
    run.write_result(Result(state=State.COMPLETE, metrics={"val/acc": 20.0}))
    assert lacking([run]) == {"final": ("", True)}
    assert len(server.runs[read_record(run)["id"]].rows) == len(ROWS) + 1 + 4


def test_what_a_server_lacks_is_named(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ARRIVAL_SECONDS", 0.0)
    runs = [ended(tmp_path / name) for name in "ab"]
    upload(runs)
    first, second = (read_record(run)["id"] for run in runs)
    del server.runs[first].lines["wandb-history.jsonl"][1]
    del server.runs[second]
    gone = "not there, though it was sent: to another server, or deleted"
    assert lacking(runs) == {"a": ("3 rows in place of 4", False), "b": (gone, False)}


def test_without_an_account_or_a_server_it_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(tmp_path / "a")
    with pytest.raises(ConfigError, match="not logged in"):
        upload([run])
    with LoopbackServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(ConfigError, match="no answer from"):
        upload([run])
