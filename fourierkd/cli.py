"""The command ``fourierkd``: in flow arguments, out flow exit codes.

Torch and the MM packages are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from fourierkd import errors
from fourierkd.commands.browse import add_browse_parser
from fourierkd.commands.completion import SHELLS, completion_script
from fourierkd.commands.new_parser import add_new_parser
from fourierkd.commands.report import add_report_parser
from fourierkd.commands.train import add_train_parser, shown
from fourierkd.data.commands import add_data_parser
from fourierkd.doctor.command import add_doctor_parser
from fourierkd.options import add_loudness, add_options, parse_options
from fourierkd.run_dir import RunDir, json_text, require_writable, write_atomic
from fourierkd.serving.command import add_run_parser


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; bad input gives one line and exit code 2."""
    errors.exit_on_error("fourierkd", lambda: run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Parse and do; returns the exit code."""
    args = build_parser().parse_args(arguments)
    refuse_missing_files(args)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; see worker.py
    return int(args.func(args) or 0)


def refuse_missing_files(args: argparse.Namespace) -> None:
    """Name a mistyped path at once: the work's own imports take seconds.

    Raises:
        ConfigError: there is no such config.
        CheckpointError: there is no such checkpoint.
        RunError: a folder holds no run.
    """
    kinds = (
        ("config", "a config must be a file", errors.ConfigError),
        ("student", "a config must be a file", errors.ConfigError),
        ("teacher", "a config must be a file", errors.ConfigError),
        ("checkpoint", "no such checkpoint", errors.CheckpointError),
    )
    for name, rule, kind in kinds:
        given = getattr(args, name, None)
        if given is None or "::" in given or "://" in given or Path(given).exists():
            continue
        hint = errors.near(given, map(str, Path(given).parent.glob("*.p*")))
        fix = hint if hint.startswith("did you mean") else "check the path"
        raise kind(rule, value=given, fix=fix)
    for folder in getattr(args, "runs", ()):
        if not RunDir(folder).request.exists():
            fix = "check the path"
            if (Path(folder) / "study.json").exists():
                fix = f"that is a study: python sweeps/run.py report {folder}"
            raise errors.RunError("a run folder holds request.json", value=folder, fix=fix)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="fourierkd",
        description="Fourier-domain knowledge distillation of detectors and segmentors. "
        "A study (tuning and comparison) is `python sweeps/run.py study`.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="versions of fourierkd and what it stands on"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_cfg_options(add_train_parser(commands))
    add_run_parser(commands)

    resolved = commands.add_parser(
        "config",
        help="print a run config as `train` would run it",
        description="Print the resolved config: bases, method, options and what every run has put "
        "in. It is the text of config.py in a run folder, and a config itself.",
    )
    resolved.add_argument("config", metavar="CONFIG", help="run config (.py)")
    resolved.add_argument(
        "--method", metavar="M", help="distil CONFIG's pair by it; `fourierkd methods` lists them"
    )
    resolved.add_argument(
        "--key", metavar="A.B", help="this value alone, e.g. model.losses or param_scheduler.0"
    )
    _add_cfg_options(resolved)
    resolved.set_defaults(func=config_command)

    test = commands.add_parser("test", help="score a checkpoint's student")
    test.add_argument("config", metavar="CONFIG", help="run config (.py)")
    test.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="checkpoint of a run, or of the plain student"
    )
    test.add_argument(
        "--split", choices=("val", "test"), default="test", help="where to score; default test"
    )
    test.add_argument("--json", metavar="FILE", help="write the metrics to this file too")
    add_loudness(test)
    _add_cfg_options(test)
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
    export.add_argument("--force", action="store_true", help="replace files that are there already")
    add_loudness(export)
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
    add_loudness(bench)
    _add_cfg_options(bench)
    bench.set_defaults(func=bench_command)

    attribute = commands.add_parser(
        "attribute",
        help="what each frequency band of the tapped map is worth to a finished run's student",
        description="Score the student with one band of its tapped maps replaced by the teacher's, "
        "by the teacher's of another image, or removed. Writes attribution.csv into each run "
        "folder.",
    )
    attribute.add_argument(
        "runs", metavar="RUN", nargs="+", help="folder of a finished distilled run"
    )
    attribute.add_argument(
        "--bands", type=int, default=5, metavar="N", help="bands of equal width; default 5"
    )
    attribute.add_argument(
        "--levels", action="store_true", help="of a pyramid also each level alone"
    )
    add_loudness(attribute)
    attribute.set_defaults(func=attribute_command)

    spectra = commands.add_parser(
        "spectra",
        help="student and teacher band by band over a run's validations, or one run minus another",
        description="Print and draw the spectral ledger of a run: error of the amplitude and "
        "coherence of student and teacher in each band, on fixed val images. Of two runs: the "
        "first minus the second.",
    )
    spectra.add_argument("runs", metavar="RUN", nargs="+", help="a run folder, or two")
    spectra.add_argument(
        "--out", metavar="FILE", help="the figure (PNG); default: pictures/ledger.png of the run"
    )
    spectra.set_defaults(func=spectra_command)

    _add_cfg_options(add_browse_parser(commands))
    add_report_parser(commands)
    _add_cfg_options(add_doctor_parser(commands))
    add_data_parser(commands, check=check_command)
    add_new_parser(commands).set_defaults(func=new_command)
    methods = commands.add_parser("methods", help="what `train --method` and a study can name")
    methods.add_argument(
        "config",
        nargs="?",
        help="a pair's run config: which methods it can have, and the parameters that each adds",
    )
    methods.set_defaults(func=methods_command)
    completion = commands.add_parser(
        "completion",
        help="print the script by which a shell completes this command line",
        description='Print the script, e.g. eval "$(fourierkd completion bash)" in ~/.bashrc, or '
        "fourierkd completion zsh > a file _fourierkd in a folder of $fpath.",
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(func=completion_command)
    return parser


class _Version(argparse.Action):
    """Print versions, which are looked up when they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fourierkd.commands.version import version_lines

        print(*version_lines(), sep="\n")
        parser.exit()


def _add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options k=v ...``."""
    add_options(
        parser,
        "--cfg-options",
        dest="cfg_options",
        help="replace values of the config, e.g. train_cfg.max_iters=100 data_root=/data/x",
    )


def config_command(args: argparse.Namespace) -> int:
    """Print a resolved config, or one of its values."""
    from fourierkd.commands.show_config import resolved_text
    from fourierkd.engine.console import console_to

    options = parse_options(args.cfg_options)
    if args.method is not None:
        options["method"] = args.method
    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log"):
        text = resolved_text(args.config, options, key=args.key)
    print(text, end="")
    return 0


def completion_command(args: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print(completion_script(build_parser(), args.shell))
    return 0


@contextmanager
def _console(args: argparse.Namespace) -> Iterator[TextIO]:
    """The terminal, for the answer; what libraries say is seen with ``--verbose`` alone."""
    from fourierkd.engine.console import console_to

    if args.verbose:
        yield sys.stdout
        return
    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log") as terminal:
        yield terminal


def test_command(args: argparse.Namespace) -> int:
    """Print the metrics of a checkpoint's student, and what they are of each class."""
    from fourierkd.commands.evaluate import evaluate_classes, print_classes

    if args.json:
        require_writable(Path(args.json))
    with _console(args):
        metrics, of_classes = evaluate_classes(
            args.config,
            args.checkpoint,
            split=args.split,
            options=parse_options(args.cfg_options),
        )
    for name, value in metrics.items():
        print(f"{args.split}/{name} {value:.6g}")
    report: dict[str, Any] = dict(metrics)
    if of_classes is not None:
        print_classes(of_classes)
        report["classes"] = {
            name: dict(zip(of_classes["classes"], values, strict=True))
            for name, values in of_classes["scores"].items()
        }
    if args.json:
        write_atomic(Path(args.json), json_text(report, indent=1) + "\n")
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write the student alone and say what was written and checked."""
    from fourierkd.commands.export import export

    with _console(args):
        report = export(
            args.checkpoint,
            args.out,
            file_format=args.format,
            config=args.config,
            shape=tuple(args.shape) if args.shape else None,
            image=args.image,
            force=args.force,
        )
    size = report["bytes"] / 2**20
    print(f"{report['out']}: {report['parameters']:,} parameters, {size:.3g} MiB")
    print(f"sha256 {report['sha256']}")
    if report.get("dropped"):
        print(f"left out: {report['dropped']} tensors of {report['layout']} besides its student")
    if report["averaged"]:
        print("weights: the averaged ones (EMAHook), which were validated; not the last step's")
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


def methods_command(args: argparse.Namespace) -> int:
    """Print every method; with a config also what each adds to that pair."""
    from fourierkd.commands.method_list import describe_methods, print_methods
    from fourierkd.engine.console import console_to

    with tempfile.TemporaryDirectory() as folder, console_to(Path(folder) / "log"):
        methods = describe_methods(args.config)
    print_methods(methods)
    return 0


def attribute_command(args: argparse.Namespace) -> int:
    """Score every run with its bands exchanged, and print a table."""
    from rich.console import Console

    from fourierkd.commands.attribute import attribute, print_attribution

    with (
        _console(args) as terminal,
        Console(file=terminal, quiet=args.quiet).status("look at the runs") as status,
    ):
        rows = attribute(args.runs, bands=args.bands, levels=args.levels, progress=status.update)
    print_attribution(rows)
    return 0


def spectra_command(args: argparse.Namespace) -> int:
    """Print and draw a run's spectral ledger, or the difference of two."""
    from fourierkd.commands.spectra import show_spectra

    show_spectra(args.runs, args.out)
    return 0


def check_command(args: argparse.Namespace) -> int:
    """``data check``: a table; exit code 1 where the data are wrong."""
    from fourierkd.commands.check_data import check_data

    return check_data(args.config, parse_options(args.cfg_options), images=args.images)


def new_command(args: argparse.Namespace) -> int:
    """Write a pair, look at it as far as that needs no download, and name the next commands."""
    from rich.console import Console

    from fourierkd.commands.new import new_pair, next_commands, print_new
    from fourierkd.engine.console import console_to

    with (
        tempfile.TemporaryDirectory() as folder,
        console_to(Path(folder) / "log") as terminal,
        Console(file=terminal).status("read the configs") as status,
    ):
        new = new_pair(
            args.name,
            student=args.student,
            teacher=args.teacher,
            checkpoint=args.checkpoint,
            data=args.data,
            kind=args.format,
            classes=args.classes,
            progress=status.update,
        )
    print_new(new)
    code = _examine_new(new)
    print("next:", *next_commands(new), sep="\n    ")
    return code


def _examine_new(new: Any) -> int:
    """``data check`` and the doctor on a new pair; 1 where either finds something."""
    from fourierkd.commands.check_data import check_data
    from fourierkd.commands.new import data_is_there
    from fourierkd.doctor.command import examine_pair

    student = new.folder / "student.py"
    if not data_is_there(student):
        print(f"not checked: the data are not there yet; later: fourierkd data check {student}")
        return 0
    checked = check_data(student, {}, images=20)
    options = new.options()
    for key, what in (
        ("model.teacher.checkpoint", "the teacher's weights"),
        ("model.pretrained", "the student's pretrained weights"),
    ):
        if key in options:
            print(f"not checked: {what}, which are not here; random ones stand for them")
    return max(checked, examine_pair(new.pair, options))


def bench_command(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    from fourierkd.commands.bench import bench, print_table

    if args.json:
        require_writable(Path(args.json))
    with _console(args):
        result = bench(
            args.config,
            options=parse_options(args.cfg_options),
            iters=args.iters,
            device=args.device,
            shape=tuple(args.shape) if args.shape else None,
            batch_size=args.batch_size,
        )
    print_table(result)
    if args.json:
        write_atomic(Path(args.json), json_text(result, indent=1) + "\n")
    return 0
