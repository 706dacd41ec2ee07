"""What the end of a study says of tracking: counts that add up, names, and one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wandb_loopback import LoopbackServer

from fourierkd.records import Request, State, Tracking
from fourierkd.run_dir import RunDir
from fourierkd.tracking.record import missing, sync_command, tracking_line, write_record
from fourierkd.tracking.study_table import log_study_table
from fourierkd.tracking.wandb_backend import WandbBackend
from tests.wandb_files import sync

WHOLE = {"rows": [9, 9], "pictures": [2, 2], "state": [1, 1], "best": [1, 1], "test": [1, 1]}


def run(path: Path, tracked: dict[str, Any] | None = WHOLE, **request: Any) -> RunDir:
    run_dir = RunDir(path).create(Request(config="", seed=0, **request))
    write_record(run_dir, {"id": "a", "segments": {}, "tracked": tracked, "reason": None})
    return run_dir


def test_a_study_counts_what_is_whole_and_names_the_rest(tmp_path: Path) -> None:
    runs = [run(tmp_path / f"final_{k}") for k in range(3)]
    assert tracking_line(runs) == "3 of 3 runs tracked whole"
    runs += [
        run(tmp_path / "trial_1", {**WHOLE, "rows": [7, 9], "pictures": [0, 2]}),
        run(tmp_path / "trial_2", None),
        RunDir(tmp_path / "trial_3").create(Request(config="", seed=0)),
        RunDir(tmp_path / "by hand").create(
            Request(config="", seed=0, wandb=Tracking(mode="disabled"))
        ),
    ]
    assert tracking_line(runs) == (
        "3 of 6 runs tracked whole; not trial_1 (2 of 9 rows, 2 of 2 pictures), "
        "trial_2 (its process died), trial_3 (tracking did not start)"
    )


@pytest.mark.parametrize("group", ["state", "best", "test"])
def test_each_value_counts(group: str, tmp_path: Path) -> None:
    assert missing(run(tmp_path / "run", {**WHOLE, group: [0, 1]})) == f"1 of 1 {group}"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run_dir = run(tmp_path / "run")
    (run_dir.wandb / "fourierkd.json").write_text("{")
    assert missing(run_dir) == "its record is damaged"


def test_sync_command_is_one_short_line_for_many_runs(home: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "runs" / f"r{k}" for k in range(3)]
    for path in paths:
        WandbBackend(RunDir(path), Request(config="", seed=0), {}).close(State.COMPLETE)
    log_study_table(tmp_path, {"t": pd.DataFrame({"a": [1]})}, study="shapes")
    command = sync_command([*paths, tmp_path, tmp_path / "nothing here"])
    assert command == f"wandb sync {tmp_path}/runs/*/wandb {tmp_path}/wandb"
    with LoopbackServer() as server:
        sync(command, server.url)
        assert len(server.runs) == 4
    assert sync_command([*paths, tmp_path]) == ""
