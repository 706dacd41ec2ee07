"""``fourierkd browse``: in flow a run config and options, out flow sheets of augmented training
batches with their labels, and a table of what the labels are.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from fourierkd.commands.train import shown
from fourierkd.errors import ConfigError
from fourierkd.options import parse_options, seed
from fourierkd.run_dir import require_writable, write_atomic

LABELS = "labels.csv"
MOST_IMAGES = 1000  # that are counted, unless --images says otherwise
MOST_SHOWN = 24  # of a batch
_SHEET = re.compile(r"batch_\d{3}\.png")


def add_browse_parser(commands: Any) -> argparse.ArgumentParser:
    """``browse CONFIG [--out DIR] [--count N]``; it sets ``func``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "browse",
        help="augmented training batches with their labels drawn in, and what the labels are",
        description="Draw training batches as the student is given them (augmented, padded, "
        "normalisation undone) with their boxes or label maps, one PNG a batch, and count the "
        "labels class by class: a table here and labels.csv. No model, no training, no GPU.",
    )
    parser.add_argument("config", metavar="CONFIG", help="run config (.py)")
    parser.add_argument(
        "--out", metavar="DIR", help="folder; default work_dirs/<name of CONFIG>_batches"
    )
    parser.add_argument("--count", type=int, default=4, metavar="N", help="batches; default 4")
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="augmented images whose labels are counted; default: one pass over the data, but no "
        f"more than {MOST_IMAGES}",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of order and augmentation; default 0")
    parser.set_defaults(func=browse_command)
    return parser


def browse_command(args: argparse.Namespace) -> int:
    """Draw, count, print the table and name the files."""
    for flag, value in (("--count", args.count), ("--images", args.images)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} is at least 1", value=value)
    folder = Path(args.out or Path("work_dirs") / f"{Path(args.config).stem}_batches")
    from fourierkd.engine.console import console_to

    with tempfile.TemporaryDirectory() as log, console_to(Path(log) / "log"):
        lines = browse(
            args.config,
            parse_options(args.cfg_options),
            folder,
            count=args.count,
            images=args.images,
            seed=args.seed,
        )
    print(*lines, sep="\n")
    return 0


def browse(
    config: str | Path,
    options: dict[str, Any],
    folder: Path,
    *,
    count: int,
    images: int | None,
    seed: int,
) -> list[str]:
    """Write the sheets of ``count`` batches and ``labels.csv`` into ``folder``.

    Args:
        images: so many are counted, at least those that are drawn; None: one pass, or MOST_IMAGES.

    Returns:
        What to print: the table, and where the files are.

    Raises:
        ConfigError, DataError: the config or its data cannot be used.
    """
    from fourierkd.commands.label_counts import LabelCounts, csv_text
    from fourierkd.commands.labelled import Batches
    from fourierkd.config.load import load_config
    from fourierkd.engine.prepare import prepared_data
    from fourierkd.tracking.figures import write_png
    from fourierkd.tracking.label_sheets import label_sheet

    cfg = load_config(config, options)
    require_writable(folder / LABELS)
    with prepared_data(cfg, reader=f"fourierkd browse {config}"):
        batches = Batches(cfg, seed=seed)
        counts = LabelCounts(batches.names)
        wanted = images or min(batches.size, MOST_IMAGES)
        sheets = []
        for number, batch in enumerate(batches):
            if number >= count and counts.images >= wanted:
                break
            for image in batch:
                counts.add(image.labels)
            if number < count:
                title = f"training batch {number} of {Path(config).stem}, seed {seed}"
                more = f"; the first {MOST_SHOWN} of {len(batch)}" * (len(batch) > MOST_SHOWN)
                sheets.append(label_sheet(batch[:MOST_SHOWN], batches.names, title + more))
    paths = [folder / f"batch_{number:03d}.png" for number in range(len(sheets))]
    for old in folder.iterdir():  # of an earlier look with more batches
        if _SHEET.fullmatch(old.name) and old not in paths:
            old.unlink()
    for path, sheet in zip(paths, sheets, strict=True):
        write_png(path, sheet)
    rows = counts.rows()
    write_atomic(folder / LABELS, csv_text(rows))
    return [*_lines(rows, counts.images, counts.ignored), *_files(paths, folder / LABELS)]


def _lines(rows: list[dict[str, Any]], images: int, ignored: int) -> list[str]:
    """The table as aligned text, and what it is of."""
    heads = [name.replace("_", " ") for name in rows[0]]
    cells = [heads, *([_cell(key, value) for key, value in row.items()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.append(f"of {images} augmented images" + f", {ignored} pixels ignored" * (ignored > 0))
    missing = [str(row["class"]) for row in rows if not row["images"]]
    if missing:
        lines.append(f"not seen: {', '.join(missing)}")
    return lines


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if key == "share":
        return f"{value:.1%}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _files(paths: list[Path], table: Path) -> list[str]:
    named = shown(paths[0]) if len(paths) == 1 else f"{shown(paths[0])} to {paths[-1].name}"
    return [f"pictures: {named}", f"table: {shown(table)}"]
