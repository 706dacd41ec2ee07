"""``sweeps/run.py dashboard``: in flows a study's work dir, out flow its workspace and its report
in W&B.

All of it is taken from the files: words and tables are those of ``report.html``, the runs those of
its table, and where they are in W&B their own records say.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import ConfigError, StudyError
from fourierkd.records import Phase
from fourierkd.run_dir import RunDir
from sweeps.tables import study_view

if TYPE_CHECKING:
    import pandas as pd

    from fourierkd.analysis.view import StudyView
    from fourierkd.tracking.panels import Shown
    from fourierkd.tracking.report import Words

Records = Mapping[str, Mapping[str, Any]]  # run_dir of the results table -> its W&B record
NOT_IN_A_REPORT = ("runs", "phases", "time")  # tables; W&B has a table of runs of its own


def dashboard(work_dir: Path, *, dry_run: bool) -> list[str]:
    """Save a study's workspace and report in W&B, or say what would be saved.

    Args:
        work_dir: of a study, at work or ended.
        dry_run: give their JSON, and send nothing; needs no network and no account.

    Returns:
        Lines to print.

    Raises:
        ConfigError: W&B is not installed, nobody is logged in, or the server refused.
        StudyError: the folder holds no study, one without a run, or none that was tracked.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ConfigError("dashboard needs W&B", fix="pip install wandb wandb-workspaces")
    from fourierkd.tracking.dashboard import dashboard_json, save_dashboard
    from fourierkd.tracking.record import held_back, read_record

    view = study_view(work_dir)[0]
    folders = {name: RunDir(view.work_dir / name) for name in view.table["run_dir"]}
    kept = {name: read_record(run) for name, run in folders.items()}
    # one whose tracking never started names no project
    records = {name: r for name, r in kept.items() if r is not None and "project" in r}
    if not records:
        raise StudyError("a dashboard needs runs that were tracked by W&B", value=str(work_dir))
    shown = _shown(view, records)
    words = _words(view, _ids(shown, records))
    if dry_run:
        made = dashboard_json(shown, words)
        return [json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False)]
    saved = save_dashboard(RunDir(view.work_dir), shown, words)
    lines = [f"{what}: {address}" for what, address in saved.items()]
    waiting = sum(bool(held_back(folders[name], record)) for name, record in records.items())
    if waiting:
        lines.append(
            f"{waiting} of {len(view.table)} runs are not in W&B yet: "
            f"python sweeps/run.py sync {work_dir}"
        )
    return lines


def _shown(view: StudyView, records: Records) -> Shown:
    """Where most of the study's own runs are in W&B, and what they have."""
    from fourierkd.analysis.results import most_common
    from fourierkd.tracking.panels import Shown

    own = view.table[view.table["phase"] != Phase.TEACHER]["run_dir"]
    places = Counter((r["project"], r["entity"]) for n, r in records.items() if n in set(own))
    if not places:
        raise StudyError("a dashboard needs runs that were tracked by W&B, beside the teacher's")
    (project, entity), _ = places.most_common(1)[0]
    runs = [RunDir(view.work_dir / name) for name in view.shown["run_dir"]]
    spectra = {label for run in runs for own in run.saved_pictures().values() for label in own}
    predictions = dict.fromkeys(str(row["name"]) for run in runs for row in run.prediction_rows())
    return Shown(
        project=project,
        entity=entity,
        study=str(view.facts.get("title") or most_common(view.table["study"])),
        metric=view.metric.name,
        parameters=_parameters(view.table),
        spectra=sorted(spectra),
        predictions=list(predictions),
    )


def _parameters(table: pd.DataFrame) -> list[str]:
    """Those that every trial has, and that differ between trials."""
    from fourierkd.analysis.results import PARAM

    found = table[table["phase"] == Phase.TRIAL]
    columns = [name for name in found.columns if name.startswith(PARAM)]
    whole = [name for name in columns if found[name].notna().all() and found[name].nunique() > 1]
    return [name.removeprefix(PARAM) for name in whole]


def _ids(shown: Shown, records: Records) -> dict[str, str]:
    """``run_dir`` -> id, of the runs that are where the dashboard is."""
    place = (shown.project, shown.entity)
    return {n: str(r["id"]) for n, r in records.items() if (r["project"], r["entity"]) == place}


def _words(view: StudyView, ids: Mapping[str, str]) -> Words:
    from fourierkd.analysis.answer import answer_of
    from fourierkd.analysis.paper_tables import markdown
    from fourierkd.analysis.report_tables import fact_rows, no_comparison
    from fourierkd.analysis.study_tables import study_tables
    from fourierkd.analysis.teachers import covered
    from fourierkd.analysis.words import how, margin_words
    from fourierkd.tracking.report import Words

    answer, measure = answer_of(view), f"{view.label}, {view.metric.direction}d"
    intervals = ""
    if len(view.comparison):
        intervals = (
            f"Differences are paired by seed; their 95 % intervals are {covered(view.table)}, "
            f"widened over every pair of methods ({how(view.looked)}); "
            f"{margin_words(view.comparison, view.metric.name)}."
        )
    tables = study_tables(view)
    trials = view.table["phase"].isin([Phase.BASELINE, Phase.TRIAL])
    return Words(
        headline=answer.headline or no_comparison(view.finals, view.baseline),
        verdicts=answer.verdicts,
        warnings=answer.warnings,
        notes=answer.notes,
        intervals=intervals,
        tables={n: markdown(table) for n, table in tables.items() if n not in NOT_IN_A_REPORT},
        finals=[ids[name] for name in view.finals["run_dir"] if name in ids],
        trials=[ids[name] for name in view.table[trials]["run_dir"] if name in ids],
        made=[f"{name}: {value}" for name, value in fact_rows(view.table, view.facts, measure)],
    )
