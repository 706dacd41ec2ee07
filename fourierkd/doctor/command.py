"""``fourierkd doctor``: in flow arguments, out flow a table, JSON and an exit code."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from fourierkd.doctor.report import CHECKS, OK, SKIP, accept, as_json, exit_code, summary, table
from fourierkd.errors import ConfigError
from fourierkd.options import parse_options, seed
from fourierkd.run_dir import json_text, write_atomic

WIDTH = 100  # of the table, where there is no terminal to ask
# What a check is of, where random weights stand for those of an option: it says nothing then.
OF_WEIGHTS = {
    "model.teacher.checkpoint": (
        "teacher weights",
        "teacher metric",
        "teacher loss",
        "gradient share",
        "shortcut",
        "bands",
    ),
    "model.pretrained": ("student frozen",),
}


def add_doctor_parser(commands: Any) -> argparse.ArgumentParser:
    """Add ``doctor``; it sets ``func``: arguments in, exit code out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="check in one batch that a config's distillation is on and sane",
        description="Exit code 0: every check passes or warns; 1: a check failed; 2: bad input.",
        epilog=f"checks: {', '.join(CHECKS)}",
    )
    parser.add_argument("config", metavar="CONFIG", help="run config (.py)")
    parser.add_argument(
        "--checkpoint", metavar="CKPT", help="of a run of CONFIG; default: a fresh student"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="K",
        help="validation images that the teacher is scored on; default 100",
    )
    parser.add_argument(
        "--steps", type=int, default=100, metavar="N", help="of the shortcut probe; default 100"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of weights, data and draws; default 0"
    )
    parser.add_argument("--device", metavar="D", help="e.g. cpu or cuda; default as a run")
    parser.add_argument(
        "--amp", choices=("fp16", "bf16"), help="mixed precision, as the run will be given it"
    )
    parser.add_argument(
        "--accept",
        nargs="+",
        default=[],
        metavar="CHECK",
        help="a failure of these checks is meant: let it be a warning",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report here; - for stdout")
    parser.set_defaults(func=doctor_command)
    return parser


def doctor_command(args: argparse.Namespace) -> int:
    """Run the checks and show them; with ``--json -`` the table goes to stderr."""
    for name, least in (("images", 1), ("steps", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} is a number from {least} on", value=getattr(args, name))
    accept([], args.accept)

    from rich.console import Console

    from fourierkd.config.load import load_config
    from fourierkd.doctor.examine import Effort, diagnose
    from fourierkd.engine.console import console_to
    from fourierkd.engine.switches import switch_options

    options = parse_options(args.cfg_options)
    if args.amp:
        options |= switch_options(load_config(args.config, options), amp=args.amp)
    with (
        tempfile.TemporaryDirectory() as folder,
        console_to(Path(folder) / "log") as terminal,
        Console(file=terminal).status("build") as status,
    ):
        checks = diagnose(
            args.config,
            options,
            effort=Effort(args.images, args.steps),
            seed=args.seed,
            device=args.device,
            checkpoint=args.checkpoint,
            progress=status.update,
        )
    checks = accept(checks, args.accept)
    to_stdout = args.json == "-"
    console = Console(stderr=to_stdout, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table(checks))
    console.print(summary(checks), markup=False)
    if args.json:
        about = {
            "config": str(Path(args.config).absolute()),
            "options": options,
            "seed": args.seed,
            "checkpoint": args.checkpoint,
        }
        text = json_text(as_json(checks, **about), indent=1) + "\n"
        if to_stdout:
            sys.stdout.write(text)
        else:
            write_atomic(Path(args.json), text)
    return exit_code(checks)


def examine_pair(config: str | Path, options: dict[str, Any]) -> int:
    """Examine a pair that was just written, quickly, and show what is not well with it.

    Args:
        config: its run config.
        options: those of OF_WEIGHTS, where random weights stand for others.

    Returns:
        Exit code: 1 where a check failed that does not hang on these weights.
    """
    from rich.console import Console

    from fourierkd.doctor.examine import Effort, diagnose
    from fourierkd.engine.console import console_to

    unjudged = [name for option in options for name in OF_WEIGHTS[option]]
    with (
        tempfile.TemporaryDirectory() as folder,
        console_to(Path(folder) / "log") as terminal,
        Console(file=terminal).status("build") as status,
    ):
        found = diagnose(
            config,
            options,
            effort=Effort(images=8, steps=0 if "shortcut" in unjudged else 20),
            progress=status.update,
        )
    checks = [check for check in found if check.name not in unjudged]
    shown = [check for check in checks if check.status not in (OK, SKIP)]
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    if shown:
        console.print(table(shown))
    left_out = f"; not judged: {', '.join(unjudged)}" if unjudged else ""
    console.print(f"doctor: {summary(checks)}{left_out}", markup=False)
    return exit_code(checks)
