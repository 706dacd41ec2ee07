"""What passes between processes, as types: in flow JSON objects of a run folder, out flow records.

A ``Request`` says what to run, rows of scalars tell how it goes, a ``Result`` is written at its
end. Coordinator, training process, W&B, results table and report read these and no dicts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from fourierkd.errors import ConfigError, RunError, near

VAL, TEST = "val", "test"  # splits, and the groups of their scores
UNNAMED = "run"  # the method of a run that names none
Json = dict[str, Any]  # an object in JSON's types
Options = dict[str, Any]  # dotted option of a run config -> value, in JSON's types
Parameters = dict[str, Any]  # what a search chose, by short name


class _Word(str, Enum):
    """One of a few words; in text and JSON it is the word alone."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:  # up to Python 3.11 it is not __str__'s
        return format(str(self.value), spec)


class State(_Word):
    """How a run ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # it can go on


class Phase(_Word):
    """What a run is for."""

    SINGLE = "single"  # no part of a study
    TEACHER = "teacher"
    BASELINE = "baseline"  # an arm, with the search's seed
    TRIAL = "trial"
    RUNG = "rung"  # one of the best trials with a fresh seed
    FINAL = "final"
    REPORT = "report"  # a study's tables, in W&B


class Direction(_Word):
    """Which values of a metric are better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


MAXIMIZE, MINIMIZE = Direction.MAXIMIZE, Direction.MINIMIZE


def checked_direction(direction: object) -> Direction:
    """``direction``; ConfigError where it is none."""
    try:
        return Direction(direction)
    except ValueError:
        raise ConfigError("direction is 'maximize' or 'minimize'", value=direction) from None


