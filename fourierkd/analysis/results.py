"""The results table: run folders flow in, one row per run flows out, to CSV and Parquet too.

The run folders stay the truth: the table is rebuilt from them at any time, also while a study runs.
"""

from __future__ import annotations

import io
import itertools
import json
import numbers
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from fourierkd.errors import DataError, RunError
from fourierkd.records import (
    MAXIMIZE,
    TEST,
    Conditions,
    Metric,
    Phase,
    Request,
    Result,
    State,
    checked_direction,
)
from fourierkd.run_dir import RunDir, read_json, write_atomic

CSV_NAME = "results.csv"
PARQUET_NAME = "results.parquet"
PARAM = "param."
VAL_CLASS, TEST_CLASS = "val_class.", "test_class."
_KINDS = ("val_", "test_", VAL_CLASS, TEST_CLASS, PARAM)  # of columns whose names the runs give
_HEAD = (
    "study",
    "phase",
    "method",
    "trial",
    "tunes",
    "seed",
    "split",
    "metric",
    "direction",
    "value",
)
_CONDITIONS = tuple(part.name for part in fields(Conditions) if part.name != "commit")
_TAIL = (
    "seconds",
    "seconds_train",
    "iters",
    "parameters_student",
    "parameters_added",
    "peak_mib",
    "state",
    "reason",
    "run_dir",
    "versions",
    "commit",
    "machine",
    *_CONDITIONS,
)
# a table that was written before these is read too
_NEW = (
    "tunes",
    "direction",
    "machine",
    "parameters_student",
    "parameters_added",
    "peak_mib",
    *_CONDITIONS,
)
RUNNING = "running"  # state of a run without a result
_INTEGERS = ("trial", "seed", "iters", "parameters_student", "parameters_added", "threads")
_NUMBERS = ("value", "seconds", "seconds_train", "peak_mib")


def results_table(run_dirs: Iterable[RunDir], *, work_dir: Path | None = None) -> pd.DataFrame:
    """One row per run, made from its request, result and environment records.

    Args:
        run_dirs: the run folders, in the order the rows shall have.
        work_dir: ``run_dir`` is written relative to it where the run lies inside; default: the
            parent of the ``runs`` folder that holds most of the runs.

    Returns:
        Columns ``study, phase, method, trial, tunes, seed, split, metric, direction, value``
        (``tunes``: the method whose own search a run belongs to, see ``records.Request``), then
        ``val_<metric>``, ``test_<metric>``, ``val_class.<name>``, ``test_class.<name>`` (what the
        metric is of each class), ``param.<name>``, then ``seconds, seconds_train, iters,
        parameters_student, parameters_added`` (that the method trains beside the student's),
        ``peak_mib`` (memory of the run, see ``records.Result``), ``state, reason, run_dir,
        versions, commit, machine`` and the other fields of
        ``records.Conditions``, which make rows comparable. ``value`` is the metric on ``split``:
        of the test split where the run was scored there, else the best validation value. A run
        without a result has state ``running``; a folder that cannot be read has state ``failed``
        and says why in ``reason``.
    """
    runs = list(run_dirs)
    base = work_dir.absolute() if work_dir is not None else _common_work_dir(runs)
    return _typed(pd.DataFrame([_row(run, base) for run in runs]))


def table_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A results table of rows that were made elsewhere; what they lack is empty.

    Args:
        rows: columns of ``results_table`` -> value.
    """
    return _typed(pd.DataFrame([dict(row) for row in rows]))


def write_results(table: pd.DataFrame, work_dir: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write ``results.csv`` and ``results.parquet`` into ``work_dir``, each replaced as a whole.

    Returns:
        The two paths, CSV first.
    """
    csv, parquet = Path(work_dir) / CSV_NAME, Path(work_dir) / PARQUET_NAME
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomic(csv, table.to_csv(index=False))
    write_atomic(parquet, buffer.getvalue())
    return csv, parquet


