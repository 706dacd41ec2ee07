"""Methods on one pair with the same seeds, or runs made by hand: in flows what to compare, out flow
the runs, a table and verdicts.

A comparison is a study without a search, or with one for each method that is tuned: the same
teacher, queue, folders, choice, report and W&B. So it can be killed and continued, and a later call
adds methods, seeds and trials to an earlier one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import ConfigError, DataError, near
from fourierkd.fingerprint import different_keys
from fourierkd.literals import read_literals
from fourierkd.methods import STUDENT_ALONE, method_label, method_names
from fourierkd.records import Phase
from fourierkd.run_dir import RunDir
from sweeps.fingerprint import literal
from sweeps.searches import searches
from sweeps.study import FLOPS, SECONDS, StudyConfig
from sweeps.study_file import load_study, make_study
from sweeps.study_record import STUDY_NAME, noted
from sweeps.study_rules import check_number

if TYPE_CHECKING:
    import pandas as pd

# Of a resolved run config: what a method is; all else is the same in runs that are compared.
_OF_A_METHOD = re.compile(r"model\.(losses|teacher|inherit)(\.|$)")
_CONDITIONS = {"data": "data", "split": "splits", "metric": "metrics"}


def comparison(
    config: Path,
    names: Sequence[str],
    *,
    seeds: int,
    tune: int = 0,
    max_seeds: int = 0,
    budget: str | None = None,
    reference: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> StudyConfig:
    """The study that tunes every method, if asked to, and trains it with every seed.

    Args:
        config: a study's config, of which teacher, metric and options are taken, or a run config.
        names: of methods, or files of methods relative to ``config``; ``student_alone`` is one.
        seeds: how many each method is trained with.
        tune: trials that each method gets in its own space before; 0: all have the settings of
            their files.
        max_seeds: seeds are added to undecided pairs up to so many; 0: none are.
        budget: what the methods have equally much of, see ``StudyConfig``.
        reference: the method that differences are taken against; None: the student alone, or the
            first method.
        overrides: study keys.

    Raises:
        ConfigError: no method, one that does not exist, a reference that is none of them, none to
            be tuned, or what is wrong with the config.
    """
    if not names:
        raise ConfigError(
            "a comparison names its methods", fix=f"--methods {','.join(method_names()[:3])}"
        )
    known = [method_label(name) for name in names]
    reference = reference or (STUDENT_ALONE if STUDENT_ALONE in known else known[0])
    if reference not in known:
        raise ConfigError(
            "the reference is one of the methods", value=reference, fix=near(reference, known)
        )
    scaled = budget in (SECONDS, FLOPS)
    study = study_of(
        config,
        f"compare_{budget}" if scaled else "compare",
        {
            "tune": tune,
            "budget": budget,
            "reference_arms": list(names),
            "baseline": reference,
            "final_seeds": seeds,
            "max_seeds": max_seeds,
            **(overrides or {}),
        },
    )
    searches(study)  # refuses what cannot be tuned
    return study


def study_of(config: Path, kind: str, keys: Mapping[str, Any]) -> StudyConfig:
    """A study that trains reference arms alone.

    Args:
        config: a study's config or a run config.
        kind: what its name ends with, so that it has a folder beside others of this config.
        keys: study keys, ``final_seeds`` among them.

    Raises:
        ConfigError: what is wrong with them.
    """
    check_number("--seeds", keys["final_seeds"], 1)
    nothing: dict[str, Any] = {"trials": 0, "tune": 0, "max_seeds": 0, "budget": None}
    nothing |= {"space": {}, "arms": {}, "start_points": {}}
    keys = {**nothing, **keys}
    if _is_study(config):
        return load_study(config, {"name": f"{config.stem}_{kind}", **keys})
    return make_study(_of_a_run_config(config, kind), config, keys)


def _is_study(config: Path) -> bool:
    """Whether a file assigns ``study``."""
    if not config.is_file():
        raise ConfigError("a config must be a file", value=str(config), fix="check the path")
    try:
        body = ast.parse(config.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError):
        return False  # its reader says what is wrong
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "study" for target in targets)


def _of_a_run_config(config: Path, kind: str) -> dict[str, Any]:
    metric = literal(config, "metric")
    if not isinstance(metric, str):
        raise ConfigError(
            f"{config} names no metric to compare by", fix='add metric = "mIoU", or "bbox_mAP"'
        )
    direction = literal(config, "direction") or "maximize"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{config.parent.name}_{config.stem}_{kind}")
    return {
        "name": name.lstrip("_-"),
        "config": str(config.absolute()),
        "metric": metric,
        "direction": direction,
    }


def runs_by_hand(folders: Sequence[Path]) -> pd.DataFrame:
    """The results table of run folders that were made one by one.

    A run's method is that of ``train --method``, else its folder's name without what follows
    ``seed``.

    Raises:
        ConfigError: a folder holds no run.
        DataError: the runs differ in more than their method and seed.
    """
    from fourierkd.analysis import results_table

    runs = [RunDir(folder) for folder in folders]
    for run in runs:
        if not run.request.exists():
            raise ConfigError("a run folder holds a run", value=str(run.path), fix="check the path")
    table = results_table(runs, work_dir=Path.cwd())
    table["method"] = [
        run.called(method) for run, method in zip(runs, table["method"], strict=True)
    ]
    table["phase"] = Phase.FINAL.value
    _check_comparable(runs, table)
    return table


def looked_at(folders: Sequence[Path]) -> bool:
    """Whether run folders are of a study in which seeds were added after scores were seen."""
    studies = {folder.absolute().parent.parent for folder in folders}
    return any(noted(study).looked for study in studies if (study / STUDY_NAME).is_file())


def show(table: pd.DataFrame, *, reference: str | None, looked: bool = False) -> None:
    """Print the comparison of a table of final runs.

    Args:
        table: a results table.
        reference: the method that differences are taken against; None: as for ``comparison``.
        looked: seeds were added after scores were seen (see ``fourierkd.analysis.compare``).

    Raises:
        ConfigError: the reference is no method of the table.
        DataError, StudyError: see ``fourierkd.analysis.compare``.
    """
    from rich.console import Console

    from fourierkd.analysis.headline import headline
    from fourierkd.analysis.published import beside_published
    from fourierkd.analysis.results import metric_of
    from fourierkd.analysis.terminal import cost, summary

    known = sorted(table["method"].unique())
    reference = reference or (STUDENT_ALONE if STUDENT_ALONE in known else known[0])
    if reference not in known:
        raise ConfigError(
            "the reference is one of the methods", value=reference, fix=near(reference, known)
        )
    metric = metric_of(table)
    console = Console(soft_wrap=True, highlight=False)
    compared: dict[str, Any] = {"metric": metric, "baseline": reference, "looked": looked}
    console.print(headline(table, **compared), markup=False)
    console.print(summary(table, **compared))
    console.print(cost(table, {}, baseline=reference))
    for line in beside_published(table, Path.cwd(), metric=metric.name):
        console.print(line, markup=False)


def _check_comparable(runs: Sequence[RunDir], table: pd.DataFrame) -> None:
    from fourierkd.analysis import teachers

    for column, words in _CONDITIONS.items():
        _check_equal(table, column, f"runs that are compared have equal {words}")
    for _, own in table.groupby("seed"):
        _check_equal(own, teachers.COLUMN, "runs of a seed that are compared have equal teachers")
    teachers.check_teachers(table.assign(method="all methods"))
    configs = [read_literals(run.config) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        keys = [k for k in different_keys(configs[0], config) if not _OF_A_METHOD.match(k)]
        if keys:
            raise DataError(
                "runs that are compared differ in their method alone, and "
                f"{run.path.name} differs from {runs[0].path.name} in",
                value=sorted(keys)[:5],
                fix="train them alike, or compare those that are",
            )


def _check_equal(table: pd.DataFrame, column: str, rule: str) -> None:
    values = table[column].dropna().unique()
    if len(values) > 1:
        first = [table.loc[table[column] == value, "run_dir"].iloc[0] for value in values]
        raise DataError(
            rule,
            value={str(run): str(value)[:16] for run, value in zip(first, values, strict=True)},
            fix="train them alike, or compare those that are",
        )