@dataclass(frozen=True)
class Metric:
    """What a run is judged by."""

    name: str
    direction: Direction = MAXIMIZE

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` beats ``than``."""
        return value < than if self.direction == MINIMIZE else value > than

    def key(self, split: str = VAL) -> str:
        """Its key in a row of scalars and in a result: ``val/mIoU``."""
        return f"{split}/{self.name}"


def scores(row: Mapping[str, Any], split: str = VAL) -> dict[str, Any]:
    """The scores of a row, or of a result's metrics, on ``split``, by their short names."""
    prefix = f"{split}/"
    return {key[len(prefix) :]: value for key, value in row.items() if key.startswith(prefix)}


def as_scores(values: Mapping[str, Any], split: str = VAL) -> dict[str, Any]:
    """The other way round: ``{"mIoU": 70.0}`` -> ``{"val/mIoU": 70.0}``."""
    return {f"{split}/{name}": value for name, value in values.items()}


def class_score(metric: str) -> str:
    """What a metric that is a mean over classes is called of one class: ``IoU`` for ``mIoU``,
    ``bbox_AP_50`` for ``bbox_mAP_50``; any other keeps its name.
    """
    return re.sub(r"(^|_)m(?=[A-Z])", r"\1", metric)


def scores_of_classes(row: Mapping[str, Any], metric: Metric) -> dict[str, float | None]:
    """Class -> its part of ``metric``; empty where that is no mean over classes (``aAcc``).

    Args:
        row: of ``RunDir.class_rows``.
    """
    values = row["scores"].get(class_score(metric.name), [])
    return dict(zip(row["classes"], values, strict=True)) if values else {}


RecordT = TypeVar("RecordT", bound="Record")
_adapters: dict[type, Any] = {}  # record -> what reads it


@dataclass(frozen=True)
class Record:
    """One JSON object of a known form; ``what`` it is, for the line that names damage."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}
    what: ClassVar[str] = "a record"

    def to_json(self) -> Json:
        """JSON's types alone."""
        return asdict(self, dict_factory=_plain)

    @classmethod
    def from_json(cls: type[RecordT], value: Mapping[str, Any], where: Path, fix: str) -> RecordT:
        """The record that ``value`` is.

        Args:
            value: as read from a file.
            where: that file, for the error.
            fix: what to do about a damaged one.

        Raises:
            RunError: a key that no such record has, one that is missing, or a value of another
                type; the line names it.
        """
        from pydantic import ValidationError

        try:
            record: RecordT = _adapter(cls).validate_json(json.dumps(value))
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"]))
            if wrong["type"] == "unexpected_keyword_argument":
                hint = "" if "." in key else f"{near(key, [part.name for part in fields(cls)])}; "
                raise RunError(
                    f"{where} must hold {cls.what}, and none has this key",
                    value=key,
                    fix=hint + fix,
                ) from error
            raise RunError(
                f"{where} must hold {cls.what} ({key}: {wrong['msg']})", fix=fix
            ) from error
        return record


def flat_metric(value: Mapping[str, Any]) -> Json:
    """A record's JSON with its metric's name and direction side by side."""
    metric = value["metric"] or {}
    return {**value, "metric": metric.get("name"), "direction": metric.get("direction")}


def nested_metric(value: Mapping[str, Any]) -> Json:
    """The other way round; an older version gave a metric no direction."""
    rest = {"metric": None, **value}
    direction = rest.pop("direction", None) or MAXIMIZE
    if rest["metric"] is not None:
        rest["metric"] = {"name": rest["metric"], "direction": direction}
    return rest


def _plain(items: list[tuple[str, Any]]) -> Json:
    return {key: value.value if isinstance(value, Enum) else value for key, value in items}


def _adapter(kind: type[Record]) -> Any:
    from pydantic import TypeAdapter  # 0.1 s: not where no run folder is read

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


@dataclass(frozen=True)
class Tracking(Record):
    """How a run is shown in W&B; what is None is W&B's, or follows from the request."""

    mode: str | None = None  # online, offline or disabled
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    notes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request(Record):
    """What is asked of a run.

    Attributes:
        config: of the run: a file, or ``mmdet::name``.
        options: dotted options on it, in JSON's types.
        seed: of initial weights, data order and augmentation.
        study: name of the study; None: the run belongs to none.
        phase, method, trial, parameters: what the run is in the study; ``parameters`` are what the
            search chose, by short name.
        tunes: of trials and the rung: the method whose own search they belong to, where a
            comparison tunes its methods; None: the study's one search.
        test_split: where the best checkpoint is scored at the end; None: nowhere.
        wandb: of its tracking.
    """

    what: ClassVar[str] = "a run's request"

    config: str
    seed: int
    options: Options = field(default_factory=dict)
    study: str | None = None
    phase: Phase = Phase.SINGLE
    method: str = UNNAMED
    trial: int | None = None
    tunes: str | None = None
    parameters: Parameters = field(default_factory=dict)
    test_split: str | None = None
    wandb: Tracking = field(default_factory=Tracking)

    @property
    def split(self) -> str:
        """The split that its value is of."""
        return self.test_split or VAL


@dataclass(frozen=True)
class Best:
    """The best validation: its iteration, and the metric's value."""

    iter: int
    value: float | None


@dataclass(frozen=True)
class Checkpoints:
    """Paths relative to the run folder."""

    last: str | None = None
    best: str | None = None


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What makes the values of two runs comparable; None: not known.

    Attributes:
        teacher_sha256: of the teacher's weights.
        data: fingerprint of the data set's files.
        config_hash: of the resolved config without paths.
        device: ``cpu`` or ``cuda``.
        threads: of PyTorch.
        host, commit: where it ran, and what.
    """

    teacher_sha256: str | None = None
    data: str | None = None
    config_hash: str | None = None
    device: str | None = None
    threads: int | None = None
    host: str | None = None
    commit: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, Any], teacher_sha256: str | None = None) -> Conditions:
        """What a run's ``environment.json`` says of them."""
        commit, digests = environment.get("commit"), environment.get("identity") or {}
        return cls(
            teacher_sha256=teacher_sha256,
            data=digests.get("data"),
            config_hash=digests.get("config"),
            device=environment.get("device"),
            threads=environment.get("threads"),
            host=environment.get("host"),
            commit=f"{commit}-dirty" if commit and environment.get("dirty") else commit,
        )


@dataclass(frozen=True, kw_only=True)
class Result(Record):
    """How a run ended.

    Attributes:
        state, reason: how, and why if not ``complete``.
        metric: what ``best`` is of; None where the run did not come so far.
        best: of its validations.
        metrics: ``val/<name>`` of the best checkpoint, ``test/<name>`` where it was scored.
        classes: ``val``, ``test`` -> class -> its part of ``metric`` (see ``scores_of_classes``).
        iters: trained, those of earlier processes included.
        seconds: ``total`` and by part.
        parameters: numbers of student, losses, teacher, and of those inherited.
        peak_mib: of memory, as ``engine.cost.peak_of_process`` has it; None: not known.
        conditions: what makes it comparable.
        teacher_maps: how many were kept, or why none was.
        checkpoints: that are left.
    """

    what: ClassVar[str] = "a run's result"

    state: State
    reason: str | None = None
    metric: Metric | None = None
    best: Best | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    iters: int = 0
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    peak_mib: float | None = None
    conditions: Conditions = field(default_factory=Conditions)
    teacher_maps: Json | None = None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def to_json(self) -> Json:
        """Metric, direction and conditions side by side."""
        value = flat_metric(super().to_json())
        conditions: Json = value.pop("conditions")
        return value | conditions

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: Path, fix: str) -> Result:
        """As ``Record.from_json``; one of an older version knows less of itself."""
        rest = nested_metric(value)
        conditions = {f.name: rest.pop(f.name) for f in fields(Conditions) if f.name in rest}
        return super().from_json({**rest, "conditions": conditions}, where, fix)

    @property
    def value(self) -> float | None:
        """The best validation value; None where there is none."""
        return self.best.value if self.best is not None else None

    def score(self, split: str) -> float | None:
        """The metric on ``split``."""
        return None if self.metric is None else self.metrics.get(self.metric.key(split))


@dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What one iteration of a method's training costs, as it was measured before any.

    Attributes:
        parameters: that the method adds to those that are trained.
        gflop: operations of a step, as ``engine.cost.FLOPS`` says which.
        seconds: of loading a batch and of a step with the optimizer's update.
        peak_mib: memory of a step above what lies there before it; None: not known.
        machine: where.
    """

    what: ClassVar[str] = "a method's cost"

    parameters: int
    gflop: float
    seconds: float
    peak_mib: float | None
    machine: str | None


@dataclass(frozen=True, kw_only=True)
class Stop(Record):
    """What the coordinator asks of a live run: to save, and to end in ``state``."""

    what: ClassVar[str] = "a run's stop"

    state: State
    reason: str
    action: str = "stop"


def single_request(
    config: str | os.PathLike[str],
    options: Mapping[str, Any],
    *,
    seed: int = 0,
    test_split: str | None = None,
    wandb_mode: str | None = None,
    method: str = UNNAMED,
    name: str | None = None,
    group: str | None = None,
) -> Request:
    """What is asked of a run that belongs to no study.

    Args:
        config: of the run; a file, or ``mmdet::name``.
        options: dotted options on it.
        seed: of initial weights, data order and augmentation.
        test_split: where the best checkpoint is scored at the end; None: nowhere.
        wandb_mode: of W&B; None: as its login and its variables say.
        method: what the run is called beside others.
        name, group: of the run in W&B; None: its folder's name, and no group.
    """
    return Request(
        config=str(config) if "::" in str(config) else str(Path(config).absolute()),
        options=dict(options),
        seed=seed,
        test_split=test_split,
        wandb=Tracking(mode=wandb_mode, name=name, group=group),
        method=method,
    )
