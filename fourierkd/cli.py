"""``fourierkd train | test | export | doctor | data``: in flow arguments, out flow exit codes.

Torch and the MM packages are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from fourierkd import errors
from fourierkd.data.commands import add_data_parser
from fourierkd.doctor.command import add_doctor_parser
from fourierkd.errors import RunError
from fourierkd.run_dir import RunDir


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; bad input gives one line and exit code 2."""
    errors.exit_on_error("fourierkd", lambda: run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Parse and do; returns the exit code."""
    args = build_parser().parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; see worker.py
    return int(args.func(args) or 0)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="fourierkd",
        description="Fourier-domain knowledge distillation of detectors and segmentors. "
        "A study (tuning and comparison) is `python sweeps/run.py study`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a run config into a run folder")
    train.add_argument("config", metavar="CONFIG", help="run config (.py)")
    train.add_argument(
        "--work-dir", metavar="D", help="run folder; default work_dirs/<name of CONFIG>"
    )
    train.add_argument("--resume", action="store_true", help="go on with the run in --work-dir")
    train.add_argument(
        "--seed", type=int, help="of weights, data order and augmentation; default 0"
    )
    train.add_argument(
        "--test-split", choices=("val", "test"), help="score the best checkpoint there at the end"
    )
    train.add_argument(
        "--wandb",
        choices=("online", "offline", "disabled"),
        help="W&B mode; default: online where logged in, else offline",
    )
    train.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="who started this process; pytorch: torchrun --nproc_per_node=4 -m fourierkd ...",
    )
    train.add_argument(
        "--amp",
        nargs="?",
        choices=("fp16", "bf16"),
        const="fp16",
        help="mixed precision, after CONFIG; fp16 needs CUDA, bf16 works on the CPU too",
    )
    train.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="add up the gradients of N iterations before a step; default 1",
    )
    train.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's auto_scale_lr.base_batch_size to the real "
        "batch size",
    )
    add_options(train)
    train.set_defaults(func=train_command)

    test = commands.add_parser("test", help="score a checkpoint's student")
    test.add_argument("config", metavar="CONFIG", help="run config (.py)")
    test.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="checkpoint of a run, or of the plain student"
    )
    test.add_argument(
        "--split", choices=("val", "test"), default="test", help="where to score; default test"
    )
    test.add_argument("--json", metavar="FILE", help="write the metrics to this file too")
    add_options(test)
    test.set_defaults(func=test_command)

    export = commands.add_parser("export", help="write the student alone, for plain mmseg or mmdet")
    export.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="of a run, of MMRazor or the official FourierKD"
    )
    export.add_argument(
        "--out", metavar="FILE", required=True, help="file to write; its config lies beside"
    )
    export.add_argument(
        "--format",
        choices=("pth", "safetensors", "onnx"),
        help="default: by the suffix of --out; onnx: segmentation only",
    )
    export.add_argument(
        "--config",
        metavar="CONFIG",
        help="run config, or the student's own (a path or mmdet::NAME); default: the run folder's",
    )
    export.add_argument(
        "--shape", nargs=2, type=int, metavar=("H", "W"), help="input size of the ONNX model"
    )
    export.add_argument("--image", metavar="FILE", help="image on which the ONNX model is tried")
    export.set_defaults(func=export_command)

    bench = commands.add_parser(
        "bench", help="parameters, GFLOPs, time and memory of a training step by parts"
    )
    bench.add_argument("config", metavar="CONFIG", help="run config (.py)")
    bench.add_argument("--iters", type=int, default=10, metavar="N", help="steps; default 10")
    bench.add_argument("--device", help="cpu, cuda or cuda:N; default: CUDA where there is one")
    bench.add_argument(
        "--shape", nargs=2, type=int, metavar=("H", "W"), help="random images of this size"
    )
    bench.add_argument("--batch-size", type=int, metavar="B", help="random images, so many")
    bench.add_argument("--json", metavar="FILE", help="write the numbers to this file too")
    add_options(bench)
    bench.set_defaults(func=bench_command)

    add_options(add_doctor_parser(commands))
    add_data_parser(commands, check=check_command)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options k=v ...``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="replace values of the config, e.g. train_cfg.max_iters=100 data_root=/data/x",
    )


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
    finished = prepare_run(args, run_dir) if leads else None
    if args.launcher != "none":
        from fourierkd.engine.ranks import from_leader

        finished = from_leader(finished)
    if finished is not None:
        if leads:
            print("the run is complete already")
            print(summary(args, run_dir, finished))
        return 0

    from fourierkd.engine.console import console_to
    from fourierkd.engine.progress import show_progress
    from fourierkd.engine.run import run

    if not leads:
        with console_to(Path(os.devnull)):
            run(run_dir, resume=args.resume)
        return 0
    try:
        with console_to(run_dir.log) as terminal, show_progress(run_dir, terminal):
            result = run(run_dir, resume=args.resume)
    except BaseException:
        print(f"the run failed; its log is {shown(run_dir.log)}", file=sys.stderr)
        if run_dir.last_checkpoint() is not None:
            print(f"what was trained is kept; {continue_line(args, run_dir)}", file=sys.stderr)
        raise
    print(summary(args, run_dir, result))
    return 0


def prepare_run(args: argparse.Namespace, run_dir: RunDir) -> dict[str, Any] | None:
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
    if result is not None and result["state"] == "complete":
        return result

    from fourierkd.engine.config import load_config, parse_cfg_options
    from fourierkd.engine.switches import scaled_lr, switch_options

    options = parse_cfg_options(args.cfg_options)
    if flags(args):
        options |= switch_options(
            load_config(args.config, options),
            amp=args.amp,
            accumulate=args.accumulate,
            auto_scale_lr=args.auto_scale_lr,
        )
    request = {
        "config": str(Path(args.config).absolute()),
        "options": options,
        "seed": args.seed or 0,
        "study": None,
        "phase": "single",
        "method": "run",
        "trial": None,
        "parameters": {},
        "test_split": args.test_split,
        "wandb": {"mode": args.wandb},
    }
    if args.resume:
        keep_request(args, run_dir.read_request(), request)
    # a mistake leaves no folder behind
    config = load_config(request["config"], request["options"])
    lr = scaled_lr(config)
    if not args.resume:
        run_dir.create(request)
    print(f"{'resuming' if args.resume else 'training'} in {shown(run_dir.path)}", flush=True)
    if lr is not None:
        print(f"learning rate {lr[0]:g} -> {lr[1]:g}, for batches of {lr[2]}", flush=True)
    return None


def flags(args: argparse.Namespace) -> bool:
    """Whether a flag sets options of the config."""
    return args.amp is not None or args.accumulate is not None or args.auto_scale_lr


def failed_at_start(run_dir: RunDir) -> bool:
    """Whether bad input ended the run before it trained: then nothing is lost by another one."""
    result = run_dir.read_result()
    return result is not None and result["state"] == "failed" and not run_dir.scalars.exists()


def keep_request(args: argparse.Namespace, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A resumed run stays itself: refuse what differs from ``old``, take the rest from it."""
    given = {
        "config": True,
        "options": args.cfg_options or flags(args),
        "seed": args.seed is not None,
    }
    for key, is_given in given.items():
        if is_given and json.loads(json.dumps(new[key])) != old[key]:
            raise RunError(
                f"a resumed run keeps its {key} ({old[key]!r})",
                value=new[key],
                fix="leave it as it was, or start another --work-dir",
            )
    new.update(old)


def summary(args: argparse.Namespace, run_dir: RunDir, result: dict[str, Any]) -> str:
    """What the run came to, and what can be done next."""
    lines = [
        f"{result['state']} after {result['iters']} iterations, {result['seconds']['total']:.0f} s"
    ]
    if result["reason"]:
        lines[0] += f": {result['reason']}"
    if result["best"]:
        best = result["best"]
        lines.append(
            f"best {result['metric']} on val: {best['value']:.4g} at iteration {best['iter']}"
        )
    scores = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    if scores:
        lines.append("  ".join(f"{k} {v:.4g}" for k, v in scores.items()))
    lines.append(f"folder: {shown(run_dir.path)}")
    if result["state"] != "complete":
        lines.append(continue_line(args, run_dir))
    if result["checkpoints"]["best"]:
        best_path = shown(run_dir.path / result["checkpoints"]["best"])
        lines.append(f"export: fourierkd export {best_path} --out student.pth")
    return "\n".join(lines)


def test_command(args: argparse.Namespace) -> int:
    """Print the metrics of a checkpoint's student."""
    from fourierkd.engine.config import parse_cfg_options
    from fourierkd.engine.console import console_to
    from fourierkd.engine.evaluate import evaluate

    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log"):
        metrics = evaluate(
            args.config,
            args.checkpoint,
            split=args.split,
            options=parse_cfg_options(args.cfg_options),
        )
    for name, value in metrics.items():
        print(f"{args.split}/{name} {value:.6g}")
    if args.json:
        from fourierkd.run_dir import write_atomic

        write_atomic(Path(args.json), json.dumps(metrics, indent=1) + "\n")
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write the student alone and say what was written and checked."""
    from fourierkd.engine.console import console_to
    from fourierkd.engine.export import export

    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log"):
        report = export(
            args.checkpoint,
            args.out,
            file_format=args.format,
            config=args.config,
            shape=tuple(args.shape) if args.shape else None,
            image=args.image,
        )
    size = report["bytes"] / 2**20
    print(f"{report['out']}: {report['parameters']:,} parameters, {size:.3g} MiB")
    print(f"sha256 {report['sha256']}")
    if report.get("dropped"):
        print(f"left out: {report['dropped']} tensors of {report['layout']} besides its student")
    if report["checked"]:
        config = report["checked"]
        name = config if "::" in config else shown(Path(config))
        print(f"checked: every weight fits the student of {name}")
    else:
        print("not checked: without --config keys were only stripped")
    if report["config"]:
        print(f"config: {report['config']}")
    if "max_difference" in report:
        print(
            f"onnxruntime against PyTorch on {report['image']}: largest difference "
            f"{report['max_difference']:.2g}, same class at {report['agreement']:.2%} of pixels"
        )
    return 0


def check_command(args: argparse.Namespace) -> int:
    """``data check``: a table; exit code 1 where the data are wrong."""
    from fourierkd.engine.check_data import check_data
    from fourierkd.engine.config import parse_cfg_options

    return check_data(args.config, parse_cfg_options(args.cfg_options), images=args.images)


def bench_command(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    from fourierkd.engine.bench import bench, print_table
    from fourierkd.engine.config import parse_cfg_options
    from fourierkd.engine.console import console_to
    from fourierkd.run_dir import write_atomic

    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log"):
        result = bench(
            args.config,
            options=parse_cfg_options(args.cfg_options),
            iters=args.iters,
            device=args.device,
            shape=tuple(args.shape) if args.shape else None,
            batch_size=args.batch_size,
        )
    print_table(result)
    if args.json:
        write_atomic(Path(args.json), json.dumps(result, indent=1) + "\n")
    return 0


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
