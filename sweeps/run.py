"""The studies' command line: ``python sweeps/run.py study [CONFIG]``, ``... compare CONFIG``,
``... report WORK_DIR``, ``... figures WORK_DIR``, ``... status [WORK_DIR]``,
``... sync WORK_DIR``, ``... dashboard WORK_DIR [--optuna]``, ``... import SOURCE``.

In flow arguments, out flows an exit code: 0, 1 where ``sync`` left something out, 2 for bad input
    (one line on stderr), 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
if __package__ in (None, ""):  # run as a script: Python put this file's own folder first
    sys.path[0] = str(REPO)

from fourierkd.errors import EXIT_INTERRUPTED, ConfigError, exit_on_error  # noqa: E402
from fourierkd.options import add_options, parse_options  # noqa: E402
from fourierkd.records import MAXIMIZE, MINIMIZE, Options  # noqa: E402
from sweeps.executors.base import LOG_NAME, Executor  # noqa: E402
from sweeps.study import StudyConfig  # noqa: E402
from sweeps.study_file import load_study  # noqa: E402
from sweeps.study_rules import check_number  # noqa: E402

EXIT_MISSING = 1  # of `sync`: a server lacks something
MAX_SEEDS = 20  # of a method, where seeds are added until its pair is decided
_OF_TRAINING = {  # options of `compare` that mean nothing to runs that are there -> their names
    "--methods": "methods",
    "--factors": "factors",
    "--tune": "tune",
    "--until-decided": "until_decided",
    "--budget": "budget",
    "--max-seeds": "max_seeds",
    "--work-dir": "work_dir",
    "--jobs": "jobs",
    "--teacher-seeds": "teacher_seeds",
    "--retry-failed": "retry_failed",
    "--executor": "executor",
    "--slurm": "slurm",
    "--set": "overrides",
}
DEFAULT_CONFIG = REPO / "configs" / "studies" / "shapes_low.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; default: of the process.

    Raises:
        FourierKDError: bad input, or a study that cannot go on.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    # Optuna's hints for authors of samplers; from Python 3.12 on they name the caller's module.
    warnings.filterwarnings("ignore", module=r"optuna|sweeps|fourierkd\.analysis")
    commands = {
        "study": _study,
        "compare": _compare,
        "status": _status,
        "report": _report,
        "sync": _sync,
        "figures": _figures,
        "dashboard": _dashboard,
        "import": _import,
    }
    return commands[args.command](args, f"python sweeps/run.py {shlex.join(arguments)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sweeps/run.py", description="Tune a distillation and compare it with its baselines."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    study = commands.add_parser(
        "study",
        help="run or continue a study up to its report",
        description="Run or continue a study: teacher, arms, trials, rung (the best trials "
        "again with fresh seeds), final runs, report. The same command continues an interrupted "
        "study; of a finished one it rewrites the report.",
    )
    _add_config(study)
    _add_running(study)
    study.add_argument(
        "--trials", type=int, metavar="N", help="runs of the search in all, arms included"
    )
    study.add_argument(
        "--seed", type=int, metavar="S", help="of the sampler and of the trials' training"
    )
    compare = commands.add_parser(
        "compare",
        help="train methods with the same seeds and compare them, or compare runs made by hand",
        description="Train methods on one pair with the same seeds, scored on the test split, and "
        "say which is better; with --tune each is tuned before, with equal numbers of trials; with "
        "--until-decided seeds are added until it is known. The same command goes on with an "
        "interrupted comparison; with more methods, seeds or trials it adds to an earlier one. Or "
        "compare run folders that are there.",
    )
    compare.add_argument(
        "what",
        nargs="+",
        type=Path,
        metavar="CONFIG | RUN",
        help="one study config (for its teacher and metric) or run config; or run folders",
    )
    compare.add_argument(
        "--methods", metavar="A,B,...", help="`fourierkd methods` lists them; or files of your own"
    )
    compare.add_argument(
        "--factors",
        metavar="A,B,...",
        help="in place of --methods: which parts of the published Fourier loss matter; of noise, "
        "fusion, predictor, similarity, normalize, sphere, mask, defects, and iou",
    )
    compare.add_argument("--seeds", type=int, default=5, metavar="N", help="of each; default 5")
    compare.add_argument(
        "--tune",
        type=int,
        default=0,
        metavar="N",
        help="tune every method that has a space with N trials first, that of its file among them; "
        "default: none",
    )
    compare.add_argument(
        "--until-decided",
        action="store_true",
        help="after these seeds add more, one by one, to the pairs with the reference that are "
        "undecided, by intervals that hold however often they are looked at",
    )
    compare.add_argument(
        "--max-seeds",
        type=int,
        metavar="M",
        help=f"with --until-decided: no more than so many of each; default {MAX_SEEDS}",
    )
    compare.add_argument(
        "--budget",
        metavar="KIND",
        help="what the methods have equally much of: iterations (default), or seconds or flops, by "
        "which schedules are scaled; what a step of each costs is measured first",
    )
    compare.add_argument(
        "--reference", metavar="M", help="what the others are compared with; default student_alone"
    )
    _add_running(compare)
    status = commands.add_parser(
        "status",
        help="how a study stands, also while it runs: live runs, what waits, best trial, time left",
        description="Say how a study stands from its files alone: what is trained on which "
        "parameters and how far it has come, what waits, what failed, the best trial against the "
        "baseline, the time left. Only reads, so it may be called at any time.",
    )
    status.add_argument(
        "work_dir",
        nargs="?",
        type=Path,
        metavar="WORK_DIR",
        help=f"work dir of a study (default: work_dirs/{DEFAULT_CONFIG.stem})",
    )
    status.add_argument("--watch", action="store_true", help="look again and again until Ctrl-C")
    report = commands.add_parser(
        "report",
        help="write a study's table and report from its files, also while it runs",
        description="Write results.csv, results.parquet and report.html of a work dir from its "
        "files alone: a study that runs, was stopped, or came from another machine.",
    )
    _add_work_dir(report)
    sync = commands.add_parser(
        "sync",
        help="upload a study's runs to W&B, each once, and say what arrived",
        description="Upload what no W&B server has of a study's runs, its teacher and its tables, "
        "then ask the server what it has. Safe to call again; runs at work are left for later. "
        "Exit code 1 where something is missing there.",
    )
    _add_work_dir(sync)
    figures = commands.add_parser(
        "figures",
        help="the report's tables as Markdown and LaTeX, its figures as PDF and SVG",
        description="Write what the report shows for papers and notes, from the files of a work "
        "dir alone: each table as .md and .tex (booktabs) into its folder tables, each figure as "
        ".pdf and .svg into its folder figures. Files of those names are replaced.",
    )
    _add_work_dir(figures)
    dashboard = commands.add_parser(
        "dashboard",
        help="make a study's workspace and report in W&B, from its files, also while it runs",
        description="Save a workspace (all runs of the study, live) and a report (the answer, the "
        "tables and the panels of report.html, of the study's own runs) in the W&B project where "
        "its runs are, and print their addresses. A later call updates both.",
    )
    _add_work_dir(dashboard)
    dashboard.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be saved as JSON; needs no network and no account",
    )
    dashboard.add_argument(
        "--optuna",
        action="store_true",
        help="Optuna's dashboard instead, on this machine; only reads, also while the study runs",
    )
    dashboard.add_argument(
        "--port", type=int, default=8080, help="of --optuna; default 8080, 0: any that is free"
    )
    imported = commands.add_parser(
        "import",
        help="make a results table of runs that are in W&B, for notebooks and comparisons",
        description="Write results.csv and results.parquet of runs of W&B, ours or others. What "
        "W&B does not know of them (teacher, data, schedule) stays empty, and they are compared "
        "with each other alone, as final runs where they are of no study of ours.",
    )
    imported.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help=".wandb files, folders of them, or wandb:ENTITY/PROJECT of a server",
    )
    imported.add_argument(
        "--out", type=Path, required=True, metavar="D", help="folder of the table, replaced"
    )
    imported.add_argument(
        "--metric",
        required=True,
        metavar="KEY",
        help="of a run's summary, such as test/mIoU, or val/mIoU.max for the best of a curve",
    )
    imported.add_argument("--minimize", action="store_true", help="smaller scores are better")
    for name, what in (("method", "a run's method"), ("seed", "its seed")):
        imported.add_argument(
            f"--{name}-key",
            default=name,
            metavar="KEY",
            help=f"of a run's config, holds {what}; default {name}",
        )
    return parser


def _add_work_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work_dir", type=Path, metavar="WORK_DIR", help="work dir of a study")


def _add_running(parser: argparse.ArgumentParser) -> None:
    """What a study and a comparison share."""
    parser.add_argument(
        "--work-dir", type=Path, metavar="D", help="default: work_dirs/<name of the study>"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="J", help="runs at once (default: as the study says)"
    )
    parser.add_argument(
        "--teacher-seeds",
        type=int,
        metavar="K",
        help="teachers of the final runs: 1 (the default), or as many as there are seeds: each "
        "with one of its own, so that intervals cover teachers too",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try failed runs again, from their last checkpoint",
    )
    parser.add_argument(
        "--executor",
        choices=("local", "slurm"),
        help="where runs are trained: on this machine (default), or each as a job of Slurm, which "
        "goes on when this command ends; the same command takes it over",
    )
    add_options(
        parser,
        "--slurm",
        dest="slurm",
        help="with --executor slurm: options of sbatch, e.g. partition=gpu time=480; what a run "
        "needs says the study: --set per_run.cpus=4 per_run.gpus=1",
    )
    add_options(
        parser,
        "--set",
        dest="overrides",
        help="study keys, such as final_seeds=2, or options.train_cfg.max_iters=50 of every run",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="CONFIG",
        help="a study config (default: configs/studies/shapes_low.py)",
    )


def _study(args: argparse.Namespace, command: str) -> int:
    overrides = _overrides(args)
    for key, value in (("trials", args.trials), ("seed", args.seed)):
        if value is not None:
            overrides[key] = value
    return _run(load_study(args.config, overrides), args, command)


def _compare(args: argparse.Namespace, command: str) -> int:
    from sweeps.compare import comparison, looked_at, runs_by_hand, show

    if all(path.is_dir() for path in args.what):
        for flag in [flag for flag, name in _OF_TRAINING.items() if getattr(args, name)]:
            raise ConfigError(
                "run folders are compared as they are",
                value=flag,
                fix="name a config, of which runs are trained",
            )
        table = runs_by_hand(args.what)
        show(table, reference=args.reference, looked=looked_at(args.what))
        return 0
    if len(args.what) > 1:
        raise ConfigError(
            "compare takes one config, or run folders", value=[str(path) for path in args.what]
        )
    if args.factors:
        return _run(_components(args), args, command)
    names = _names(args.methods)
    study = comparison(
        args.what[0],
        names,
        seeds=args.seeds,
        tune=args.tune,
        max_seeds=_max_seeds(args),
        budget=args.budget,
        reference=args.reference,
        overrides=_overrides(args),
    )
    return _run(study, args, command)


def _components(args: argparse.Namespace) -> StudyConfig:
    from sweeps.factors import component_study

    others = {
        "--methods": args.methods,
        "--tune": args.tune,
        "--until-decided": args.until_decided,
        "--budget": args.budget,
    }
    for flag in [flag for flag, given in others.items() if given]:
        raise ConfigError(
            "--factors trains the runs of one design, as published and with equal seeds",
            value=flag,
            fix="compare methods by a command of its own",
        )
    _max_seeds(args)
    return component_study(
        args.what[0],
        _names(args.factors),
        seeds=args.seeds,
        reference=args.reference,
        overrides=_overrides(args),
    )


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _max_seeds(args: argparse.Namespace) -> int:
    if args.max_seeds is not None and not args.until_decided:
        raise ConfigError("--max-seeds goes with --until-decided", value=args.max_seeds)
    if not args.until_decided:
        return 0
    most: int = MAX_SEEDS if args.max_seeds is None else args.max_seeds
    check_number("--max-seeds", most, 1)
    return most


def _overrides(args: argparse.Namespace) -> Options:
    overrides: Options = parse_options(args.overrides)
    if args.jobs is not None:
        overrides |= {"jobs": args.jobs, "trial_jobs": args.jobs}
    if args.teacher_seeds is not None:
        overrides["teacher_seeds"] = args.teacher_seeds
    return overrides


def _run(config: StudyConfig, args: argparse.Namespace, command: str) -> int:
    from sweeps.coordinator import run_study
    from sweeps.driver import Interrupted

    work_dir = args.work_dir or Path("work_dirs") / config.name
    executor = _executor(args, config, work_dir)
    retry_failed = args.retry_failed
    try:
        run_study(config, work_dir, command=command, retry_failed=retry_failed, executor=executor)
    except (Interrupted, KeyboardInterrupt):
        print(f"stopped; nothing is lost. To go on: {command}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _executor(args: argparse.Namespace, config: StudyConfig, work_dir: Path) -> Executor | None:
    """What trains the runs; None: this machine."""
    if args.executor != "slurm":
        if args.slurm:
            raise ConfigError("--slurm goes with --executor slurm", value=args.slurm)
        return None
    from sweeps.executors.slurm import SlurmExecutor, options_of

    executor = SlurmExecutor(options_of(args.slurm), log=work_dir.absolute() / LOG_NAME)
    executor.check_needs(config.needs)
    return executor


def _report(args: argparse.Namespace, _: str) -> int:
    from sweeps.tables import report

    print(*report(args.work_dir), sep="\n")
    return 0


def _figures(args: argparse.Namespace, _: str) -> int:
    from sweeps.tables import figures

    print(*figures(args.work_dir), sep="\n")
    return 0


def _status(args: argparse.Namespace, _: str) -> int:
    from rich.console import Console

    from sweeps.status import status, watch

    work_dir = args.work_dir or Path("work_dirs") / DEFAULT_CONFIG.stem
    console = Console(highlight=False)
    if not args.watch:
        print(*status(work_dir), sep="\n")
    elif console.is_terminal:
        watch(work_dir, console)
    else:
        raise ConfigError("--watch draws on a terminal", fix="leave it out")
    return 0


def _sync(args: argparse.Namespace, _: str) -> int:
    from sweeps.sync import sync

    lines, whole = sync(args.work_dir)
    print(*lines, sep="\n")
    return 0 if whole else EXIT_MISSING


def _dashboard(args: argparse.Namespace, _: str) -> int:
    if args.optuna:
        if args.dry_run:
            raise ConfigError("--dry-run is of W&B's dashboard", fix="leave it or --optuna out")
        from sweeps.optuna_page import serve

        serve(args.work_dir, args.port)
        return 0
    from sweeps.dashboard import dashboard

    print(*dashboard(args.work_dir, dry_run=args.dry_run), sep="\n")
    return 0


def _import(args: argparse.Namespace, _: str) -> int:
    from sweeps.imported import import_runs

    lines = import_runs(
        args.sources,
        args.out,
        metric=args.metric,
        direction=MINIMIZE if args.minimize else MAXIMIZE,
        method_key=args.method_key,
        seed_key=args.seed_key,
    )
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    exit_on_error("sweeps/run.py", main)
