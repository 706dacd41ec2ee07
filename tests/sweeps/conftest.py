"""Fixtures that run the tiny study, in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.coordinator import run_study
from sweeps.executors import local
from sweeps.study_file import load_study

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_study
from tiny_study import FAKE, REPO, outcome, write_study


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No cache of the user is touched, and children import this checkout."""
    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    """Path of the tiny study's config; its runs are trained by the fake server."""
    monkeypatch.setattr(local, "WORKER", FAKE)
    return write_study(tmp_path)


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """Outcome of the tiny study's trials when nothing interrupts it."""
    folder = tmp_path_factory.mktemp("straight")
    study = load_study(write_study(folder), {"final_seeds": 0})
    executor = local.LocalExecutor(folder / "work/worker.log", command=FAKE)
    run_study(study, folder / "work", executor=executor)
    return outcome(folder / "work")


@pytest.fixture
def run_tiny(study_file, tmp_path):
    """Run the tiny study to its end in this process, with overrides; gives its work dir."""

    def run(work_dir="work", **overrides):
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        folder = tmp_path / work_dir
        run_study(load_study(study_file, keys), folder)
        return folder

    return run


@pytest.fixture
def start_cli(study_file, tmp_path):
    """Start the command line as a process of its own."""

    def start(*arguments, work_dir="work", **options):
        code = (
            "import sys; from fourierkd.errors import exit_on_error; from sweeps.run import main; "
            f"from sweeps.executors import local; local.WORKER = {FAKE!r}; "
            "exit_on_error('run.py', lambda: main(sys.argv[1:]))"
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
