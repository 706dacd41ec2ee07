"""What runs keep of their classes as arrays: run folders flow in, confusion matrices, precision-
recall curves and AP by size of each method flow out.

All are of the runs' best checkpoints, as the scores of classes in the results table are.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fourierkd.errors import DataError
from fourierkd.records import State
from fourierkd.run_dir import RunDir

CURVES = ("method", "kind", "class", "threshold", "recall", "n", "precision")
SIZES = {"s": "small", "m": "medium", "l": "large"}  # COCO's areas, below 32² and 96² px, and above
_SIZE = re.compile(r"(?P<kind>(?:\w+_)?)mAP_(?P<size>[sml])")


def confusions(
    shown: pd.DataFrame, work_dir: Path, *, split: str
) -> dict[str, tuple[pd.DataFrame, int]]:
    """Method -> its confusion matrix, summed over its complete runs, and how many these are.

    Args:
        shown: rows of a results table, one label a method in ``method``.
        work_dir: what a relative ``run_dir`` is relative to.
        split: val or test.

    Returns:
        Pixels of the truth's class (row) that are predicted as another (column), (K, K), by name.
        Methods none of whose runs has a matrix are left out, as all detectors are.

    Raises:
        DataError: a file is damaged, or runs of one method have other classes.
    """
    found: dict[str, tuple[pd.DataFrame, int]] = {}
    for run, path, arrays in _arrays(shown, work_dir, split):
        if "confusion" not in arrays:
            continue
        names = [str(name) for name in arrays["classes"]]
        matrix = pd.DataFrame(arrays["confusion"], index=names, columns=names)
        before, count = found.get(run["method"], (None, 0))
        if before is not None:
            if list(before.index) != names:
                raise DataError(
                    "confusion matrices of a method's runs are added where their classes are equal",
                    value=str(path),
                    fix="look at the runs one by one",
                )
            matrix = before + matrix
        found[run["method"]] = (matrix, count + 1)
    return found


def row_shares(matrix: pd.DataFrame) -> pd.DataFrame:
    """Each row of a confusion matrix in percent of its sum: of the truth's class, what is predicted
    as which; NaN where no pixel is of that class.

    >>> row_shares(pd.DataFrame([[3, 1], [0, 0]])).values.tolist()
    [[75.0, 25.0], [nan, nan]]
    """
    return 100 * matrix.div(matrix.sum(axis=1).replace(0, np.nan), axis=0)


def precision_recall(shown: pd.DataFrame, work_dir: Path, *, split: str) -> pd.DataFrame:
    """Precision at each recall of every class, mean over the complete runs of a method.

    Args:
        shown, work_dir, split: as of ``confusions``.

    Returns:
        ``method, kind`` (``bbox``, ``segm``), ``class, threshold`` (overlap, IoU), ``recall, n``
        (runs) and ``precision``; empty where no run has any. Their mean over thresholds and recalls
        is the AP of the class. A class that the data hold none of has no row.

    Raises:
        DataError: a file is damaged.
    """
    frames = []
    for run, _, arrays in _arrays(shown, work_dir, split):
        for key in arrays:
            if not key.endswith("_precision"):
                continue
            axes = [arrays["classes"].astype(str), arrays["thresholds"], arrays["recall"]]
            places = pd.MultiIndex.from_product(
                [axes[0], axes[1].round(6), axes[2].round(6)],
                names=["class", "threshold", "recall"],
            )
            values = arrays[key].astype(float).ravel()
            own = pd.DataFrame({"precision": values}, index=places).reset_index()
            frames.append(own.assign(method=run["method"], kind=key.removesuffix("_precision")))
    if not frames:
        return pd.DataFrame(columns=list(CURVES))
    every = pd.concat(frames, ignore_index=True).dropna(subset="precision")
    keys = ["method", "kind", "class", "threshold", "recall"]
    found = every.groupby(keys, sort=False)["precision"].agg(n="size", precision="mean")
    return found.reset_index()[list(CURVES)]


def sizes(shown: pd.DataFrame, *, split: str) -> pd.DataFrame:
    """AP of small, medium and large objects of each complete run.

    Args:
        shown: rows of a results table, one label a method in ``method``.
        split: val or test.

    Returns:
        ``method, seed, metric`` (``bbox_mAP``), ``size`` and ``value`` (a fraction); empty where no
        run has any. Sizes of which the data hold no object have no row.
    """
    runs = shown[shown["state"] == State.COMPLETE]
    frames = []
    for column in map(str, runs.columns):
        named = _SIZE.fullmatch(column.removeprefix(f"{split}_"))
        if named is None or not column.startswith(f"{split}_"):
            continue
        own = runs[["method", "seed"]].assign(
            metric=f"{named['kind']}mAP", size=SIZES[named["size"]], value=runs[column]
        )
        frames.append(own[own["value"] >= 0])  # COCO's -1 says that there is none
    if not frames:
        return pd.DataFrame(columns=["method", "seed", "metric", "size", "value"])
    found = pd.concat(frames, ignore_index=True)
    order = found["size"].map({name: i for i, name in enumerate(SIZES.values())})
    return found.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _arrays(
    shown: pd.DataFrame, work_dir: Path, split: str
) -> Iterator[tuple[dict[str, Any], Path, dict[str, np.ndarray]]]:
    """The complete runs that have a file of arrays, with the file and what it holds."""
    for run in shown[shown["state"] == State.COMPLETE].to_dict("records"):
        path = RunDir(work_dir / run["run_dir"]).class_arrays(split)
        if not path.exists():
            continue
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            arrays["classes"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is not a readable file of classes ({error})", fix="delete it"
            ) from error
        yield run, path, arrays
