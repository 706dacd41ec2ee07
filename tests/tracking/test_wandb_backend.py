"""Real W&B runs, offline and against a server on this machine: nothing lost, nothing leaked."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from wandb_loopback import FAKE_KEY, LoopbackServer

from fourierkd.errors import ConfigError
from fourierkd.records import Phase, Request, State, Tracking
from fourierkd.run_dir import RunDir
from fourierkd.tracking import wandb_backend
from fourierkd.tracking.record import missing, sync_command
from fourierkd.tracking.wandb_backend import WandbBackend
from tests.wandb_files import history, inspect, segments, summary, sync

REQUEST = Request(
    config="/c.py",
    seed=3,
    study="shapes",
    phase=Phase.TRIAL,
    method="tuned",
    trial=7,
    parameters={"loss_weight": 0.5, "mask.low_pass.cutoff": 0.25},
    wandb=Tracking(project="kd"),
)
CONFIG = {"metric": "mIoU", "model": {"type": "Distiller", "losses": [{"tap": "layer4"}]}}
ROWS = [
    {"iter": 10, "epoch": 0, "seconds": 0.5, "train/loss": 2.0, "train/lr": None},
    {"event": "resume", "iter": 10},
    {"iter": 20, "epoch": 1, "seconds": 1.0, "val/mIoU": 0.7, "val/aAcc": 0.8},
    {"iter": 30, "epoch": 2, "seconds": 1.5, "val/mIoU": 0.4, "val/aAcc": 0.9},
]
PICTURE = np.random.default_rng(0).integers(0, 255, (24, 60, 3)).astype(np.uint8)
REPOSITORY = Path(__file__).parents[2]


def request(**wandb: Any) -> Request:
    return replace(REQUEST, wandb=replace(REQUEST.wandb, **wandb))


def test_an_offline_run_holds_the_rows_of_scalars_jsonl(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    assert backend.mode == "offline"
    for row in ROWS:
        run_dir.append(row)
        backend.log(row)
    backend.log({"iter": 40, "epoch": 2, "seconds": 2.0, "val/mIoU": float("nan")})
    backend.close(State.COMPLETE, {"val/mIoU": 0.7, "test/mIoU": 0.65})

    (segment,) = segments(run_dir.wandb)
    scalars = [{k: v for k, v in row.items() if v is not None} for row in run_dir.rows()]
    assert history(segment) == [*scalars, {"iter": 40, "epoch": 2, "seconds": 2.0}]
    records = inspect(segment)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    config = run["config"]["update"]
    assert {key: config[key] for key in ("method", "phase", "study", "seed", "trial")} == {
        "method": "tuned",
        "phase": "trial",
        "study": "shapes",
        "seed": 3,
        "trial": 7,
    }
    assert config["parameters"] == {"loss_weight": 0.5, "mask_low_pass_cutoff": 0.25}
    assert config["run"] == CONFIG
    assert (run["project"], run["run_group"], run["job_type"]) == ("kd", "shapes", "trial")
    steps = {
        metric.get("glob_name") or metric["name"]: metric
        for metric in (record["metric"] for record in records if record["type"] == "metric")
    }
    assert steps["val/*"]["step_metric"] == steps["train/*"]["step_metric"] == "iter"
    assert steps["val/mIoU"]["summary"] == {"max": True}
    final = summary(segment)
    assert final["val/mIoU"] == {"max": 0.7}
    assert (final["best/mIoU"], final["test/mIoU"], final["state"]) == (0.7, 0.65, "complete")


def class_row(iteration: int, *values: float | None) -> dict[str, Any]:
    scores = {"Acc": [1.0] * len(values), "IoU": list(values)}
    return {
        "iter": iteration,
        "epoch": 1,
        "split": "val",
        "classes": ["traffic light", 'a.b/"c"', "nobody"],
        "scores": scores,
    }


def with_classes(run_dir: RunDir, iterations: range) -> WandbBackend:
    """A process of a run whose validations have classes, with its confusion matrices."""
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    for k in iterations:
        row = {"iter": k, "epoch": 1, "seconds": 1.0, "val/mIoU": float(k)}
        run_dir.append(row)
        backend.log(row)
        of_classes = class_row(k, float(k), 0.5, None)
        run_dir.append_classes(of_classes)
        backend.classes(of_classes)
    names = np.array(class_row(0, 0)["classes"])
    for split, matrix in (("val", np.diag([3, 0, 2])), ("test", np.eye(3, dtype=int)[::-1])):
        np.savez_compressed(
            run_dir.class_arrays(split), iter=np.array(2), classes=names, confusion=matrix
        )
    return backend


def confusion_tables(segment: Path) -> dict[str, Any]:
    files = (segment / "files" / "media" / "table" / "confusion").iterdir()
    return {path.name.split("_")[0]: json.loads(path.read_text()) for path in files}


def test_classes_of_each_validation_and_the_confusion_at_the_end(
    home: Path, tmp_path: Path
) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    with_classes(run_dir, range(1, 3)).close(State.COMPLETE, {"val/mIoU": 2.0})
    assert missing(run_dir) == ""
    (segment,) = segments(run_dir.wandb)
    rows = history(segment)
    own = [row for row in rows if any(key.startswith("val_class/") for key in row)]
    keys = ("val_class/traffic light", 'val_class/a_b/"c"')
    assert own == [{keys[0]: float(k), keys[1]: 0.5, "iter": k, "epoch": 1} for k in (1, 2)]
    sent = [row for row in rows if any(key.startswith("confusion/") for key in row)]
    assert len(sent) == 2  # val and test, once each
    tables = confusion_tables(segment)
    assert tables["val"]["columns"] == ["Actual", "Predicted", "nPredictions"]
    names = class_row(0, 0)["classes"]
    assert tables["val"]["data"] == [[names[0], names[0], 3], [names[2], names[2], 2]]
    assert tables["test"]["data"] == [[names[i], names[2 - i], 1] for i in range(3)]


def test_a_resumed_run_has_its_classes_once(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    with_classes(run_dir, range(1, 4)).close(State.STOPPED)
    run_dir.void_after(2)
    with_classes(run_dir, range(3, 6)).close(State.COMPLETE)
    assert missing(run_dir) == ""
    (segment,) = segments(run_dir.wandb)
    own = [row["iter"] for row in history(segment) if "val_class/traffic light" in row]
    assert own == [1, 2, 3, 4, 5]
    assert set(confusion_tables(segment)) == {"val", "test"}


def test_a_damaged_matrix_costs_itself_alone(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    backend = with_classes(run_dir, range(1, 3))
    run_dir.class_arrays("val").write_bytes(b"PK cut")
    backend.close(State.COMPLETE)
    assert missing(run_dir) == "1 of 2 tables"
    (segment,) = segments(run_dir.wandb)
    assert set(confusion_tables(segment)) == {"test"}


def test_wandbs_variables_are_obeyed_where_no_option_says_otherwise(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PROJECT", "mine"), ("NAME", "try-3"), ("TAGS", "a,b")):
        monkeypatch.setenv(f"WANDB_{name}", value)

    def sent(name: str, asked: Request) -> tuple[str, str, list[str]]:
        run_dir = RunDir(tmp_path / name).create(asked)
        WandbBackend(run_dir, asked, CONFIG).close(State.COMPLETE)
        (segment,) = segments(run_dir.wandb)
        (run,) = [record["run"] for record in inspect(segment) if record["type"] == "run"]
        return run["project"], run["display_name"], run["tags"]

    single = replace(REQUEST, study=None, phase=Phase.SINGLE, wandb=Tracking())
    assert sent("single", single) == ("mine", "try-3", ["a", "b"])
    assert sent("trial", replace(REQUEST, wandb=Tracking())) == ("mine", "trial", ["a", "b"])
    options = request(project="kd", name="own", tags=["c"])
    assert sent("options", options) == ("kd", "own", ["c"])


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.2), ("maximize", 0.6)])
def test_the_summary_of_a_curve_is_its_best_value(
    home: Path, tmp_path: Path, direction: str, best: float
) -> None:
    run_dir = RunDir(tmp_path / "run").create(REQUEST)
    config = {**CONFIG, "metric": "error", "direction": direction}
    backend = WandbBackend(run_dir, REQUEST, config)
    for iteration, value in enumerate((0.6, 0.2, 0.4), start=1):
        backend.log({"iter": iteration, "epoch": 0, "seconds": 1.0, "val/error": value})
    backend.close(State.COMPLETE, {"val/error": best})
    (segment,) = segments(run_dir.wandb)
    assert summary(segment)["val/error"] == {direction[:3]: best}
    assert summary(segment)["best/error"] == best


def test_nothing_is_written_outside_the_run_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    run_dir = RunDir(tmp_path / "run")
    before = dict(os.environ)
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    backend.image("spectra/fourier", PICTURE, {"iter": 1, "epoch": 0})
    backend.table("results", pd.DataFrame({"a": [1.0, None]}))
    backend.close(State.COMPLETE)
    assert list(home.iterdir()) == []
    assert {p.name for p in run_dir.path.iterdir()} == {"wandb"}
    assert list((run_dir.wandb / "data" / "artifacts" / "staging").iterdir())
    after = dict(os.environ)
    after.pop("WANDB_SERVICE", None)  # W&B's own handle on its service process
    assert after == before


def test_a_failed_run_ends_as_failed(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    WandbBackend(run_dir, REQUEST, CONFIG).close(State.FAILED)
    exits = [r["exit"] for r in inspect(segments(run_dir.wandb)[0]) if r["type"] == "exit"]
    assert exits == [{"exit_code": 1}]


def test_an_online_run_delivers_rows_picture_and_table(
    server: LoopbackServer, tmp_path: Path
) -> None:
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    assert backend.mode == "online"
    assert backend.url is not None
    assert backend.url.startswith(server.url)
    for row in ROWS:
        backend.log(row)
    backend.image("spectra/fourier", PICTURE, {"iter": 30, "epoch": 2})
    backend.table("results", pd.DataFrame({"method": ["tuned", "alone"], "value": [0.5, None]}))
    backend.close(State.COMPLETE, {"test/mIoU": 0.65})

    (run,) = server.runs.values()
    assert [row["iter"] for row in run.rows if "iter" in row] == [10, 20, 30, 30]
    assert run.fields["groupName"] == "shapes"
    assert run.exit_code == 0
    assert run.summary["val/mIoU"] == {"max": 0.7}
    assert run.summary["test/mIoU"] == 0.65
    assert run.config["method"]["value"] == "tuned"
    pictures = [data for name, data in run.files.items() if name.startswith("media/images/")]
    assert [data[:2] for data in pictures] == [b"\xff\xd8"]
    (table,) = [data for name, data in run.files.items() if name.startswith("media/table/")]
    assert json.loads(table) == {
        "columns": ["method", "value"],
        "data": [["tuned", 0.5], ["alone", None]],
    }
    assert [artifact["committed"] for artifact in server.artifacts] == [True]
    assert sync_command([run_dir.path]) == ""


def test_no_file_holds_the_key(server: LoopbackServer, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    backend.log(ROWS[0])
    backend.table("results", pd.DataFrame({"a": [1]}))
    backend.close(State.COMPLETE)
    files = [path for path in run_dir.path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if FAKE_KEY.encode() in path.read_bytes()] == []
    assert FAKE_KEY not in json.dumps([run.config for run in server.runs.values()])


def picture_file(run_dir: RunDir, iteration: int, name: str) -> None:
    """A picture as the spectra hook leaves it."""
    path = run_dir.picture(iteration, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PICTURE).save(path)


def train(run_dir: RunDir, *, first: int, last: int, mode: str | None = None) -> WandbBackend:
    """What a run does from an iteration on: a row each, a picture at every fifth."""
    if first:
        run_dir.append({"event": "resume", "iter": first - 1})
    backend = WandbBackend(run_dir, request(mode=mode), CONFIG)
    for iteration in range(first, last):
        row = {"iter": iteration, "epoch": 0, "seconds": 1.0, "val/mIoU": 10.0 - iteration}
        run_dir.append(row)
        backend.log(row)
        if iteration % 5 == 4:
            picture_file(run_dir, iteration, "fourier_0")
            backend.image("spectra/fourier", PICTURE, row)
    return backend


def test_a_resumed_run_is_sent_whole_in_one_segment(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "a run" / "r0")  # a space: the printed line must be quoted
    train(run_dir, first=0, last=7).close(State.STOPPED)
    train(run_dir, first=5, last=10).close(State.COMPLETE)  # 5 and 6 are trained again
    (segment,) = segments(run_dir.wandb)
    rows = history(segment)
    assert [row for row in rows if "val/mIoU" in row] == run_dir.rows()
    assert [row["iter"] for row in rows if "val/mIoU" not in row] == [4, 9]
    assert missing(run_dir) == ""
    with LoopbackServer() as server:
        sync(sync_command([run_dir.path]), server.url)
        (run,) = server.runs.values()
        assert [row["iter"] for row in run.rows if "val/mIoU" in row] == list(range(10))
        assert sum(name.startswith("media/images/spectra/fourier") for name in run.files) == 2
        assert run.summary["val/mIoU"] == {"max": 10.0}  # of the first process
    assert sync_command([run_dir.path]) == ""


def test_a_resumed_run_is_continued_online(server: LoopbackServer, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    train(run_dir, first=0, last=5).close(State.STOPPED)
    train(run_dir, first=5, last=10).close(State.COMPLETE)
    (run,) = server.runs.values()
    assert [row["iter"] for row in run.rows if "val/mIoU" in row] == list(range(10))
    assert [row["iter"] for row in run.rows if "val/mIoU" not in row] == [4, 9]
    assert "RunResumeStatus" in server.operations
    assert run.summary["state"] == "complete"
    assert (missing(run_dir), sync_command([run_dir.path])) == ("", "")


def test_a_run_begun_offline_is_whole_online(server: LoopbackServer, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    train(run_dir, first=0, last=5, mode="offline").close(State.STOPPED)
    train(run_dir, first=5, last=10).close(State.COMPLETE)
    (run,) = server.runs.values()
    assert [row["iter"] for row in run.rows if "val/mIoU" in row] == list(range(10))
    assert [row["iter"] for row in run.rows if "val/mIoU" not in row] == [4, 9]
    assert (missing(run_dir), sync_command([run_dir.path])) == ("", "")


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_killed_run_that_goes_on_is_sent_whole(
    mode: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from fourierkd.run_dir import RunDir
        from tests.tracking.test_wandb_backend import train
        train(RunDir({str(tmp_path / "run")!r}), first=0, last=8)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    with LoopbackServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
        monkeypatch.setenv("WANDB_MODE", mode)
        monkeypatch.setenv(
            "PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
        )
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False)
        run_dir = RunDir(tmp_path / "run")
        assert len(run_dir.rows()) == 8
        assert missing(run_dir) == "its process died"
        train(run_dir, first=6, last=10).close(State.COMPLETE, {"val/mIoU": 9.5})
        assert missing(run_dir) == ""
        if mode == "offline":
            sync(sync_command([run_dir.path]), server.url)
        assert sync_command([run_dir.path]) == ""
        (run,) = server.runs.values()
        iterations = [row["iter"] for row in run.rows if "val/mIoU" in row]
        assert sorted(set(iterations)) == list(range(10))
        if mode == "offline":
            assert len(iterations) == 10
        files = {name for name in run.files if name.startswith("media/images/spectra/fourier_")}
        assert len(files) >= 2
        assert (run.summary["state"], run.summary["best/mIoU"]) == ("complete", 9.5)


def test_a_server_that_dies_holds_nobody_up_and_no_row_is_lost(
    server: LoopbackServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(wandb_backend, "FINISH_SECONDS", 2.0)
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    for iteration in range(50):
        backend.log({"iter": iteration, "epoch": 0, "train/loss": 1.0})
    server.stop()
    start = time.perf_counter()
    for iteration in range(50, 100):
        backend.log({"iter": iteration, "epoch": 0, "train/loss": 1.0})
    assert time.perf_counter() - start < 1.0
    with caplog.at_level(logging.WARNING, logger="fourierkd.tracking"):
        backend.close(State.COMPLETE)
    assert time.perf_counter() - start < 6.0
    assert [
        r.getMessage() for r in caplog.records if "wandb sync --include-online" in r.getMessage()
    ]

    command = sync_command([run_dir.path])
    assert "--include-online" in command
    with LoopbackServer() as later:
        sync(command, later.url)
        (run,) = later.runs.values()
        assert [row["iter"] for row in run.rows] == list(range(100))
        assert run.summary["state"] == "complete"
    assert sync_command([run_dir.path]) == ""


@pytest.mark.parametrize("fault", ["no server", "refuses", "wrong key", "hangs"])
def test_what_fails_online_is_kept_offline_with_one_line(
    fault: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(wandb_backend, "INIT_SECONDS", 1.5)
    monkeypatch.setenv("WANDB_API_KEY", "short" if fault == "wrong key" else FAKE_KEY)
    with contextlib.ExitStack() as stack:
        if fault == "refuses":
            server = stack.enter_context(LoopbackServer())
            monkeypatch.setattr(
                server, "graphql", lambda *_: {"errors": [{"message": "permission denied"}]}
            )
            url = server.url
        else:
            listener = stack.enter_context(contextlib.closing(socket.socket()))
            listener.bind(("127.0.0.1", 0))
            if fault == "hangs":
                listener.listen(8)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        run_dir = RunDir(tmp_path / "run")
        start = time.perf_counter()
        with caplog.at_level(logging.WARNING, logger="fourierkd.tracking"):
            backend = WandbBackend(run_dir, REQUEST, CONFIG)
        assert time.perf_counter() - start < 8.0
        assert backend.mode == "offline"
        assert len([r for r in caplog.records if r.name == "fourierkd.tracking"]) == 1
        backend.log(ROWS[0])
        backend.close(State.COMPLETE)
    (segment,) = run_dir.wandb.glob("offline-run-*")
    assert [row["iter"] for row in history(segment)] == [10]
    assert sync_command([run_dir.path]) == f"wandb sync {run_dir.wandb}"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "fourierkd.tracking"]


def test_a_picture_that_cannot_be_logged_costs_itself_and_a_warning(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    row = {"iter": 5, "epoch": 0, "train/loss": 1.0}
    backend.image("spectra/fourier", np.array("no picture"), row)
    backend.log(row)
    backend.image("spectra/fourier", PICTURE, {**row, "iter": 10})
    backend.close(State.COMPLETE, {"val/mIoU": 0.7, "test/mIoU": 0.65})
    (line,) = warnings(caplog)
    assert line.startswith("W&B: spectra/fourier of iteration 5 is missing there: ")
    (segment,) = segments(run_dir.wandb)
    assert [row["iter"] for row in history(segment)] == [5, 10]
    final = summary(segment)
    assert (final["state"], final["best/mIoU"], final["test/mIoU"]) == ("complete", 0.7, 0.65)
    assert missing(run_dir) == "1 of 2 pictures"


def test_of_rows_that_wandb_refuses_the_first_is_told_and_all_are_counted(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    for iteration in range(4):
        backend.log({"iter": iteration, 1 if iteration in (1, 2) else "train/loss": 1.0})
    backend.close(State.COMPLETE)
    assert len(warnings(caplog)) == 1
    assert [row["iter"] for row in history(segments(run_dir.wandb)[0])] == [0, 3]
    assert missing(run_dir) == "2 of 4 rows"


def test_a_run_outlives_the_death_of_wandbs_service(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = RunDir(tmp_path / "run")
    train(run_dir, first=0, last=3).close(State.STOPPED)
    backend = train(run_dir, first=3, last=6)
    (service,) = [p for p in psutil.Process().children() if p.name() == "wandb-core"]
    service.kill()
    service.wait()
    for iteration in (6, 7):
        row = {"iter": iteration, "epoch": 0, "seconds": 1.0, "val/mIoU": 1.0}
        run_dir.append(row)
        backend.log(row)
    picture_file(run_dir, 7, "fourier_0")
    backend.image("spectra/fourier", PICTURE, row)
    backend.close(State.COMPLETE, {"test/mIoU": 0.65})
    row_line, picture_line, once_more = warnings(caplog)
    assert row_line.startswith("W&B: a row of iteration 6 is missing there: ")
    assert picture_line.startswith("W&B: spectra/fourier of iteration 7 is missing there: ")
    assert once_more.endswith("; the run is sent once more")
    (segment,) = segments(run_dir.wandb)
    rows = history(segment)
    assert [row for row in rows if "val/mIoU" in row] == run_dir.rows()
    assert [row["iter"] for row in rows if "val/mIoU" not in row] == [4, 7]
    assert (summary(segment)["state"], summary(segment)["test/mIoU"]) == ("complete", 0.65)
    assert missing(run_dir) == ""


def test_where_wandb_cannot_start_the_record_says_why(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no process can be started")

    monkeypatch.setattr(WandbBackend, "_init", fail)
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    backend.log(ROWS[0])
    backend.close(State.COMPLETE)
    assert warnings(caplog) == ["W&B: no process can be started; this run is not tracked"]
    assert missing(run_dir) == "no process can be started"
    monkeypatch.undo()
    train(run_dir, first=1, last=2).close(State.COMPLETE)
    assert missing(run_dir) == ""


def test_a_damaged_record_stops_no_run(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = RunDir(tmp_path / "run")
    run_dir.wandb.mkdir(parents=True)
    (run_dir.wandb / "fourierkd.json").write_text("{")
    backend = WandbBackend(run_dir, REQUEST, CONFIG)
    backend.log(ROWS[0])
    backend.close(State.COMPLETE)
    assert sync_command([run_dir.path]) == ""
    assert "fourierkd.json must be a JSON object" in caplog.text


def test_disabled_writes_nothing_and_a_wrong_mode_is_an_error(home: Path, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    backend = WandbBackend(run_dir, request(mode="disabled"), CONFIG)
    backend.log(ROWS[0])
    backend.close(State.COMPLETE)
    assert not run_dir.wandb.exists()
    with pytest.raises(ConfigError, match="online, offline, disabled, got 'on'"):
        WandbBackend(run_dir, request(mode="on"), CONFIG)


def test_the_users_own_run_is_left_alone(home: Path, tmp_path: Path) -> None:
    import wandb

    settings = wandb.Settings(silent=True)
    own = wandb.init(mode="offline", dir=str(tmp_path), project="own", settings=settings)
    backend = WandbBackend(RunDir(tmp_path / "run"), REQUEST, CONFIG)
    assert backend._run.id != own.id
    assert wandb.run is own
    backend.close(State.COMPLETE)
    own.log({"a": 1})
    own.finish()


def test_a_killed_run_keeps_its_rows(home: Path, tmp_path: Path) -> None:
    RunDir(tmp_path / "run").create(REQUEST)
    script = f"""
        import os, signal, time
        from fourierkd.run_dir import RunDir
        from fourierkd.tracking.wandb_backend import WandbBackend
        run_dir = RunDir({str(tmp_path / "run")!r})
        backend = WandbBackend(run_dir, run_dir.read_request(), {CONFIG!r})
        for k in range(200):
            backend.log({{"iter": k, "epoch": 0, "train/loss": 1.0}})
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, timeout=60, check=False
    )
    (segment,) = segments(tmp_path / "run" / "wandb")
    assert [row["iter"] for row in history(segment)] == list(range(200))
    assert sync_command([tmp_path / "run"]).startswith("wandb sync ")


