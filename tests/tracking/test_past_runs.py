"""Runs of W&B read back: from files without a server, and from a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wandb_loopback import ENTITY, LoopbackServer

from fourierkd.errors import ConfigError, DataError, RunError
from fourierkd.tracking.past_runs import runs_in_files, runs_of_project


def log(folder: Path, identity: str, scores: list[float], **config: Any) -> Path:
    """A run of somebody else's code, as it lies in the folder that W&B makes."""
    import wandb

    folder.mkdir(exist_ok=True)
    mode: Any = config.pop("mode", "offline")
    settings = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
    run = wandb.init(
        project="old",
        id=identity,
        name=f"run {identity}",
        dir=str(folder),
        mode=mode,
        config=config,
        reinit="create_new",
        settings=settings,
    )
    run.define_metric("val/mIoU", summary="max")
    for score in scores:
        run.log({"val/mIoU": score, "loss": 1.0})
    run.finish()
    return folder


def test_files_give_config_summary_and_state(home: Path, tmp_path: Path) -> None:
    log(tmp_path / "a", "aaaa0001", [10.0, 30.0, 20.0], model={"kd": "cwd"}, seed=3)
    log(tmp_path / "b", "bbbb0002", [5.0], model={"kd": "pkd"}, seed=4)
    first, second = runs_in_files([tmp_path])
    assert (first.id, first.name, first.project) == ("aaaa0001", "run aaaa0001", "old")
    assert (first.state, second.state) == ("finished", "finished")
    assert (first.config["model"], first.config["seed"]) == ({"kd": "cwd"}, 3)
    assert first.summary["val/mIoU"] == {"max": 30.0}
    assert second.summary["val/mIoU"] == {"max": 5.0}
    assert Path(first.place).suffix == ".wandb"
    assert runs_in_files([Path(second.place)]) == [second]


def test_a_resumed_run_is_one(home: Path, tmp_path: Path) -> None:
    log(tmp_path / "a", "aaaa0001", [10.0], seed=3, lr=1.0)
    log(tmp_path / "later", "aaaa0001", [40.0], seed=3)
    (run,) = runs_in_files([tmp_path])
    assert run.summary["val/mIoU"] == {"max": 40.0}
    assert (run.config["lr"], run.config["seed"]) == (1.0, 3)


@pytest.mark.parametrize("content", [None, b"", b"no such file of W&B"])
def test_what_is_no_such_file_is_one_line(
    home: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "run-x.wandb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"\.wandb file") as error:
        runs_in_files([path])
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="folders of them"):
        runs_in_files([tmp_path / "empty"])


def test_a_server_gives_what_its_files_would(server: LoopbackServer, tmp_path: Path) -> None:
    log(tmp_path / "a", "aaaa0001", [10.0, 30.0], mode="online", model={"kd": "cwd"}, seed=3)
    (run,) = runs_of_project("old")
    (file,) = runs_in_files([tmp_path])
    assert run.place == f"{ENTITY}/old/aaaa0001"
    assert (run.id, run.state, run.project) == (file.id, file.state, file.project)
    assert run.config["model"] == {"kd": "cwd"}
    assert run.summary["val/mIoU"] == file.summary["val/mIoU"] == {"max": 30.0}
    assert runs_of_project(f"{ENTITY}/none") == []
    server.answer_runs = lambda _: {"project": None}  # type: ignore[method-assign] # a server that knows none
    with pytest.raises(RunError, match="does not give the runs of gone"):
        runs_of_project("gone")


def test_a_server_needs_a_login(home: Path) -> None:
    with pytest.raises(ConfigError, match="wandb login"):
        runs_of_project("lab/old")
