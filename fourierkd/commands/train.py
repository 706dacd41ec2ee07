"""``fourierkd train``: in flow arguments, out flow a run folder and an exit code.

Torch and the MM packages are imported where there is something to train.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fourierkd.errors import CheckpointError, ConfigError, DataError, RunError
from fourierkd.literals import read_literals
from fourierkd.methods import method_label
from fourierkd.options import add_loudness, parse_options, seed
from fourierkd.records import TEST, UNNAMED, Request, Result, State, scores, single_request
from fourierkd.run_dir import RunDir

BAD_INPUT = (CheckpointError, ConfigError, DataError)


def add_train_parser(commands: Any) -> argparse.ArgumentParser:
    """Add ``train``; it sets ``func``: arguments in, exit code out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train a run config into a run folder"
    )
    parser.add_argument("config", metavar="CONFIG", help="run config (.py)")
    parser.add_argument(
        "--work-dir", metavar="FOLDER", help="run folder; default work_dirs/<name of CONFIG>"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --work-dir")
    parser.add_argument(
        "--method", metavar="M", help="distil CONFIG's pair by it; `fourierkd methods` lists them"
    )
    parser.add_argument("--name", metavar="N", help="the run's name in W&B; default its folder's")
    parser.add_argument("--group", metavar="G", help="W&B's group of runs that are compared")
    parser.add_argument(
        "--seed", type=seed, help="of weights, data order and augmentation; default 0"
    )
    parser.add_argument(
        "--test-split", choices=("val", "test"), help="score the best checkpoint there at the end"
    )
    parser.add_argument(
        "--wandb",
        choices=("online", "offline", "disabled"),
        help="W&B mode; default: online where logged in, else offline",
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="who started this process; pytorch: torchrun --nproc_per_node=4 -m fourierkd ...",
    )
    parser.add_argument(
        "--amp",
        nargs="?",
        choices=("fp16", "bf16"),
        const="fp16",
        help="mixed precision, after CONFIG; fp16 needs CUDA, bf16 works on the CPU too",
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="add up the gradients of N iterations before a step; default 1",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's auto_scale_lr.base_batch_size to the real "
        "batch size",
    )
    add_loudness(parser)
    parser.set_defaults(func=train_command)
    return parser


def train_command(args: argparse.Namespace) -> int:
    """Train as one process, or as one rank of those that the launcher started."""
    if args.launcher == "none" and "TORCHELASTIC_RUN_ID" not in os.environ:
        return train(args, leads=True)  # without loading torch where there is nothing to train
    from fourierkd.engine import ranks

    with ranks.launched(args.launcher):
        return train(args, leads=ranks.leads())


def train(args: argparse.Namespace, *, leads: bool) -> int:
    """Train; the console of the run goes to its run.log, the terminal shows progress.

    A rank that does not lead waits for the one that does, and writes and says nothing.
    """
    run_dir = RunDir(args.work_dir or Path("work_dirs") / Path(args.config).stem)
    made_here = not run_dir.path.exists()
    finished = prepare_run(args, run_dir) if leads else None
    if args.launcher != "none":
        from fourierkd.engine.ranks import from_leader

        finished = from_leader(finished)
    if finished is not None:
        if leads:
            print("the run is complete already")
            print(summary(args, run_dir, finished))
        return 0

    from fourierkd.commands.progress import show_progress
    from fourierkd.engine.console import console_to
    from fourierkd.engine.run import run

    if not leads:
        with console_to(Path(os.devnull)):
            return exit_code(run(run_dir, resume=args.resume))
    try:
        with ExitStack() as held:
            terminal = held.enter_context(console_to(run_dir.log))
            if not args.quiet:
                held.enter_context(show_progress(run_dir, terminal, log=args.verbose))
            result = run(run_dir, resume=args.resume)
    except BaseException as error:
        if made_here and isinstance(error, BAD_INPUT) and failed_at_start(run_dir):
            shutil.rmtree(run_dir.path)  # a mistake leaves no folder behind
            raise
        print(f"the run failed; its log is {shown(run_dir.log)}", file=sys.stderr)
        kept = run_dir.last_checkpoint()
        if kept is not None:
            print(f"what was trained is kept in {shown(kept)}", file=sys.stderr)
            if not isinstance(error, ConfigError | RunError):  # those would come again
                print(f"when it is mended, {continue_line(args, run_dir)}", file=sys.stderr)
        raise
    print(summary(args, run_dir, result))
    return exit_code(result)


def exit_code(result: Result) -> int:
    """128 and the number of the signal that stopped the run, as a shell has it; else 0, also where
    a hook of the run sent it.
    """
    name = (result.reason or "").removeprefix("signal ")
    stopped = result.state == State.STOPPED and name in signal.Signals.__members__
    return 128 + signal.Signals[name] if stopped else 0


def prepare_run(args: argparse.Namespace, run_dir: RunDir) -> Result | None:
    """Check what is asked for and make the run folder; the result of a run that is complete."""
    exists = run_dir.request.exists()
    if exists and not args.resume and not failed_at_start(run_dir):
        raise RunError(
            "a work dir holds one run, and this one has a run",
            value=str(run_dir.path),
            fix="continue it with --resume, or choose another --work-dir",
        )
    if args.resume and not exists:
        raise RunError(
            "there is no run to resume", value=str(run_dir.path), fix="leave --resume out"
        )
    result = run_dir.read_result() if args.resume else None
    if result is not None and result.state == State.COMPLETE:
        return result

    from fourierkd.config.load import load_config
    from fourierkd.config.schedules import scaled_lr
    from fourierkd.engine.prepare import resolve_config
    from fourierkd.engine.switches import switch_options

    options = parse_options(args.cfg_options)
    if args.method is not None:
        options["method"] = args.method
    if switches(args):
        options |= switch_options(
            load_config(args.config, options),
            amp=args.amp,
            accumulate=args.accumulate,
            auto_scale_lr=args.auto_scale_lr,
        )
    request = single_request(
        args.config,
        options,
        seed=args.seed or 0,
        test_split=args.test_split,
        wandb_mode=args.wandb,
        name=args.name,
        group=args.group,
        method=method_label(args.method or UNNAMED),
    )
    if args.resume:
        request = kept_request(args, run_dir.read_request(), request)
    # a mistake leaves no folder behind
    lr = scaled_lr(resolve_config(request.config, request.options, args.test_split))
    if not args.resume:
        run_dir.create(request)
    if args.quiet:
        return None
    print(f"{'resuming' if args.resume else 'training'} in {shown(run_dir.path)}", flush=True)
    if lr is not None:
        print(f"learning rate {lr[0]:g} -> {lr[1]:g}, for batches of {lr[2]}", flush=True)
    return None


def switches(args: argparse.Namespace) -> bool:
    """Whether a switch sets options of the config."""
    return args.amp is not None or args.accumulate is not None or args.auto_scale_lr


def failed_at_start(run_dir: RunDir) -> bool:
    """Whether bad input ended the run before it trained: then nothing is lost by another one."""
    result = run_dir.read_result()
    return (
        result is not None
        and result.state == State.FAILED
        and not result.iters
        and not run_dir.scalars.exists()
    )


def kept_request(args: argparse.Namespace, old: Request, new: Request) -> Request:
    """A resumed run stays itself: ``old``, where nothing that was given differs from it."""
    given = {
        "config": True,
        "options": args.cfg_options or switches(args) or args.method is not None,
        "seed": args.seed is not None,
    }
    for key, is_given in given.items():
        before, now = getattr(old, key), getattr(new, key)
        if is_given and json.loads(json.dumps(now)) != before:
            raise RunError(
                f"a resumed run keeps its {key} ({before!r})",
                value=now,
                fix="leave it as it was, or start another --work-dir",
            )
    return old


def summary(args: argparse.Namespace, run_dir: RunDir, result: Result) -> str:
    """What the run came to, and what can be done next."""
    seconds = result.seconds.get("total") or 0.0
    lines = [f"{result.state} after {result.iters} iterations, {seconds:.0f} s"]
    if result.reason:
        lines[0] += f": {result.reason}"
    if result.best and result.metric:
        best, name = result.best, result.metric.name
        lines.append(f"best {name} on val: {best.value:.4g} at iteration {best.iter}")
    tested = scores(result.metrics, TEST)
    if tested:
        lines.append("  ".join(f"{TEST}/{k} {v:.4g}" for k, v in tested.items()))
    lines += beside_published(run_dir, result)
    lines.append(f"folder: {shown(run_dir.path)}")
    if result.state != State.COMPLETE:
        lines.append(continue_line(args, run_dir))
    if result.checkpoints.best:
        best_path = shown(run_dir.path / result.checkpoints.best)
        named = f" --config {shown(run_dir.config)}" if imports_modules(run_dir) else ""
        lines.append(f"export: fourierkd export {best_path} --out student.pth{named}")
    return "\n".join(lines)


def beside_published(run_dir: RunDir, result: Result) -> list[str]:
    """The run's score beside the published number of its pair, if it has one."""
    if result.state != State.COMPLETE or result.metric is None:
        return []
    from fourierkd.analysis import published, results_table

    around = run_dir.path.parent
    table = results_table([run_dir], work_dir=around)
    phase = str(table["phase"].iloc[0])
    return published.beside_published(table, around, metric=result.metric.name, phase=phase)


def imports_modules(run_dir: RunDir) -> bool:
    """Whether the run's config imports modules: ``export`` does that where one names the config."""
    try:
        return "custom_imports" in read_literals(run_dir.config)
    except ConfigError:
        return True  # objects of such modules are in it


def continue_line(args: argparse.Namespace, run_dir: RunDir) -> str:
    """How to go on with a run that is not at its end."""
    command = f"fourierkd train {args.config} --work-dir {shown(run_dir.path)} --resume"
    if args.launcher == "none":
        return f"continue: {command}"
    return f"continue, with as many processes: {command} --launcher {args.launcher}"


def shown(path: Path) -> str:
    """Relative to here where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
