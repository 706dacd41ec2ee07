"""What ``study.json`` of a work dir holds, as types: in flow JSON and facts, out flows a record.

Whose study the folder is, and what a report says that stands in no run folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from fourierkd.errors import StudyError
from fourierkd.records import Cost, Json, Metric, Options, Record, flat_metric, nested_metric
from fourierkd.run_dir import read_json, write_atomic
from sweeps.study import StudyConfig

STUDY_NAME = "study.json"
_FIX = "restore it, or choose another --work-dir"


@dataclass(frozen=True)
class TeacherFile:
    """The checkpoint of a teacher of the study: in which run folder, where there, which bytes."""

    run_dir: str
    checkpoint: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the methods of a comparison cost, and what followed from it (``sweeps.budget``).

    Attributes:
        reference, told: the method that the budget is made of, and its options.
        costs: of a step of each method.
        options: method -> dotted options of its runs.
    """

    reference: str
    told: Options
    costs: Mapping[str, Cost] = field(default_factory=dict)
    options: Mapping[str, Options] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Told(Record):
    """What a report says beside the runs.

    Attributes:
        title, config, command: of the study: its name, its run config, what the person typed.
        baseline, metric, margin: of its comparisons.
        budget: see ``StudyConfig``.
        looked: whether seeds were added after scores were seen: who has looked has looked, whatever
            a later command says.
        search_options, parts, rung_trials: see ``StudyConfig``.
        teacher: the run folder of its teacher.
        final_teachers: seed of final runs -> run folder of the teacher that is theirs alone.
        notes: sentences.
        finished: whether it is at its end.
    """

    what: ClassVar[str] = "a report's facts"

    title: str | None = None
    config: str | None = None
    command: str | None = None
    baseline: str | None = None
    metric: Metric | None = None
    margin: float | None = None
    budget: str | None = None
    looked: bool = False
    search_options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    rung_trials: int = 0
    teacher: str | None = None
    final_teachers: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Record):
    """What is kept of a study.

    Attributes:
        identity, fingerprint: ``StudyConfig.identity`` and its digest; None: no study has claimed
            the folder.
        files, methods: digest of each config file and of each method's file, by name.
        created: when.
        tune: trials that each method of a comparison is tuned with.
        budget: what its methods cost; None: not measured.
        tried: digest of the requests that were tried ahead.
        weights: file -> SHA-256 of the weights that configs name.
        teacher: None where the run config names one, or none is trained yet.
        final_teachers: seed of final runs -> the teacher that is theirs alone.
        report: what a report says of it.
    """

    what: ClassVar[str] = "a study's record"

    identity: Json | None = None
    fingerprint: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    tune: int = 0
    budget: Budget | None = None
    tried: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    teacher: TeacherFile | None = None
    final_teachers: Mapping[str, TeacherFile] = field(default_factory=dict)
    report: Told = field(default_factory=Told)

    def to_json(self) -> Json:
        """The metric of the report and its direction side by side."""
        value = super().to_json()
        return {**value, "report": flat_metric(value["report"])}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: Path, fix: str) -> StudyRecord:
        """As ``Record.from_json``."""
        report = value.get("report", {})
        if isinstance(report, dict):
            report = nested_metric(report)
        return super().from_json({**value, "report": report}, where, fix)


def read_study(work_dir: Path) -> StudyRecord | None:
    """What ``study.json`` holds; None where there is no such file.

    Raises:
        RunError: it holds something else.
    """
    path = work_dir / STUDY_NAME
    value = read_json(path)
    return None if value is None else StudyRecord.from_json(value, path, _FIX)


def record(work_dir: Path, **facts: Any) -> None:
    """Keep facts in ``study.json``: fields of a ``StudyRecord``."""
    before = read_study(work_dir)
    after = replace(before or StudyRecord(), **facts)
    if after != before:
        replace_record(work_dir, after)


def replace_record(work_dir: Path, recorded: StudyRecord) -> None:
    """Replace ``study.json``."""
    write_atomic(work_dir / STUDY_NAME, json.dumps(recorded.to_json(), indent=1) + "\n")


def note(work_dir: Path, **facts: Any) -> None:
    """Keep what a report says: fields of ``Told``."""
    known = read_study(work_dir) or StudyRecord()
    record(work_dir, report=replace(known.report, **facts))


def note_config(work_dir: Path, config: StudyConfig, command: str) -> None:
    """``note`` what the study's config and command say."""
    known = read_study(work_dir) or StudyRecord()
    note(
        work_dir,
        title=config.name,
        config=str(config.config),
        command=command,
        baseline=config.baseline,
        metric=config.measure,
        margin=config.margin,
        budget=config.budget or known.report.budget,
        search_options=config.search_options,
        parts=config.parts,
        looked=bool(config.max_seeds or known.report.looked),
        rung_trials=config.rung_trials,
    )


def costs_of(work_dir: Path) -> Mapping[str, Cost]:
    """What a step of each method costs, as far as it was measured."""
    known = read_study(work_dir)
    return known.budget.costs if known is not None and known.budget is not None else {}


def noted(work_dir: Path) -> Told:
    """What ``note`` kept.

    Raises:
        StudyError: the folder holds no study.
    """
    recorded = read_study(work_dir)
    if recorded is None:
        raise StudyError(
            f"a study's work dir holds {STUDY_NAME}", value=str(work_dir), fix="check the path"
        )
    return recorded.report
