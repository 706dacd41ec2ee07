"""The arguments of ``fourierkd new``; nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any


def add_new_parser(commands: Any) -> argparse.ArgumentParser:
    """Add ``new``; the caller sets ``func``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "new",
        help="write run and study configs for a pair and data of your own",
        description="Look at two model configs and at your data, and write a folder of short "
        "configs: student alone, pair, teacher, study. Exit code 0: written, and nothing is wrong "
        "with it; 1: written, and the checks found something; 2: nothing is written.",
    )
    parser.add_argument("name", metavar="NAME", help="folder to write; nothing is replaced")
    for role in ("student", "teacher"):
        parser.add_argument(
            f"--{role}",
            metavar="CONFIG",
            required=True,
            help=f"the {role}'s config: a file, mmseg::NAME or mmdet::NAME",
        )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="the teacher's weights; default: a study trains it"
    )
    parser.add_argument("--data", metavar="ROOT", help="your data; default: the student's config's")
    parser.add_argument(
        "--format", choices=("coco", "voc", "masks", "cityscapes"), help="of the data in ROOT"
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="C", help="names of the labels of masks, from 0 on"
    )
    return parser
