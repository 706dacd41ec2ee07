"""What a job of Slurm's calls in the tests: as ``python -m fourierkd``, with the fake training."""

import argparse
import signal
from pathlib import Path

import fake_worker

from fourierkd.run_dir import RunDir

parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["run"])
parser.add_argument("path", type=Path)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--answer")
args = parser.parse_args()
signal.signal(signal.SIGTERM, lambda *_: fake_worker.signals.append("SIGTERM"))
if args.answer is None:
    fake_worker.train(RunDir(args.path), resume=args.resume)
else:
    {"check": fake_worker.check, "measure": fake_worker.measure}[args.answer](args.path)