def load_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a results table back, with the column types of ``results_table``.

    Args:
        path: a ``.parquet`` or ``.csv`` file, or a work dir that holds one (parquet is preferred).

    Raises:
        DataError: no such file, no table in the folder, or the file is not a results table.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in (PARQUET_NAME, CSV_NAME) if (path / name).exists()]
        if not found:
            raise DataError(
                f"a study's work dir holds {PARQUET_NAME} or {CSV_NAME}",
                value=str(path),
                fix="run `python sweeps/run.py study` first, or check the path",
            )
        path = found[0]
    if not path.exists():
        raise DataError("the results table must exist", value=str(path), fix="check the path")
    if path.suffix not in (".csv", ".parquet"):
        raise DataError("a results table is a .csv or .parquet file", value=str(path))
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(
                path, keep_default_na=False, na_values=[""], float_precision="round_trip"
            )
    except (ValueError, OSError) as error:  # pyarrow's and pandas' parse errors are ValueErrors
        raise DataError(
            f"{path} is not a readable table ({error})", fix="write it again from the run folders"
        ) from error
    missing = [n for n in (*_HEAD, *_TAIL) if n not in table.columns and n not in _NEW]
    if missing:
        raise DataError(
            f"{path} is not a results table: it lacks the columns {', '.join(missing)}",
            fix="write it again from the run folders",
        )
    return _typed(table)


def metric_values(table: pd.DataFrame, metric: Metric | str | None = None) -> pd.Series:
    """The numbers of one metric, a float per row, NaN where a run has none.

    Args:
        table: a results table.
        metric: or its name. None or the table's own metric: column ``value``. Another metric:
            ``test_<metric>`` where the run was scored on its split, else ``val_<metric>``. A column
            name is taken as it is.

    Raises:
        DataError: no run has this metric.
    """
    metric = metric.name if isinstance(metric, Metric) else metric
    if metric is None or set(table["metric"].dropna()) <= {metric}:
        return table["value"].astype(float)
    if metric in table.columns:
        return table[metric].astype(float)
    columns = [name for name in (f"test_{metric}", f"val_{metric}") if name in table.columns]
    if not columns:
        scored = [c for c in map(str, table.columns) if _kind(c) in ("val_", "test_")]
        known = sorted({column.split("_", 1)[1] for column in scored})
        raise DataError(
            "no run has this metric", value=metric, fix=f"known: {', '.join(known) or 'none'}"
        )
    values = table[columns[0]].astype(float)
    for column in columns[1:]:
        values = values.where(~_unscored(table), table[column].astype(float))
    return values


def metric_of(table: pd.DataFrame, metric: Metric | str | None = None) -> Metric:
    """``metric`` with the direction that the table says of it; None: the table's own metric.

    A table without a word on the direction is one of before there was one: larger is better.

    Raises:
        DataError: the runs disagree.
    """
    if isinstance(metric, Metric):
        return metric
    ours = table[table["phase"] != Phase.TEACHER]  # it may have a metric of its own
    said = sorted(ours["direction"].dropna().unique()) if "direction" in ours else []
    if len(said) > 1:
        raise DataError(
            "runs of both directions are not compared",
            value=said,
            fix='say which is meant: metric=Metric("mIoU", MAXIMIZE) of fourierkd.records',
        )
    direction = checked_direction(said[0]) if said else MAXIMIZE
    return Metric(metric or most_common(table["metric"]) or "value", direction)


def most_common(column: pd.Series) -> str:
    """The value most rows have, an empty string where there is none."""
    counts = column.dropna().value_counts()
    return str(counts.index[0]) if len(counts) else ""


def parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """The tuned parameters of one row of the table, without the missing ones."""
    return {
        str(name)[len(PARAM) :]: value
        for name, value in row.items()
        if str(name).startswith(PARAM) and not pd.isna(value)
    }


def class_values(table: pd.DataFrame, *, split: str) -> pd.DataFrame:
    """Each run's scores of classes on a split, NaN where it has none: a column a class, by name.

    Args:
        table: a results table; its runs may have different classes.
        split: val or test.
    """
    prefix = f"{split}_class."
    columns = [name for name in table.columns if str(name).startswith(prefix)]
    found = table[columns].astype(float)
    return found.rename(columns={name: name[len(prefix) :] for name in columns})


def _kind(column: str) -> str | None:
    """The longest of ``_KINDS`` that a column's name begins with."""
    return max((kind for kind in _KINDS if column.startswith(kind)), key=len, default=None)


def _unscored(table: pd.DataFrame) -> pd.Series:
    """Rows not scored on a split of their own: all their ``test_<metric>`` are missing."""
    scored = [column for column in table.columns if column.startswith("test_")]
    return table[scored].isna().all(axis=1)


