"""Table and report of a work dir, at any time: in flow run folders, Optuna's trials and the facts
in ``study.json``, out flow ``results.csv``, ``results.parquet`` and ``report.html``.

The coordinator writes the table after each run and both files at every end of a session; ``report``
makes them from the files alone, also while a study runs, and ``figures`` what goes into a paper.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import RunError, StudyError
from fourierkd.fingerprint import file_sha256
from fourierkd.records import Phase, State
from fourierkd.run_dir import RunDir, read_json
from sweeps.account import Account
from sweeps.ask import RETRY_OF, own_trials
from sweeps.searches import run_name
from sweeps.storage import RUNS_NAME, stored_studies
from sweeps.study_record import StudyRecord, costs_of, noted, read_study
from sweeps.teacher import best_checkpoint

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial

    from fourierkd.analysis.view import StudyView

TABLES_NAME, FIGURES_NAME = "tables", "figures"
UNFINISHED = "Unfinished: more runs belong to this study. The same command goes on with it."


def trial_number(trial: optuna.Trial | FrozenTrial) -> int:
    """What runs, table and report call a trial: of one that was tried again the first number."""
    return int(trial.user_attrs.get(RETRY_OF, trial.number))


def trial_dir(
    work_dir: Path, trial: optuna.Trial | FrozenTrial, tunes: str | None = None
) -> RunDir:
    """The folder of a trial; of one that was tried again it is that of the first."""
    arm, number = trial.user_attrs.get("arm"), f"{trial_number(trial):03d}"
    name = f"baseline_{arm}" if arm else f"trial_{run_name(number, tunes)}"
    return RunDir(work_dir / RUNS_NAME / name)


def table(
    work_dir: Path,
    run_dirs: Iterable[RunDir],
    trials: Mapping[str | None, Sequence[FrozenTrial]],
) -> pd.DataFrame:
    """The results table; a trial whose folder or result vanished keeps its row, which says so.

    Args:
        work_dir: of the study.
        run_dirs: its run folders; those of ``trials`` may lie among them or not.
        trials: Optuna's, of each search by what it tunes.
    """
    from fourierkd.analysis.results import results_table

    lost = {
        run.path: (number, tunes, trial)
        for tunes, own in trials.items()
        # of one tried again the last try
        for number, trial in {trial_number(trial): trial for trial in own}.items()
        if trial.state.is_finished()
        and not (run := trial_dir(work_dir, trial, tunes)).result.exists()
    }
    known = {run.path: run for run in run_dirs}
    found = results_table(
        [*known.values(), *(RunDir(p) for p in lost if p not in known)], work_dir=work_dir
    )
    _name_weights(work_dir, found)
    for path, (number, tunes, trial) in lost.items():
        row = found["run_dir"] == str(path.relative_to(work_dir))
        gone = "result" if path.exists() else "run folder"
        arm, start = trial.user_attrs.get("arm"), trial.user_attrs.get("start")
        found.loc[row, ["state", "reason"]] = State.FAILED.value, f"its {gone} is gone"
        found.loc[row, ["phase", "method"]] = (
            Phase.BASELINE.value if arm else Phase.TRIAL.value,
            tunes or arm or start or "trial",
        )
        found.loc[row, ["trial", "tunes"]] = number, tunes
    return found


def _name_weights(work_dir: Path, found: pd.DataFrame) -> None:
    """Say of a teacher's row which weights the runs below it have of it."""
    recorded = read_study(work_dir) or StudyRecord()
    known = [recorded.teacher, *recorded.final_teachers.values()]
    shas = {Path(file.run_dir).name: file.sha256 for file in known if file is not None}
    rows = found["phase"] == Phase.TEACHER
    names = found.loc[rows, "run_dir"].map(lambda path: shas.get(Path(path).name))
    found.loc[rows, "teacher_sha256"] = names


def write_report(
    work_dir: Path,
    found: pd.DataFrame,
    studies: Mapping[str | None, optuna.Study],
    *,
    seconds: Mapping[str, float],
) -> Path:
    """Write ``report.html`` of a table, with what ``note`` kept; returns its path."""
    from fourierkd.analysis import report

    return report.write_report(work_dir, found, studies, _info(work_dir, found, seconds))


