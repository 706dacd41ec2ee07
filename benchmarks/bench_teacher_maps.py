"""What kept teacher maps save: in flows a run config, out flows the ratio of a run's CPU seconds.

Runs with the teacher at every step and runs with its maps kept, in turns in one process after one
of each that counts for nothing; the ratio is the median over rounds. Kept maps come from the file
of the run before, as in a study. W&B is off and no picture is drawn.

    python benchmarks/bench_teacher_maps.py [CONFIG] [--iters 192] [--rounds 3]
    pytest benchmarks/bench_teacher_maps.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as runs have it

import torch

from fourierkd.config.load import load_config
from fourierkd.distill.model_config import build_model
from fourierkd.distill.register import register_all
from fourierkd.engine.console import console_to
from fourierkd.engine.run import run
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir

CONFIG = Path(__file__).parent.parent / "configs" / "shapes_low" / "pspnet_fourier.py"
LOSS = {"type": "FeatureL2", "loss_weight": 4.0, "normalize": True}
BAR = 1.1


def measure(config: Path = CONFIG, *, iters: int = 192, rounds: int = 3) -> dict[str, float]:
    """Median CPU seconds of a run ``live`` and ``kept``, and the median ``ratio`` over rounds."""
    torch.set_num_threads(1)
    register_all()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FOURIERKD_CACHE"] = str(Path(folder) / "cache")
        teacher = build_model(load_config(config).model.teacher.model, role="teacher")
        torch.save(teacher.state_dict(), Path(folder) / "teacher.pth")
        options = {
            "model.teacher.checkpoint": str(Path(folder) / "teacher.pth"),
            "model.losses.fourier.loss": LOSS,
            "data_root": str(Path(folder) / "data"),
            "train_cfg.max_iters": iters,
            "train_cfg.val_interval": iters,
            "param_scheduler.total_steps": iters,
            "default_hooks.spectra": None,
        }
        times: dict[str, list[float]] = {"live": [], "kept": []}
        for number in range(rounds + 1):
            for name, more in (("live", {"default_hooks.teacher_maps": None}), ("kept", {})):
                run_dir = Path(folder) / f"{name}_{number}"
                times[name].append(seconds_of(run_dir, config, {**options, **more}, name))
    ratios = [a / b for a, b in zip(times["live"][1:], times["kept"][1:], strict=True)]
    found = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {**found, "ratio": statistics.median(ratios)}


def seconds_of(folder: Path, config: Path, options: dict[str, Any], name: str) -> float:
    """CPU seconds of one run."""
    run_dir = RunDir(folder).create(single_request(config, options, wandb_mode="disabled"))
    begin = time.process_time()
    with console_to(run_dir.log):
        result = run(run_dir, resume=False)
    seconds = time.process_time() - begin
    assert (result.teacher_maps["kept"] > 0) == (name == "kept"), result.teacher_maps
    return seconds


def test_kept_maps_pay() -> None:
    found = measure()
    print(found)
    assert found["ratio"] > BAR, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", type=Path, default=CONFIG)
    parser.add_argument("--iters", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for name, value in measure(args.config, iters=args.iters, rounds=args.rounds).items():
        print(f"{name:>6} {value:10.4g}")


if __name__ == "__main__":
    main()
