"""What the hooks of a run cost: in flows a run config, out flows their share of the run's seconds.

The runner books the time inside hooks apart from that of data, training steps and validation (see
``fourierkd/engine/runner.py``), so one ordinary run measures it: all of MMEngine's hooks, scalars
with gradient shares, random states, checkpoints, control, spectra with pictures and the spectral
ledger, which is booked by itself. The teacher has random weights, which cost what trained ones do.
W&B is off; ``seconds.tracking`` books it apart.

    python benchmarks/bench_hooks.py [CONFIG] [--threads 2] [--json FILE]
    pytest benchmarks/bench_hooks.py     # the same, and the bars: 3 %, a picture in 20 ms
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import timeit
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as runs have it

import numpy as np
import torch

from fourierkd.engine.console import console_to
from fourierkd.engine.run import run
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from fourierkd.tracking.figures import spectra_picture

CONFIG = Path(__file__).parent.parent / "configs" / "shapes" / "pspnet_fourier.py"
BAR = 0.03


def measure(config: Path = CONFIG, *, threads: int = 2) -> dict[str, float]:
    """Seconds of one run by part, and ``share``: hooks and spectral ledger over total."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "model.teacher.checkpoint": "random",
            "data_root": str(Path(folder) / "data"),
        }
        request = single_request(config, options, wandb_mode="disabled")
        run_dir = RunDir(Path(folder) / "run").create(request)
        with console_to(run_dir.log):
            result = run(run_dir, resume=False)
    seconds = result.seconds
    return {
        **seconds,
        "iters": result.iters,
        "share": (seconds["hooks"] + seconds["ledger"]) / seconds["total"],
    }


def test_hooks_take_less_than_three_percent_of_a_run() -> None:
    seconds = measure()
    print(json.dumps(seconds))
    assert seconds["share"] < BAR, seconds


def test_a_picture_takes_milliseconds() -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 32, 32))
    seconds = timeit.repeat(
        lambda: spectra_picture(student, teacher, np.tri(32), "t"), number=1, repeat=9
    )
    print(json.dumps(seconds))
    assert min(seconds) < 0.02, seconds  # 3 to 6 ms on 2 cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", type=Path, default=CONFIG)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seconds = measure(args.config, threads=args.threads)
    for name, value in seconds.items():
        print(f"{name:>10} {value:10.4g}")
    if args.json:
        args.json.write_text(json.dumps(seconds, indent=1) + "\n")


if __name__ == "__main__":
    main()
