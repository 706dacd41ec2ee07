"""Run folders without a training: written through RunDir, as the engine does; made-up scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fourierkd.records import Best, Metric, Phase, Request, Result, State
from fourierkd.run_dir import RunDir, write_atomic

matplotlib.use("Agg")
VERSIONS = {"torch": "2.13.0", "mmseg": "1.4.2", "optuna": "5.0.0"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# mean test mIoU of each final method, and what the seed alone adds
FINAL = {"student_alone": 26.0, "published": 26.4, "tuned": 31.1, "feature_l2": 29.5}
SEED_EFFECT = {100: -1.3, 101: 0.2, 102: 1.6}
NOISE = {"student_alone": (0, 0, 0), "published": (0.6, -0.7, 0.2), "tuned": (0.3, -0.4, 0.1)}


def make_run(
    path: Path,
    *,
    value: float | None = 30.0,
    state: str | None = "complete",
    reason: str | None = None,
    test: float | None = None,
    rows: list[dict[str, Any]] | None = None,
    metric: str = "mIoU",
    classes: dict[str, dict[str, float | None]] | None = None,
    **request: Any,
) -> RunDir:
    """A run folder; ``state=None`` leaves it running (no result)."""
    asked = {"seed": 0, "study": "fake", "test_split": "test" if test is not None else None}
    asked |= request
    asked["phase"] = Phase(asked.get("phase", "single"))
    run = RunDir(path).create(Request(config="/configs/shapes.py", **asked))
    write_atomic(run.environment, _json({"versions": VERSIONS, "commit": COMMIT, "device": "cpu"}))
    for row in rows if rows is not None else curve(value or 20.0):
        run.append(row)
    if state is None:
        return run
    metrics = {} if value is None else {"val/mIoU": value, "val/aAcc": value + 40}
    if test is not None:
        metrics |= {"test/mIoU": test, "test/aAcc": test + 41}
    run.write_result(
        Result(
            state=State(state),
            reason=reason,
            metric=Metric(metric),
            best=None if value is None else Best(200, value),
            metrics=metrics,
            classes=classes or {},
            iters=200,
            seconds={"total": 40.5, "setup": 1.5, "train": 30.25},
        )
    )
    return run


def curve(end: float, *, gap: float | None = None, steps: int = 5) -> list[dict[str, Any]]:
    """Scalars that rise to ``end`` at iteration 200; ``gap`` adds spectra rows of three bands."""
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        i = 200 * step // steps
        row: dict[str, Any] = {"iter": i, "epoch": 0, "seconds": i * 0.15}
        rows.append(row | {"train/loss": 3.0 / step})
        rows.append(row | {"val/mIoU": end * (1 - 0.6**step) / (1 - 0.6**steps)})
        if gap is not None:
            bands = {"low": 1.0, "mid": 2.0, "high": 3.2}
            rows.append(row | {f"spectra/fourier/gap_{b}": s * gap**step for b, s in bands.items()})
    return rows


def add_spectra(run: RunDir, iteration: int, *, tilt: float, name: str = "fourier_0") -> None:
    """A picture and its arrays; ``tilt`` is how the student's power falls below the teacher's."""
    generator = np.random.default_rng(iteration)
    y, x = np.meshgrid(np.fft.fftshift(np.fft.fftfreq(16)), np.fft.fftshift(np.fft.fftfreq(16)))
    radius = np.hypot(x, y)
    teacher = -2.0 * np.log(radius + 0.05) + 0.1 * generator.standard_normal((16, 16))
    student = teacher - tilt * radius
    ring = (np.arange(8) + 0.5) / 8
    arrays = {
        "radius": ring,
        "teacher_profile": 0.01 * (ring / 2 + 0.05) ** -2.0,
        "student_profile": 0.01 * (ring / 2 + 0.05) ** -2.0 * np.exp(-tilt * ring / 2),
        "band_edges": np.array([0.0, 0.25, 0.5, 1.0]),
        "caption": np.array("student layer4, teacher layer4; mean over 4 training images"),
        "gap": np.array([0.1, 0.3, 0.9]) * tilt,
        "student_log_amplitude": student,
        "teacher_log_amplitude": teacher,
        "mask": (radius < 0.25).astype(float),
    }
    run.pictures.mkdir(exist_ok=True)
    np.savez(run.picture(iteration, name, ".npz"), **arrays)
    _draw(run.picture(iteration, name), teacher, student)


def make_study(work_dir: Path) -> list[RunDir]:
    """A whole study as a coordinator leaves it: teacher, baselines, trials, finals; two failed."""
    generator = np.random.default_rng(7)
    runs = []

    def add(name: str, **known: Any) -> RunDir:
        runs.append(make_run(work_dir / "runs" / name, **known))
        return runs[-1]

    add("teacher", phase="teacher", method="teacher", value=64.2)
    for trial in range(12):
        known: dict[str, Any] = {"phase": "trial", "method": "trial", "trial": trial}
        if trial < 2:
            name = ("student_alone", "published")[trial]
            add(
                f"baseline_{name}",
                phase="baseline",
                method=name,
                trial=trial,
                value=26.0 + trial / 2,
            )
            continue
        weight = float(10 ** generator.uniform(-1, 2))
        mask = ("all_pass", "low_pass")[trial % 2]
        parameters = {"loss_weight": weight, "mask": mask, "noise": trial % 3 == 0}
        if mask == "low_pass":
            parameters["mask.low_pass.cutoff"] = float(generator.uniform(0.1, 1))
        if trial == 5:
            known |= {"state": "failed", "value": None, "reason": "loss is NaN at iteration 12"}
        elif trial in (7, 10):
            known |= {"state": "pruned", "value": 19.0, "reason": "below the median at 80"}
        else:
            score = 30.0 - (np.log10(weight) - 0.7) ** 2 * 3 + generator.normal(0, 0.3)
            known["value"] = float(score)
        add(f"trial_{trial:04d}", parameters=parameters, **known)
    for method, mean in FINAL.items():
        for i, (seed, effect) in enumerate(SEED_EFFECT.items()):
            test = mean + effect + NOISE.get(method, (0, 0, 0))[i]
            gap = None if method == "student_alone" else {"tuned": 0.75}.get(method, 0.9)
            rows = curve(test + 1, gap=gap)
            name = f"final_{method}_{seed}"
            head: dict[str, Any] = {"phase": "final", "method": method, "seed": seed, "rows": rows}
            if (method, seed) == ("feature_l2", 102):
                add(name, state="failed", value=None, reason="killed by signal 9", **head)
                continue
            chosen = {"loss_weight": 5.1, "mask": "all_pass", "noise": False}
            parameters = chosen if method == "tuned" else {}
            run = add(name, value=test + 1, test=test, parameters=parameters, **head)
            if gap is not None:
                add_spectra(run, 100, tilt=6 * gap)
                add_spectra(run, 200, tilt=4 * gap)
    return runs


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _draw(path: Path, teacher: np.ndarray, student: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 3))
    for axis, data, title in zip(
        axes,
        (teacher, student, student - teacher),
        ("teacher", "student", "difference"),
        strict=True,
    ):
        axis.imshow(data)
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[..., RunDir]:
    """``build_run(name, **what)``: a run folder under ``tmp_path/runs``."""
    return lambda name, **known: make_run(tmp_path / "runs" / name, **known)


@pytest.fixture(scope="session")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's work dir; read only."""
    work_dir = tmp_path_factory.mktemp("study")
    make_study(work_dir)
    return work_dir


@pytest.fixture(scope="session")
def study_runs(study_dir: Path) -> list[RunDir]:
    return [RunDir(path) for path in sorted((study_dir / "runs").iterdir())]


@pytest.fixture
def draw_spectra() -> Callable[..., None]:
    """``draw_spectra(run, iteration, tilt=...)``: a picture and its arrays."""
    return add_spectra


@pytest.fixture
def table_of() -> Callable[..., pd.DataFrame]:
    """``table_of({method: {seed: score}}, **columns)``: a results table of final runs."""

    def build(scores: dict[str, dict[int, float]], **columns: object) -> pd.DataFrame:
        rows = [
            {"method": method, "seed": seed, "value": value}
            for method, by_seed in scores.items()
            for seed, value in by_seed.items()
        ]
        known = {"phase": "final", "state": "complete", "split": "test", "metric": "mIoU"}
        return pd.DataFrame(rows).assign(reason=None, run_dir="runs/x", **(known | columns))

    return build
