"""Curves over training: a results table and its runs flow in, one long table flows out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fourierkd.analysis.stats import LEVEL, interval
from fourierkd.run_dir import RunDir

_COLUMNS = ("method", "phase", "trial", "seed", "run_dir", "iter", "name", "value")


def scalar_curves(table: pd.DataFrame, work_dir: Path, *, prefix: str) -> pd.DataFrame:
    """Every scalar whose name starts with ``prefix``, of every run in ``table``.

    Args:
        table: a results table (or some of its rows).
        work_dir: what a relative ``run_dir`` is relative to.
        prefix: for example ``val/mIoU`` or ``spectra/``.

    Returns:
        Columns ``method, phase, trial, seed, run_dir, iter, name, value``, one row per logged
        number; a number that was not finite is left out. Runs that logged none, or are gone, add no
        row.
    """
    found = []
    for run in table.to_dict("records"):
        head = [run[column] for column in _COLUMNS[:5]]
        for row in RunDir(work_dir / run["run_dir"]).rows():
            for name, value in row.items():
                if name.startswith(prefix) and isinstance(value, (int, float)):
                    found.append([*head, row["iter"], name, float(value)])
    return pd.DataFrame(found, columns=list(_COLUMNS))


def mean_curves(curves: pd.DataFrame, *, level: float = LEVEL) -> pd.DataFrame:
    """Mean and t interval over the runs of a method, at every iteration.

    Args:
        curves: what ``scalar_curves`` returns.
        level: coverage of the interval.

    Returns:
        Columns ``method, name, iter, n, mean, low, high``; limits are NaN where only one run has a
        value.
    """
    rows = []
    for (method, name, iteration), group in curves.groupby(["method", "name", "iter"], sort=False):
        mean, low, high, n = interval(group["value"], level)
        rows.append((method, name, iteration, n, mean, low, high))
    columns = ["method", "name", "iter", "n", "mean", "low", "high"]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("iter", kind="stable", ignore_index=True)
