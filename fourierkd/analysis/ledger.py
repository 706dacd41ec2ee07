"""The spectral ledger of a run: in flows a run folder, out flows one table.

A validation is a file of its own, replaced as a whole, so a run may be killed at any line, and one
that goes on writes the same files again.
"""

from __future__ import annotations

import pandas as pd

from fourierkd.errors import DataError, RunError
from fourierkd.ledger_file import COLUMNS
from fourierkd.run_dir import RunDir

LEVEL = ["layer", "teacher_layer", "loss"]  # what a level is told by
BAND = ["low", "high"]


def read_ledger(run: RunDir) -> pd.DataFrame:
    """All validations of a run, in order.

    Returns:
        COLUMNS, a row a validation, level and band; frequency 0 has ``low`` and ``high`` 0. What is
        not known is NaN, or None of a text.

    Raises:
        RunError: the run has no ledger.
        DataError: a file is damaged or has other columns.
    """
    files = run.ledger_files()
    if not files:
        raise RunError(
            "a run with a validation, and taps that its config names, has a spectral ledger",
            value=str(run.path),
            fix="its run.log says why there is none; runs of older versions have none",
        )
    frames = []
    for path in files.values():
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            raise DataError(f"{path} is not a readable Parquet file ({error})") from error
        missing = [name for name in COLUMNS if name not in frame]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}", fix="delete it")
        frames.append(frame[list(COLUMNS)])
    table = pd.concat(frames, ignore_index=True)
    numbers = [name for name, kind in COLUMNS.items() if kind == "double"]
    return table.astype(dict.fromkeys(numbers, float))


def band_name(low: float, high: float) -> str:
    """``0.125-0.25`` of Nyquist; ``0`` is frequency 0, ``0.875 up`` has an open top.

    >>> band_name(0, 0), band_name(0, 0.125), band_name(0.875, 1)
    ('0', '0-0.125', '0.875 up')
    """
    if high == 0:
        return "0"
    return f"{low:g}-{high:g}" if high < 1 else f"{low:g} up"
