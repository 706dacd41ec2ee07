"""The spectral ledgers of many runs: a results table flows in, one long table flows out, and its
means by method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fourierkd.analysis.ledger import BAND, read_ledger
from fourierkd.analysis.ledger_difference import one_loss_a_layer
from fourierkd.errors import DataError
from fourierkd.records import State
from fourierkd.run_dir import RunDir

LAYERS = ["layer", "teacher_layer"]  # what a level is told by, whatever loss compares it
MEASURES = ("share_error", "amplitude_error", "cross_gain", "coherence", "phase_coherence")


def read_ledgers(shown: pd.DataFrame, work_dir: Path) -> pd.DataFrame:
    """All validations of all runs that have a ledger; a layer that several losses of a run compare
    counts for the first of them.

    Args:
        shown: rows of a results table, one label a method in ``method``; failed ones do not count,
            a run may still train.
        work_dir: what a relative ``run_dir`` is relative to.

    Returns:
        ``method, seed, run_dir``, the columns of ``ledger.read_ledger`` and ``cross_gain``,
        cross_power / teacher_power: what of the teacher's map the student's has, 1 where they are
        equal, 0 where they have nothing in common. Empty where no run has a ledger.

    Raises:
        DataError: a file is damaged, or runs looked at other images.
    """
    frames = []
    for run in shown[shown["state"] != State.FAILED].to_dict("records"):
        folder = RunDir(work_dir / run["run_dir"])
        if folder.ledger_files():
            own = one_loss_a_layer(read_ledger(folder))
            frames.append(
                own.assign(method=run["method"], seed=run["seed"], run_dir=run["run_dir"])
            )
    if not frames:
        return pd.DataFrame()
    found = pd.concat(frames, ignore_index=True)
    images = found.groupby("images_digest", dropna=False)["run_dir"].first()
    if len(images) > 1:
        raise DataError(
            "spectra stand beside each other where the runs looked at the same images",
            value=list(images),
            fix="name runs of one data set",
        )
    found["cross_gain"] = found["cross_power"] / found["teacher_power"].replace(0, np.nan)
    return found


def mean_ledger(ledgers: pd.DataFrame) -> pd.DataFrame:
    """Mean over the runs of a method that have a validation.

    Args:
        ledgers: what ``read_ledgers`` returns.

    Returns:
        A row a method, iteration, level and band: ``method, iter, layer, teacher_layer, low, high,
        n`` (runs), ``compared, height, width, images`` and ``MEASURES``; empty for no rows.
    """
    if ledgers.empty:
        return ledgers
    same = {name: (name, "first") for name in ("compared", "height", "width", "images")}
    means = {name: (name, "mean") for name in MEASURES}
    keys = ["method", "iter", *LAYERS, *BAND]
    grouped = ledgers.groupby(keys, dropna=False, sort=False)
    return grouped.agg(n=("run_dir", "nunique"), **same, **means).reset_index()


def last_of_runs(ledgers: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last validation."""
    if ledgers.empty:
        return ledgers
    return ledgers[ledgers["iter"] == ledgers.groupby("run_dir")["iter"].transform("max")]


def levels(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str | None], pd.DataFrame]]:
    """The student's and the teacher's layer, and its rows, of each level of one of these tables."""
    if len(table):
        for (layer, teacher_layer), rows in table.groupby(LAYERS, dropna=False, sort=False):
            yield (layer, None if pd.isna(teacher_layer) else teacher_layer), rows


def two_runs(ledgers: pd.DataFrame, methods: Sequence[str]) -> tuple[str, str] | None:
    """Folders of a run of the first and of the last of ``methods`` that have a seed in common.

    Args:
        ledgers: what ``read_ledgers`` returns.
        methods: the best one first, the baseline last.

    Returns:
        ``run_dir`` of both, at their least common seed; None where there are no two.
    """
    if ledgers.empty:
        return None
    runs = ledgers.drop_duplicates("run_dir").pivot_table(
        index="seed", columns="method", values="run_dir", aggfunc="first"
    )
    known = [method for method in methods if method in runs]
    for method in known[:-1]:
        both = runs[[method, known[-1]]].dropna().sort_index()
        if len(both):
            return str(both.iloc[0, 0]), str(both.iloc[0, 1])
    return None
