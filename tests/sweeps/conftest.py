"""A tiny study on the fake training server."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import optuna
import pytest
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.storage import RUNS_NAME
from sweeps.study import load_study

REPO = Path(__file__).resolve().parents[2]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))

STUDY = """
from sweeps.space import suggest

study = dict(
    name="tiny",
    config="run_config.py",
    metric="score",
    trials=8,
    seed=0,
    final_seeds=2,
    sampler_startup=3,
    pruner=None,
    arms=dict(
        student_alone={"model.teacher": None, "model.losses": {}},
        published={
            "model.losses.fourier.loss.loss_weight": 41.0,
            "model.losses.fourier.loss.mask": dict(type="AllPass"),
        },
    ),
    reference_arms=dict(feature_l2={"model.losses": {"l2": {"weight": 1.0}}}),
    space={
        "model.losses.fourier.loss.loss_weight": suggest.float(0.1, 100, log=True),
        "model.losses.fourier.loss.mask": suggest.choice(
            all_pass=dict(type="AllPass"),
            low_pass=dict(type="LowPass", cutoff=suggest.float(0.1, 1.0)),
        ),
    },
    final_split="test",
    wandb=dict(mode="disabled"),
)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No cache of the user is touched, and children import this checkout."""
    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def study_file(tmp_path):
    """Path of the tiny study's config."""
    (tmp_path / "run_config.py").write_text("metric = 'score'\n")
    (tmp_path / "teacher_config.py").write_text("metric = 'score'\nwidth = 8\n")
    path = tmp_path / "tiny.py"
    path.write_text(textwrap.dedent(STUDY))
    return path


@pytest.fixture
def run_tiny(study_file, tmp_path):
    """Run the tiny study to its end in this process, with overrides; gives its work dir."""

    def run(work_dir="work", **overrides):
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        folder = tmp_path / work_dir
        run_study(load_study(study_file, keys), folder, worker=FAKE)
        return folder

    return run


@pytest.fixture
def start_cli(study_file, tmp_path):
    """Start the command line as a process of its own."""

    def start(*arguments, work_dir="work", **options):
        code = (
            "import sys; from fourierkd.errors import exit_on_error; from sweeps.run import main; "
            f"exit_on_error('run.py', lambda: main(sys.argv[1:], worker={FAKE!r}))"
        )
        command = [sys.executable, "-c", code, "study", str(study_file)]
        command += ["--work-dir", str(tmp_path / work_dir), *arguments]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=dict(os.environ),
            **options,
        )

    return start


def trials_of(work_dir: Path) -> list[optuna.trial.FrozenTrial]:
    """Optuna's trials of a study."""
    backend = optuna.storages.journal.JournalFileBackend(str((work_dir / "optuna.log").absolute()))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name="tiny", storage=storage).get_trials(deepcopy=False)


def run_dirs(work_dir: Path) -> dict[str, RunDir]:
    """Folder name -> run folder."""
    return {path.name: RunDir(path) for path in sorted((work_dir / RUNS_NAME).iterdir())}


def executed(run: RunDir) -> list[int]:
    """Iterations in the order in which they were trained, over all processes."""
    return [int(line) for line in (run.path / "executed.txt").read_text().split()]
