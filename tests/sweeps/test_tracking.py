"""Every run of a study is whole in W&B: offline or online, and also where runs are killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from tiny_study import REPO

from fourierkd.run_dir import RunDir, read_json
from fourierkd.tracking.wandb_values import loggable
from sweeps.run import main
from sweeps.storage import RUNS_NAME
from tests.tracking.wandb_loopback import FAKE_KEY, LoopbackServer
from tests.wandb_files import sync

TOY = """
from sweeps.space import suggest

LOSS = "model.losses.l2.loss.loss_weight"
TEACHER = dict(model=dict(type="ToyModel", width=6), checkpoint="random")
LOSSES = dict(
    l2=dict(
        student_tap="features",
        teacher_tap="features",
        loss=dict(type="NoisyL2", loss_weight=0.5),
    )
)
study = dict(
    name="toy",
    config={config!r},
    metric="acc",
    trials=3,
    final_seeds=1,
    jobs=2,
    trial_jobs=2,
    options={{
        "model.teacher": TEACHER,
        "model.losses": LOSSES,
        "default_hooks": dict(spectra=dict(type="SpectraHook", every=1)),
    }},
    arms=dict(
        student_alone={{"model.teacher": None, "model.losses": {{}}}},
        slow={{LOSS: 1.0, "custom_hooks": [dict(type="Slow", seconds=0.2)]}},
    ),
    space={{LOSS: suggest.float(0.1, 10.0)}},
    final_split="test",
)
"""

SHAPES = """
from sweeps.space import suggest

LOSS = "model.losses.fourier.loss.loss_weight"
study = dict(
    name="short",
    config={config!r},
    metric={metric!r},
    trials=3,
    final_seeds=1,
    jobs=2,
    trial_jobs=2,
    teacher=dict(
        config={teacher!r},
        option="model.teacher.checkpoint",
        options={{"train_cfg.max_iters": 20, "train_cfg.val_interval": 10, **{data!r}}},
    ),
    options={{
        "train_cfg.max_iters": 24,
        "train_cfg.val_interval": 4,
        "default_hooks.scalars.interval": 2,
        **{data!r},
    }},
    arms=dict(
        student_alone={{"model.teacher": None, "model.losses": {{}}}},
        published={{LOSS: 7.0}},
    ),
    space={{LOSS: suggest.float(0.1, 10.0)}},
    final_split="test",
)
"""
CONFIGS = REPO / "configs" / "shapes"


TASKS = pytest.mark.parametrize(
    ("student", "teacher", "metric"),
    [
        ("pspnet_fourier.py", "pspnet_teacher.py", "mIoU"),
        ("retinanet_fourier.py", "retinanet_teacher.py", "bbox_mAP"),
    ],
)


def short_study(folder: Path, student: str, teacher: str, metric: str) -> Path:
    """Config of a study of minutes, with data of its own."""
    data = {
        "data_root": str(folder / "data"),
        "prepare_data.size": 60,
        "prepare_data.val_size": 8,
        "prepare_data.test_size": 8,
    }
    names = {"config": str(CONFIGS / student), "teacher": str(CONFIGS / teacher)}
    config = folder / "short.py"
    config.write_text(SHAPES.format(**names, metric=metric, data=data))
    return config


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A W&B server, and a home of somebody who never logged in to it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = os.pathsep.join([str(REPO), str(REPO / "tests" / "engine")])  # the toy's module
    monkeypatch.setenv("PYTHONPATH", path)
    with LoopbackServer() as running:
        yield running


class Study:
    """A study's command line as a process, with what it prints."""

    def __init__(self, config: Path, work_dir: Path) -> None:
        self.work_dir = work_dir
        self._command = [sys.executable, str(REPO / "sweeps" / "run.py"), "study", str(config)]
        self._command += ["--work-dir", str(work_dir)]
        self.start()

    def start(self) -> None:
        """Start, or go on after a kill."""
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.lines += [line.rstrip() for line in process.stdout]

    def output(self) -> str:
        self._reader.join()
        return "\n".join(self.lines)

    def kill(self, name: str, rows: int, *, coordinator: bool = False) -> None:
        """Kill -9 the process of a run once it has written some rows, and the study if asked."""
        run = RunDir(self.work_dir / RUNS_NAME / name)
        while len(run.rows()) < rows:
            assert self.process.poll() is None, self.output()
            assert run.read_result() is None, f"{name} ended before its kill"
            time.sleep(0.02)
        log = str(run.log)
        (child,) = [
            process
            for process in psutil.Process(self.process.pid).children(recursive=True)
            if process.name() != "wandb-core" and log in (f.path for f in process.open_files())
        ]
        os.killpg(child.pid, signal.SIGKILL)
        if coordinator:
            self.process.kill()
            self.process.wait()

    def finish(self) -> list[str]:
        """Wait for the end; gives what is said of W&B there."""
        assert self.process.wait(timeout=900) == 0, self.output()
        self.output()
        return [line.split(maxsplit=1)[1] for line in self.lines if line.startswith("W&B:  ")]

    def runs(self) -> list[RunDir]:
        teachers = Path(os.environ["FOURIERKD_CACHE"]) / "teachers"
        paths = [*(self.work_dir / RUNS_NAME).iterdir(), *teachers.glob("*/")]
        return [RunDir(path) for path in paths]