FORK = """
    import contextlib, glob, json, os, sys, time
    from fourierkd.run_dir import RunDir
    from fourierkd.tracking.login import preload
    from fourierkd.tracking.wandb_backend import WandbBackend

    def cores(parent):
        # command lines of the W&B service processes that follow `parent`
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                words = file.read().decode().split("\\0")
                if words[0].endswith("wandb-core") and str(parent) in words:
                    found.append(words)
        return found

    preload()
    assert "wandb" in sys.modules and not cores(os.getpid())
    children = []
    for k in range(2):
        pid = os.fork()
        if pid == 0:
            start = time.perf_counter()
            backend = WandbBackend(RunDir(f"{FOLDER}/r{k}"), REQUEST, CONFIG)
            opened = time.perf_counter() - start
            for i in range(20):
                backend.log({"iter": i, "epoch": 0, "train/loss": 1.0})
            start = time.perf_counter()
            backend.close(State.COMPLETE)
            closed = time.perf_counter() - start
            assert len(cores(os.getpid())) == 1, cores(os.getpid())
            assert backend.mode == "offline", backend.mode
            with open(f"{FOLDER}/r{k}/seconds.json", "w") as file:
                json.dump([opened, closed], file)
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    assert "WANDB_SERVICE" not in os.environ
    deadline = time.time() + 10
    while any(cores(pid) for pid in children):
        assert time.time() < deadline, "wandb-core outlives its child"
        time.sleep(0.1)
    """


def test_children_of_a_warm_server_track_their_own_runs(home: Path, tmp_path: Path) -> None:
    asked = f"Request.from_json({REQUEST.to_json()!r}, None, '')"
    script = "from fourierkd.records import Request, State\n"
    script += f"FOLDER, REQUEST, CONFIG = {str(tmp_path)!r}, {asked}, {CONFIG!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(FORK)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for k in range(2):
        run_dir = RunDir(tmp_path / f"r{k}")
        assert [row["iter"] for row in history(segments(run_dir.wandb)[0])] == list(range(20))
        opened, closed = json.loads((run_dir.path / "seconds.json").read_text())
        assert opened + closed < 3.0  # 0.3 s on an idle machine