def _info(work_dir: Path, found: pd.DataFrame, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What a report says beside the table."""
    from fourierkd.analysis.selection import trials

    facts = noted(work_dir)
    notes = list(facts.notes)
    warnings = [] if facts.finished else [UNFINISHED]
    failures = int((trials(found)["state"] == State.FAILED).sum())
    if failures:
        warnings.append(f"{failures} of the trials failed; the table of runs gives the reasons.")
    warnings += _warnings(RunDir(work_dir / name) for name in found["run_dir"])
    if facts.teacher:
        of_search = " of the search" if facts.final_teachers else ""
        notes.append(_teacher_note(RunDir(facts.teacher), of_search))
    for seed, folder in facts.final_teachers.items():
        notes.append(_teacher_note(RunDir(folder), f" of seed {seed}"))
    return vars(facts) | {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "unfinished": not facts.finished,
        "notes": notes,
        "warnings": warnings,
        "time": dict(seconds),
        "costs": costs_of(work_dir),
    }


def stored_runs(work_dir: Path) -> list[RunDir]:
    """The run folders of a study, from its files alone, its teachers first.

    Raises:
        StudyError: the folder holds no study.
    """
    facts = noted(work_dir)
    teachers = [facts.teacher, *facts.final_teachers.values()]
    runs = [RunDir(folder) for folder in teachers if folder is not None]
    return runs + [RunDir(p) for p in sorted((work_dir / RUNS_NAME).glob("*")) if p.is_dir()]


def report(work_dir: Path) -> list[str]:
    """Write table and report from the files alone; returns the lines to print.

    Raises:
        StudyError: the folder holds no study, or one without a run.
    """
    from fourierkd.analysis.results import write_results

    work_dir = work_dir.absolute()
    found, studies = _from_files(work_dir)
    csv, _ = write_results(found, work_dir)
    page = write_report(work_dir, found, studies, seconds=Account().merged(work_dir))
    unfinished = "" if noted(work_dir).finished else " (unfinished)"
    return [f"results: {csv}", f"report:  {page}{unfinished}"]


def figures(work_dir: Path) -> list[str]:
    """Write the report's tables as Markdown and LaTeX and its figures as PDF and SVG, from the
    files alone; returns the lines to print.

    Raises:
        StudyError: as ``report``.
    """
    from fourierkd.analysis.paper_study import write_figures
    from fourierkd.analysis.paper_tables import write_tables
    from fourierkd.analysis.study_tables import study_tables

    view, studies = study_view(work_dir)
    work_dir = view.work_dir
    tables = write_tables(study_tables(view).values(), work_dir / TABLES_NAME)
    drawn = write_figures(view, studies, work_dir / FIGURES_NAME)
    unfinished = "" if noted(work_dir).finished else " (unfinished)"
    return [
        f"tables:  {work_dir / TABLES_NAME}: {len(tables)} files{unfinished}",
        f"figures: {work_dir / FIGURES_NAME}: {len(drawn)} files{unfinished}",
    ]


def study_view(work_dir: Path) -> tuple[StudyView, Mapping[str | None, optuna.Study]]:
    """What a report of a study is about, from the files alone, and Optuna's studies.

    Raises:
        StudyError: as ``report``.
    """
    from fourierkd.analysis.view import view_of

    work_dir = work_dir.absolute()
    found, studies = _from_files(work_dir)
    return view_of(found, work_dir, _info(work_dir, found, Account().merged(work_dir))), studies


def _from_files(work_dir: Path) -> tuple[pd.DataFrame, Mapping[str | None, optuna.Study]]:
    """The table of a study as its folder is now, and Optuna's studies."""
    facts = noted(work_dir)
    studies = stored_studies(work_dir)
    trials = {tunes: own_trials(study) for tunes, study in studies.items()}
    found = table(work_dir, stored_runs(work_dir), trials)
    if found.empty:
        raise StudyError(
            "a report needs runs, and this study has none yet", value=str(work_dir), fix="wait"
        )
    return _current(found, rung_trials=facts.rung_trials), studies


def _current(found: pd.DataFrame, *, rung_trials: int) -> pd.DataFrame:
    """Without the runs of candidates and of chosen trials that later trials have replaced."""
    from fourierkd.analysis.results import parameters
    from fourierkd.analysis.selection import TUNED, chosen_row, of_search, searches, shortlist

    stale: set[Hashable] = set()
    for tunes in searches(found):
        own = of_search(found, tunes)
        rung = own[own["phase"] == Phase.RUNG]
        replaced = rung.index[~rung["trial"].isin(shortlist(own, rung_trials))]
        chosen = chosen_row(own.drop(replaced))
        wanted = None if chosen is None else parameters(own.loc[chosen].to_dict())
        tuned = own[(own["phase"] == Phase.FINAL) & (own["method"] == (tunes or TUNED))]
        old = [i for i, row in tuned.iterrows() if parameters(row.to_dict()) != wanted]
        stale |= {*replaced, *old}
    return found.drop(list(stale)).reset_index(drop=True)


def _warnings(run_dirs: Iterable[RunDir]) -> list[str]:
    """What runs were warned of at their start, each with how many."""
    said: Counter[str] = Counter()
    for run_dir in run_dirs:
        with suppress(RunError):  # a damaged record, which the table names
            said.update((read_json(run_dir.environment) or {}).get("warnings") or [])
    return [f"Warning of {count} runs: {line}." for line, count in said.items()]


def _teacher_note(run_dir: RunDir, whose: str) -> str:
    result, score = run_dir.read_result(), "no score"
    if result is not None and result.metric is not None and result.value is not None:
        score = f"{result.metric.name} {result.value:.4g} on val"
    checkpoint = best_checkpoint(run_dir)
    sha = file_sha256(checkpoint)[:16] if checkpoint is not None else "unknown"
    return f"Teacher{whose}: {score}, sha256 {sha}."