def check_whole(study: Study, server: LoopbackServer) -> int:
    """Every run on the server is what its folder holds; returns the number of runs."""
    runs = study.runs()
    for run_dir in runs:
        record = read_json(run_dir.wandb / "fourierkd.json")
        assert record is not None
        sent = server.runs[record["id"]]
        name = run_dir.path.name
        own = [{k: v for k, v in row.items() if not k.startswith("_")} for row in sent.rows]
        rows = [{k: v for k, v in row.items() if loggable(v)} for row in run_dir.rows()]
        assert rows, name
        lost = [row for row in rows if row not in own]
        assert not lost, name
        images = {
            (row["iter"], key): value["path"]
            for row in own
            for key, value in row.items()
            if isinstance(value, dict) and value.get("_type") == "image-file"
        }
        predictions = {(r["iter"], f"predictions/{r['name']}") for r in run_dir.prediction_rows()}
        assert predictions == {key for key in images if key[1].startswith("predictions/")}, name
        shown = {
            (iteration, key.removeprefix("spectra/")): path
            for (iteration, key), path in images.items()
            if (iteration, key) not in predictions
        }
        there = {
            (iteration, label): path
            for iteration, labels in run_dir.saved_pictures().items()
            for label, path in labels.items()
            if iteration <= rows[-1]["iter"]
        }
        assert shown.keys() == there.keys(), name
        for key, path in there.items():
            pixels = [
                np.asarray(Image.open(source).convert("RGB"), dtype=float)
                for source in (path, io.BytesIO(sent.files[shown[key]]))
            ]
            assert np.abs(pixels[0] - pixels[1]).mean() < 8.0, (name, key)  # it is a JPEG
        result = run_dir.read_result()
        assert result is not None
        values = {key.replace("val/", "best/"): v for key, v in result.metrics.items()}
        assert {k: sent.summary.get(k) for k in values} == values, name
        assert sent.summary["state"] == result.state, name
        assert sent.config["run"]["value"]["train_cfg"]["max_iters"] >= result.iters
        if result.state == "complete" and run_dir.read_request().test_split:
            assert any(key.startswith("test/") for key in values), name
    groups = {run.fields["groupName"] for run in server.runs.values()}
    assert len(server.runs) == len(runs) + 1, groups  # and the report
    return len(runs)


def log_in(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)


def check_dashboard(server: LoopbackServer) -> None:
    """Workspace and report show what is logged: each key, of the runs that a panel is of."""
    of = {
        name: {*run.summary, *(key for row in run.rows for key in row)}
        for name, run in server.runs.items()
    }
    kinds = {view["type"]: json.loads(view["spec"]) for view in server.views.values()}
    sections = kinds["project-view"]["section"]["panelBankConfig"]["sections"]
    shown = [(list(of), section["panels"]) for section in sections]
    for block in kinds["runs"]["blocks"]:
        if block["type"] == "panel-grid":
            ids = block["metadata"]["runSets"][0]["filters"]["filters"][0]["value"]
            shown.append((ids, block["metadata"]["panelBankSectionConfig"]["panels"]))
    seen = set()
    for ids, panels in shown:
        there = set().union(*(of[identity] for identity in ids))
        for panel in panels:
            config = panel["config"]
            wanted = {*config.get("metrics", ()), *config.get("mediaKeys", ())}
            assert wanted <= there, panel
            pattern = config.get("metricRegex")
            assert pattern is None or any(re.fullmatch(pattern, key) for key in there), panel
            seen.update(wanted)
    assert {key.split("/")[0] for key in seen} >= {"test", "best", "val", "spectra", "predictions"}


def pictures(study: Study) -> int:
    return sum(len(labels) for r in study.runs() for labels in r.saved_pictures().values())


def test_each_run_of_a_toy_study_is_whole_also_a_killed_one(
    server: LoopbackServer, tmp_path: Path
) -> None:
    config = tmp_path / "toy.py"
    config.write_text(TOY.format(config=str(REPO / "tests" / "engine" / "toy_config.py")))
    study = Study(config, tmp_path / "work")
    study.kill("baseline_slow", 3)
    counted, command = study.finish()
    killed = RunDir(study.work_dir / RUNS_NAME / "baseline_slow").read_result()
    assert killed is not None
    assert killed.state == "complete"  # it was sent off again
    sync(command, server.url)
    number = check_whole(study, server)
    assert counted == f"{number} of {number} runs tracked whole"
    assert pictures(study) > 4 * (number - 3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
@TASKS
def test_each_run_of_a_short_study_is_whole(
    student: str,
    teacher: str,
    metric: str,
    mode: str,
    server: LoopbackServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One run is killed alone, one together with the study, which then goes on."""
    if mode == "online":
        log_in(server, monkeypatch)
    config = short_study(tmp_path, student, teacher, metric)
    study = Study(config, tmp_path / "work")
    study.kill("baseline_student_alone", 5)
    study.kill("trial_001", 8, coordinator=True)
    study.start()
    counted, *commands = study.finish()
    assert len(commands) == (mode == "offline"), commands
    for command in commands:
        sync(command, server.url)
    number = check_whole(study, server)
    assert counted == f"{number} of {number} runs tracked whole"
    assert pictures(study) >= number - 3


@pytest.mark.slow
@TASKS
def test_the_dashboard_of_a_comparison_shows_what_is_logged(
    student: str,
    teacher: str,
    metric: str,
    server: LoopbackServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(server, monkeypatch)
    config, work = short_study(tmp_path, student, teacher, metric), tmp_path / "work"
    methods = ["--methods", "student_alone,pkd", "--seeds", "1", "--jobs", "1"]
    assert main(["compare", str(config), *methods, "--work-dir", str(work)]) == 0
    assert main(["dashboard", str(work)]) == 0
    check_dashboard(server)
