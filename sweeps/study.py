"""A study, checked: what it is called, searches, trains and compares, and what identifies it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from fourierkd import methods
from fourierkd.fingerprint import digest
from fourierkd.records import Direction, Metric
from sweeps.executors.base import Needs
from sweeps.fingerprint import config_sources, data_identity, literal
from sweeps.space import METHOD, Methods, describe

STUDENT_ALONE = {METHOD: methods.STUDENT_ALONE}
DEFAULT_PRUNER = {"type": "MedianPruner", "n_startup_trials": 4, "n_min_trials": 2}
# Kendall's tau of a validation with the end, 33 full runs over 5 seeds, default study of commit
# 6cc1269: 0.27 at 20 % of the schedule, 0.44 at 40 %, 0.69 at 60 %, 0.87 at 80 %.
PRUNE_FROM = 0.6
# A study owns the seeds of one block: the first are those of the final runs, the rest the rung's.
SEED_BLOCK, MAX_FINAL_SEEDS = 1000, 900
ITERATIONS, SECONDS, FLOPS = BUDGETS = ("iterations", "seconds", "flops")
NAMED_OPTIONS = ("arms", "reference_arms", "start_points")  # name -> dotted options
SHARED_WITH_TEACHER = ("data_root", "prepare_data")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """One study; see ``docs/design.md`` for an example.

    Attributes:
        name: of the study and of its group in W&B.
        config: run config of every run, relative to the study's file.
        space: dotted option -> value or ``suggest`` node.
        metric: what is maximised or minimised on the validation split, such as ``mIoU``.
        trials: how many runs the search has in all, the arms included; 0, with an empty space:
            there is no search, and ``reference_arms`` alone are trained.
        tune: where there is no search: each of ``reference_arms`` that is a method with a space is
            tuned by so many trials before its final runs (``sweeps.searches``); 0: none is.
        budget: where there is no search: what all of ``reference_arms`` have equally much of in a
            run: ``iterations``, or ``seconds`` or ``flops`` by what their steps cost, which is
            measured before (``sweeps.budget``); None: iterations, and nothing is measured.
        seed: of the sampler and of every trial's training.
        rung_trials: how many of the best trials are run again with fresh seeds before one of them
            is chosen by its mean there; 0: the best trial is chosen by its one value.
        rung_seeds: how many seeds each of them is run again with; 0: none, as above.
        final_seeds: how many fresh seeds each final method is retrained with.
        max_seeds: pairs with ``baseline`` that are undecided after these get more, one by one, up
            to so many; 0: none does.
        final_split: where the final runs are scored: ``test``, ``val`` or None.
        sampler: ``dict(type=<class of optuna.samplers>, ...)``: TPE, GridSampler, RandomSampler,
            QMCSampler, CmaEsSampler and others.
        sampler_startup: trials before a sampler that learns takes over.
        pruner: ``dict(type=<class of optuna.pruners>, ...)``, or None.
        prune_from: share of a run's schedule, in [0, 1], before which no trial is pruned.
        options: dotted options of every run but the teacher's (data_root and prepare_data also of
            the teacher).
        search_options: dotted options of the runs of the search alone, arms included, such as a
            shorter schedule or fewer images; rung and final runs are without.
        teacher: ``dict(config, option, seed=0, options={})``: trained once; the path of its best
            checkpoint becomes ``option`` of every run. None: the run config names a teacher by
            itself.
        teacher_seeds: how many teachers the final runs have: 1, the one of the search; or as many
            as ``final_seeds``, each seed with one of its own (``sweeps.teacher``), so that
            intervals cover teachers too.
        arms: name -> dotted options, or a list of methods; run first and never pruned, and
            retrained at the end.
        reference_arms: the same; only retrained at the end. Among all arms, names
            that begin with ``published`` are forms of the published settings; to the report's first
            sentence every other one but ``baseline`` is a simple baseline.
        parts: of a component study (``sweeps.factors``): reference arm -> the parts that are on.
        start_points: name -> dotted options: the first trials that are not arms. One that lies
            outside of the space is left out, and the report says so.
        baseline: the arm that differences are taken against.
        margin: the smallest difference that matters, in the metric's unit: two methods are
            equivalent where their interval lies within it. None: 1 for percentages, 0.01 for
            fractions.
        jobs: runs at once on the rung and among final runs; ``trial_jobs``: among arms and trials.
            Of j trials at once each is asked for with the results up to the j-th before it.
        per_run: what each run is given, as ``executors.base.Needs``: ``dict(cpus=4, gpus=1)``; no
            part of its identity. The teacher is cached by its threads, ``cpus``.
        patience: seconds without a sign of life, once its process was started, after which a run is
            ended and tried again; None: 15 minutes, or ten times its longest pause so far where
            that is longer.
        keep_checkpoints: of pruned and failed arms and trials too. Else those of a pruned one go
            when it ends, and those of a failed one, which may be tried again, with the study's end.
        wandb: project, entity, mode, tags, notes.
    """

    name: str
    config: Path
    space: dict[str, Any]
    metric: str
    direction: str = "maximize"
    trials: int = 12
    tune: int = 0
    budget: str | None = None
    seed: int = 0
    rung_trials: int = 3
    rung_seeds: int = 2
    final_seeds: int = 3
    max_seeds: int = 0
    final_split: str | None = "test"
    sampler: dict[str, Any] = dataclasses.field(default_factory=lambda: {"type": "TPESampler"})
    sampler_startup: int = 5
    pruner: dict[str, Any] | None = dataclasses.field(default_factory=lambda: dict(DEFAULT_PRUNER))
    prune_from: float = PRUNE_FROM
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    search_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    teacher: dict[str, Any] | None = None
    teacher_seeds: int = 1
    arms: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {"student_alone": dict(STUDENT_ALONE)}
    )
    reference_arms: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    parts: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    start_points: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    baseline: str = "student_alone"
    margin: float | None = None
    jobs: int = 1
    trial_jobs: int = 1
    per_run: dict[str, Any] = dataclasses.field(default_factory=dict)
    patience: float | None = None
    keep_checkpoints: bool = False
    wandb: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def measure(self) -> Metric:
        """What its runs are judged by."""
        return Metric(self.metric, Direction(self.direction))

    @property
    def needs(self) -> Needs:
        """Of each of its runs."""
        return Needs(**self.per_run)

    @property
    def scaled_by(self) -> str | None:
        """The budget by which schedules differ from the config's; None: none does."""
        return None if self.budget == ITERATIONS else self.budget

    @property
    def own_teachers(self) -> bool:
        """Whether each final seed has a teacher of its own."""
        return self.teacher_seeds > 1

    def identity(self) -> dict[str, Any]:
        """What makes trials comparable, in JSON's types; other trials are another study's."""
        teacher = self.teacher and {
            **self.teacher,
            "config": digest(config_sources(self.teacher["config"])),
        }
        data = data_identity(self.config, self.options)
        identity = {
            "name": self.name,
            "config": digest(config_sources(self.config)),
            "space": describe(self.space),
            "metric": self.metric,
            "direction": self.direction,
            "seed": self.seed,
            "options": _by_name(self.options),
            "search_options": self.search_options,
            "arms": {name: _by_name(options) for name, options in self.arms.items()},
            "start_points": {name: _by_name(o) for name, o in self.start_points.items()},
            "budget": self.scaled_by,
            "rung_trials": self.rung_trials,
            "rung_seeds": self.rung_seeds,
            "teacher": teacher,
            "teacher_seeds": self.own_teachers,  # not how many: seeds may be added
            "data": data.get("files") if isinstance(data, dict) else None,
        }
        plain: dict[str, Any] = json.loads(json.dumps(identity))  # as a file gives it back
        return plain

    def files(self) -> dict[str, str]:
        """Digest of each config file that a run or the teacher is made of, by its name."""
        configs = [self.config, *([self.teacher["config"]] if self.teacher else [])]
        return {name: digest(text) for path in configs for name, text in config_sources(path)}

    def method_files(self) -> dict[str, str]:
        """Digest of the file of each method that a run may have, by its name."""
        files = {path for name in self.all_methods() for path in methods.method_files(name)}
        return {name: digest(text) for file in sorted(files) for name, text in config_sources(file)}

    def all_methods(self) -> list[str]:
        """The methods that a run may have."""
        options = [self.options, *self.arms.values(), *self.start_points.values()]
        options += self.reference_arms.values()
        names = [literal(self.config, METHOD), *(some.get(METHOD) for some in options)]
        searched = self.space.get(METHOD)
        if isinstance(searched, Methods):
            names += [searched.files.get(name, name) for name in searched.tunable]
        else:
            names.append(searched)
        return [name for name in dict.fromkeys(names) if name not in (None, methods.STUDENT_ALONE)]

    @property
    def first_final_seed(self) -> int:
        """The first seed of the study's block."""
        return SEED_BLOCK * (self.seed + 1)

    def seeds_of_finals(self) -> list[int]:
        """Seeds of the final runs; nothing else is trained with them."""
        first = self.first_final_seed
        return list(range(first, first + self.final_seeds))

    def seeds_to_add(self) -> list[int]:
        """Seeds that undecided pairs get after ``seeds_of_finals``, in this order."""
        first = self.first_final_seed
        return list(range(first + self.final_seeds, first + self.max_seeds))

    def seeds_of_rung(self) -> list[int]:
        """Seeds of the rung; nothing else is trained with them."""
        first = self.first_final_seed + MAX_FINAL_SEEDS
        return list(range(first, first + self.rung_seeds))

    def teacher_options(self) -> dict[str, Any]:
        """Options of the teacher's run; it sees the data that the students see."""
        shared = {key: self.options[key] for key in SHARED_WITH_TEACHER if key in self.options}
        return {**shared, **((self.teacher or {}).get("options") or {})}


KEYS = tuple(field.name for field in dataclasses.fields(StudyConfig))


def _by_name(options: dict[str, Any]) -> dict[str, Any]:
    """Options whose method, if it is a file, has its name alone; its content counts beside it."""
    named = METHOD in options and isinstance(options[METHOD], str)
    return {**options, METHOD: methods.method_label(options[METHOD])} if named else options
