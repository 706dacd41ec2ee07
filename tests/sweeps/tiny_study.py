"""A tiny study on the fake training server, and what to ask of its work dir."""

import sys
import textwrap
import time
from pathlib import Path

import optuna

from fourierkd.run_dir import RunDir
from sweeps.storage import RUNS_NAME

REPO = Path(__file__).resolve().parents[2]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
STATES = optuna.trial.TrialState
LOSS = "model.losses.fourier.loss"
WEIGHT = f"{LOSS}.loss_weight"
LUCKY = {"options.fake.lucky": 41.0}  # the published weight

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
    start_points=dict(
        by_hand={
            "model.losses.fourier.loss.loss_weight": 3.0,
            "model.losses.fourier.loss.mask": dict(type="LowPass", cutoff=0.5),
        }
    ),
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


def write_study(folder: Path) -> Path:
    """The tiny study's config and what it names."""
    (folder / "run_config.py").write_text("metric = 'score'\n")
    (folder / "teacher_config.py").write_text("metric = 'score'\nwidth = 8\n")
    path = folder / "tiny.py"
    path.write_text(textwrap.dedent(STUDY))
    return path


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


def outcome(work_dir: Path) -> list[tuple]:
    """What must not depend on interruptions: parameters, values and states of all trials."""
    return [(t.number, t.params, t.value, t.state.name) for t in trials_of(work_dir)]


def wait_for(condition, process, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, (out, err)
    return out, err
