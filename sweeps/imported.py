"""``sweeps/run.py import``: in flow runs of W&B, out flows a results table beside those of studies.

What W&B does not say of a run stays empty: of which teacher, data and schedule it is nobody knows
here, so such runs are compared with each other, as the person asks for, and never with those of a
study (``fourierkd.analysis.compare`` refuses that).
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import ConfigError, DataError, near
from fourierkd.records import TEST, VAL, Direction, Phase, State, checked_direction
from sweeps.study_record import STUDY_NAME

if TYPE_CHECKING:
    from fourierkd.tracking.past_runs import PastRun

SERVER = "wandb:"  # before a project of W&B's server
METHOD_KEY, SEED_KEY = "method", "seed"
_SUMMARIES = ("min", "max", "mean", "best", "last", "first")  # of a curve, by W&B
_STATES = frozenset(state.value for state in State)
_OF_A_STUDY = frozenset(phase.value for phase in Phase) - {Phase.SINGLE.value}


def import_runs(
    sources: Sequence[str],
    out: Path,
    *,
    metric: str,
    direction: Direction,
    method_key: str = METHOD_KEY,
    seed_key: str = SEED_KEY,
) -> list[str]:
    """Write ``results.csv`` and ``results.parquet`` of runs of W&B.

    Args:
        sources: ``.wandb`` files, folders of them, or ``wandb:ENTITY/PROJECT``.
        out: folder of the table; no study's.
        metric: key of the score in a run's summary, such as ``test/mIoU``, or ``val/mIoU.max``
            where the summary keeps the best of a curve.
        direction: which scores are better; a run of ours knows it of its own metric.
        method_key, seed_key: keys of its config that hold its method and its seed; points lead
            into containers.

    Returns:
        Lines to print.

    Raises:
        ConfigError: W&B is not installed, ``out`` is a study's, no run has the metric, or one does
            not name its method.
        DataError, RunError: a source cannot be read, or holds no run.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError("import needs W&B", fix="pip install wandb")
    if (out / STUDY_NAME).exists():
        raise ConfigError(
            "an imported table has a folder of its own, and this is a study's",
            value=str(out),
            fix="choose another --out",
        )
    from fourierkd.analysis.results import table_of, write_results

    runs = _runs(sources)
    known = sorted({key for run in runs for key in _numbers(run.summary)})
    if metric not in known:
        raise ConfigError(
            "--metric is a number of the runs' summaries", value=metric, fix=near(metric, known)
        )
    table = table_of(
        [_row(run, metric, direction, method_key=method_key, seed_key=seed_key) for run in runs]
    )
    out.mkdir(parents=True, exist_ok=True)
    csv, _ = write_results(table, out)
    scored = int((table["value"].notna() & (table["state"] == State.COMPLETE)).sum())
    return [
        f"results: {csv}: {len(table)} runs of {table['method'].nunique()} methods, "
        f"{scored} complete with {metric}",
        "not known of them, so not assumed: teacher, data, schedule, machine",
    ]


def _runs(sources: Sequence[str]) -> list[PastRun]:
    from fourierkd.tracking.past_runs import runs_in_files, runs_of_project

    files = [Path(source) for source in sources if not source.startswith(SERVER)]
    found = runs_in_files(files)
    for source in sources:
        if source.startswith(SERVER):
            found += runs_of_project(source.removeprefix(SERVER))
    # a study's own run of tables is no training
    trained = [run for run in found if run.config.get("phase") != Phase.REPORT.value]
    runs = list({run.id: run for run in trained}.values())
    if not runs:
        raise DataError("there must be runs to import", value=list(sources))
    return runs


def _row(
    run: PastRun, metric: str, direction: Direction, *, method_key: str, seed_key: str
) -> dict[str, Any]:
    """A run's row of the results table; one that is of no study is one that is compared."""
    config, values = run.config, _numbers(run.summary)
    method = _at(config, method_key)
    if not isinstance(method, str):
        raise ConfigError(
            f"every run's config names its method as {method_key}, and {run.name} does not",
            value=method,
            fix=f"--method-key {near(method_key, sorted(_texts(config)))}",
        )
    seed, trial = _at(config, seed_key), config.get("trial")
    phase = config.get("phase")
    ours = isinstance(config.get("run"), Mapping) and phase in {*_OF_A_STUDY, Phase.SINGLE.value}
    split, name = _split_and_name(metric, ours=ours)
    state, reason = _ended(run)
    if ours and name == config.get("metric"):  # it knows which way is better
        direction = checked_direction(config["run"].get("direction", direction))
    row = {
        "study": config.get("study") or run.project or None,
        "phase": phase if phase in _OF_A_STUDY else Phase.FINAL.value,
        "method": method,
        "trial": trial if isinstance(trial, int) else None,
        "seed": seed if isinstance(seed, int) else None,
        "split": split,
        "metric": name,
        "direction": direction.value,
        "value": values.get(metric, math.nan),
        "seconds": values.get("_runtime", math.nan),
        "state": state,
        "reason": reason,
        "run_dir": run.place,
        "commit": config.get("commit"),
    }
    return row | ({f"{split}_{name}": row["value"]} if split else {})


def _split_and_name(metric: str, *, ours: bool) -> tuple[str | None, str]:
    """What a key says of its score: ``val/mIoU.max`` is mIoU on val, ``eval/AP`` AP on who knows
    what; a run of ours has its best on val as ``best/mIoU``.
    """
    words = re.split(r"[/.]", metric)
    known = {VAL: VAL, TEST: TEST, **({"best": VAL} if ours else {})}
    split = known.get(words[0])
    named = [word for word in words if word not in _SUMMARIES] or words
    return split, named[-1]


def _ended(run: PastRun) -> tuple[str, str | None]:
    """State in our words, of a run of ours as it told W&B, and why it is not complete."""
    from fourierkd.analysis.results import RUNNING
    from fourierkd.tracking.past_runs import FINISHED

    own = run.summary.get("state")
    if own in _STATES:
        return str(own), None
    if run.state == FINISHED:
        return State.COMPLETE.value, None
    if run.state == RUNNING:
        return RUNNING, None
    return State.FAILED.value, f"W&B says {run.state}"


def _numbers(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Every number within containers, by its keys joined by points."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            if "_type" not in value:  # a picture or a table
                found |= _numbers(value, f"{before}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{before}{key}"] = float(value)
    return found


def _texts(values: Mapping[str, Any], before: str = "") -> list[str]:
    """Keys, joined by points, of every text within containers."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _texts(value, f"{before}{key}.")
        elif isinstance(value, str):
            found.append(f"{before}{key}")
    return found


def _at(values: Mapping[str, Any], key: str) -> Any:
    """What stands at a key whose points lead into containers; None for nothing."""
    if key in values:
        return values[key]
    first, _, rest = key.partition(".")
    inside = values.get(first)
    return _at(inside, rest) if rest and isinstance(inside, Mapping) else None
