"""``fourierkd run``: in flow a run folder with its request, out flow what any run writes.

A queue of jobs starts this, once or again after a machine was lost, and reads nothing of it but the
folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fourierkd.errors import RunError
from fourierkd.records import State
from fourierkd.run_dir import RunDir


def add_run_parser(commands: Any) -> None:
    """Add ``run``; it sets ``func``: arguments in, exit code out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="train what a run folder asks for, as a job of a queue",
        description="Train what FOLDER's request.json asks for, which a study writes. It may be "
        "started again at any time: it waits while another process trains the run, does nothing "
        "where the run has ended, and goes on where it was begun. All that it says is in run.log.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="run folder")
    parser.add_argument("--resume", action="store_true", help="the run was begun before")
    parser.add_argument(
        "--answer",
        choices=("check", "measure"),
        help="FOLDER is a study's file of requests: write beside it which of them can be built, or "
        "what a step of each costs",
    )
    parser.set_defaults(func=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Train, and return the exit code: 0 where the run came to its end or was asked to stop."""
    if args.answer is not None:
        from fourierkd.serving import costs, dry_build

        (costs if args.answer == "measure" else dry_build).answer(args.folder)
        return 0
    run_dir = RunDir(args.folder)
    if not run_dir.request.exists():
        raise RunError(
            "a run folder holds request.json",
            value=str(run_dir.path),
            fix="`fourierkd train CONFIG` makes a run of a config",
        )
    from fourierkd.engine.console import exit_code
    from fourierkd.engine.environment import where
    from fourierkd.engine.run import run_job

    def work() -> int:
        print(f"fourierkd run: {where()}", flush=True)
        result = run_job(run_dir, resume=args.resume)
        return int(result.state == State.FAILED)

    return exit_code(work, run_dir.log)
