"""Cityscapes: in flow masks of label ids, out flow masks of the 19 train ids beside them.

``gtFine/<split>/<city>/*_gtFine_labelIds.png`` has 34 labels; MMSegmentation trains on
``*_gtFine_labelTrainIds.png``: 0 to 18, the rest 255. The table is that of cityscapesScripts
(``helpers/labels.py``; Cordts et al., CVPR 2016), which is not needed here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fourierkd.data.images import StrPath, read_image
from fourierkd.errors import DataError
from fourierkd.run_dir import write_atomic

SOURCE, TARGET = "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"
IGNORE = 255
# label id of train id 0, 1, ...: road, sidewalk, building, wall, fence, pole, traffic light,
# traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle
TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABELS = 34
TABLE = np.full(256, IGNORE, np.uint8)
TABLE[list(TRAINED)] = np.arange(len(TRAINED), dtype=np.uint8)


def to_train_ids(path: Path) -> bytes:
    """The PNG of train ids of one mask of label ids.

    Raises:
        DataError: it is unreadable, no 8-bit index image, or holds a label above 33.
    """
    picture = read_image(path)
    if picture.mode not in ("L", "P"):
        raise DataError(
            "a mask of label ids must be an 8-bit index image",
            value=f"mode {picture.mode} of {path}",
            fix="fetch gtFine_trainvaltest again",
        )
    labels = np.asarray(picture)
    if labels.max() >= LABELS:
        raise DataError(
            f"{path}: label ids must be 0 to {LABELS - 1}",
            value=int(labels.max()),
            fix="fetch gtFine_trainvaltest again",
        )
    buffer = io.BytesIO()
    Image.fromarray(TABLE[labels]).save(buffer, format="PNG")
    return buffer.getvalue()


def convert(root: StrPath, *, jobs: int = 1, redo: bool = False) -> dict[str, int]:
    """Write what is missing of the train ids under ``root/gtFine``.

    Every file appears whole or not at all, so processes may do the same folder together, and after
    an interruption the same call goes on.

    Args:
        jobs: processes.
        redo: write all of them, also those that are newer than their source.

    Returns:
        ``written`` and ``kept`` masks.

    Raises:
        DataError: there are no masks of label ids, or one of them is bad (``to_train_ids``).
    """
    if jobs < 1:
        raise DataError("jobs must be at least 1", value=jobs)
    folder = Path(root) / "gtFine"
    sources = sorted(folder.rglob(f"*{SOURCE}"))
    if not sources:
        raise DataError(
            f"Cityscapes' annotations lie in gtFine/ as *{SOURCE}",
            value=str(folder.absolute()),
            fix="unpack gtFine_trainvaltest.zip there",
        )
    todo = [path for path in sources if redo or not _is_current(path)]
    done = len(list(_convert_all(todo, jobs)))
    return {"written": done, "kept": len(sources) - done}


def target_of(source: Path) -> Path:
    """Where the train ids of a mask of label ids lie."""
    return source.with_name(source.name.removesuffix(SOURCE) + TARGET)


def _is_current(source: Path) -> bool:
    target = target_of(source)
    return target.is_file() and os.stat(target).st_mtime >= os.stat(source).st_mtime


def _convert_all(sources: list[Path], jobs: int) -> Iterator[None]:
    if jobs == 1:
        yield from map(_convert_one, sources)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_convert_one, sources, chunksize=16)


def _convert_one(source: Path) -> None:
    write_atomic(target_of(source), to_train_ids(source))