def _common_work_dir(runs: list[RunDir]) -> Path | None:
    parents = Counter(run.path.parent.parent for run in runs if run.path.parent.name == "runs")
    return parents.most_common(1)[0][0] if parents else None


def _row(run: RunDir, base: Path | None) -> dict[str, Any]:
    inside = base is not None and run.path.is_relative_to(base)
    row: dict[str, Any] = dict.fromkeys((*_HEAD, *_TAIL))
    row["run_dir"] = str(run.path.relative_to(base)) if inside and base else str(run.path)
    try:
        request = run.read_request()
        row |= _asked(request)
        row |= _made_by(read_json(run.environment) or {})
        result = run.read_result()
        if result is None:
            return row | {"state": RUNNING}
        return row | _outcome(result, request)
    except (RunError, OSError, UnicodeDecodeError) as error:
        return row | {"state": State.FAILED.value, "reason": f"unreadable run folder: {error}"}


def _asked(request: Request) -> dict[str, Any]:
    names = ("study", "method", "trial", "tunes", "seed", "split")
    row = {name: getattr(request, name) for name in names}
    row["phase"] = request.phase.value
    return row | {PARAM + name: value for name, value in request.parameters.items()}


def _made_by(environment: dict[str, Any]) -> dict[str, Any]:
    versions, digests = (environment.get(name) or {} for name in ("versions", "identity"))
    if not isinstance(versions, dict):
        raise RunError("environment.json must name versions", value=versions, fix="delete it")
    if not isinstance(digests, dict):
        raise RunError("environment.json must name digests", value=digests, fix="delete it")
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return {
        "versions": text or None,
        "machine": machine(environment),
        **asdict(Conditions.of(environment)),
    }


def machine(environment: Mapping[str, Any]) -> str | None:
    """GPU or processor, and threads: what a float32 training depends on beside its seed."""
    threads = environment.get("threads")
    if threads is None:
        return None
    names = environment.get("devices") or [environment.get("processor") or "a processor"]
    return f"{', '.join(dict.fromkeys(names))}, {threads} thread{'' if threads == 1 else 's'} a run"


def _outcome(result: Result, request: Request) -> dict[str, Any]:
    row: dict[str, Any] = {k.replace("/", "_"): value for k, value in result.metrics.items()}
    for split, classes in result.classes.items():
        row |= {f"{split}_class.{name}": value for name, value in classes.items()}
    row |= {k: v for k, v in asdict(result.conditions).items() if v is not None}
    row |= {"iters": result.iters, "state": result.state.value, "reason": result.reason}
    row["parameters_student"] = result.parameters.get("student")
    row["parameters_added"] = result.parameters.get("losses")
    row["peak_mib"] = result.peak_mib
    if result.metric is not None:
        row |= {"metric": result.metric.name, "direction": result.metric.direction.value}
    row["value"] = result.score(TEST) if request.test_split else result.value
    row["seconds"], row["seconds_train"] = result.seconds.get("total"), result.seconds.get("train")
    return row


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns in their order and with types that CSV and parquet both keep."""
    names = [str(name) for name in table.columns]
    kinds = [[n for n in names if _kind(n) == kind] for kind in _KINDS]
    for kind in (0, 1, -1):  # classes stay in the order of their data set
        kinds[kind].sort()
    ordered = list(dict.fromkeys([*_HEAD, *itertools.chain(*kinds), *_TAIL]))
    table = table.reindex(columns=[*ordered, *(n for n in names if n not in ordered)])
    for name in table.columns:
        if name in _INTEGERS:
            table[name] = table[name].astype("Int64")
        elif name in _NUMBERS or name.startswith(("val_", "test_")):
            table[name] = table[name].astype(float)
        else:
            table[name] = _typed_column(table[name], numeric=name.startswith(PARAM))
    return table


def _typed_column(column: pd.Series, *, numeric: bool) -> pd.Series:
    """Booleans or floats where a parameter has only these, else text; lists and dicts as JSON."""
    present = column.dropna()
    if numeric and len(present):
        if all(pd.api.types.is_bool(value) for value in present):
            return column.astype("boolean")
        if all(isinstance(value, numbers.Real) for value in present):
            return column.astype(float)
    text = [v if isinstance(v, str) else json.dumps(v, default=str) for v in present]
    return pd.Series(text, index=present.index, dtype="str").reindex(column.index)
