"""``fourierkd report``: in flow run folders, out flow one HTML file and a picture of the curves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fourierkd.commands.train import shown
from fourierkd.run_dir import require_writable


def add_report_parser(commands: Any) -> argparse.ArgumentParser:
    """``report RUN [RUN ...] [--out FILE]``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="curves, scores and classes of runs as one HTML file",
        description="Write one HTML file that loads nothing from outside: curves (metric on val, "
        "loss terms, learning rate), scores, classes and spectra of one run, or of several "
        "overlaid; and the curves as PNG beside it. A run may still train, be stopped or have "
        "failed. A file there that is no such page is not replaced.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder")
    parser.add_argument(
        "--out",
        metavar="FILE.html",
        help="the page; its picture lies beside it. Default: report.html in the folder of the run; "
        "of several runs it must be named",
    )
    parser.set_defaults(func=report_command)
    return parser


def report_command(args: argparse.Namespace) -> int:
    """Write the page of runs and name the files."""
    from fourierkd.analysis.runs_page import page_of_runs, write_runs_page

    folders = [Path(folder) for folder in args.runs]
    page = page_of_runs(folders, args.out)
    require_writable(page)
    for path in write_runs_page(folders, page):
        print(shown(path))
    return 0
