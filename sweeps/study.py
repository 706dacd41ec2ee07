"""A study config: in flow a plain Python file and overrides, out flows one checked ``StudyConfig``.

Everything is checked here, before anything is written: keys, ranges, the search space, the files it
    names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import runpy
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fourierkd import methods
from fourierkd.errors import ConfigError, FourierKDError, near
from fourierkd.fingerprint import digest
from fourierkd.options import MAX_SEED, refuse_passwords
from fourierkd.records import Direction, Metric, checked_direction
from fourierkd.tracking.login import MODES
from sweeps.fingerprint import config_sources, data_identity, literal, roles
from sweeps.space import METHOD, Methods, Tunable, check_space, describe, suggest

LOSSES = "model.losses."
STUDENT_ALONE = {METHOD: methods.STUDENT_ALONE}
DEFAULT_PRUNER = {"type": "MedianPruner", "n_startup_trials": 4, "n_min_trials": 2}
# Kendall's tau of a validation with the end, 33 full runs over 5 seeds, default study of commit
# 6cc1269: 0.27 at 20 % of the schedule, 0.44 at 40 %, 0.69 at 60 %, 0.87 at 80 %.
PRUNE_FROM = 0.6
# A study owns the seeds of one block: the first are those of the final runs, the rest the rung's.
SEED_BLOCK, MAX_FINAL_SEEDS = 1000, 900
RESERVED = ("tuned", "trial", "rung")  # methods that a study gives names to itself
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TEACHER_KEYS = ("config", "seed", "option", "options")
_METHODS = ("arms", "reference_arms", "start_points")  # name -> dotted options
_WANDB_KEYS = ("project", "entity", "mode", "tags", "notes")
_SHARED_WITH_TEACHER = ("data_root", "prepare_data")
# Top-level keys of a run config that say what is compared.
_MODELS = ("model", "method", "taps", "student_norm")
_COMPARED = (*_MODELS, "metric", "direction", "val_evaluator", *_SHARED_WITH_TEACHER)


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
        arms: name -> dotted options, or a list of methods; run first and never pruned, and
            retrained at the end.
        reference_arms: the same; only retrained at the end. Among all arms, names
            that begin with ``published`` are forms of the published settings; to the report's first
            sentence every other one but ``baseline`` is a simple baseline.
        start_points: name -> dotted options: the first trials that are not arms. One that lies
            outside of the space is left out, and the report says so.
        baseline: the arm that differences are taken against.
        margin: the smallest difference that matters, in the metric's unit: two methods are
            equivalent where their interval lies within it. None: 1 for percentages, 0.01 for
            fractions.
        jobs: runs at once on the rung and among final runs; ``trial_jobs``: among arms and trials
            (more than one: the trials depend on which run ends first).
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
    arms: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {"student_alone": dict(STUDENT_ALONE)}
    )
    reference_arms: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    start_points: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    baseline: str = "student_alone"
    margin: float | None = None
    jobs: int = 1
    trial_jobs: int = 1
    patience: float | None = None
    keep_checkpoints: bool = False
    wandb: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def measure(self) -> Metric:
        """What its runs are judged by."""
        return Metric(self.metric, Direction(self.direction))

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
            "rung_trials": self.rung_trials,
            "rung_seeds": self.rung_seeds,
            "teacher": teacher,
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

    def losses(self) -> list[str]:
        """Names of the losses that a run may have, as far as methods and options tell them."""
        there = roles(self.config, self.options)
        own = [loss for name in self.all_methods() for loss in methods.read_method(name).at(there)]
        options = [self.space, *self.arms.values(), *self.reference_arms.values()]
        keys = [key.split(".") for some in options for key in some if key.startswith(LOSSES)]
        return list(dict.fromkeys([*own, *(key[2] for key in keys)]))

    def seeds_of_finals(self) -> list[int]:
        """Seeds of the final runs; nothing else is trained with them."""
        first = SEED_BLOCK * (self.seed + 1)
        return list(range(first, first + self.final_seeds))

    def seeds_to_add(self) -> list[int]:
        """Seeds that undecided pairs get after ``seeds_of_finals``, in this order."""
        first = SEED_BLOCK * (self.seed + 1)
        return list(range(first + self.final_seeds, first + self.max_seeds))

    def seeds_of_rung(self) -> list[int]:
        """Seeds of the rung; nothing else is trained with them."""
        first = SEED_BLOCK * (self.seed + 1) + MAX_FINAL_SEEDS
        return list(range(first, first + self.rung_seeds))

    def teacher_options(self) -> dict[str, Any]:
        """Options of the teacher's run; it sees the data that the students see."""
        shared = {key: self.options[key] for key in _SHARED_WITH_TEACHER if key in self.options}
        return {**shared, **((self.teacher or {}).get("options") or {})}


KEYS = tuple(field.name for field in dataclasses.fields(StudyConfig))


def load_study(path: Path, overrides: Mapping[str, Any] | None = None) -> StudyConfig:
    """Read a study config, apply dotted overrides and check all of it.

    Args:
        path: a Python file that assigns ``study = dict(...)``.
        overrides: e.g. ``{"trials": 4, "teacher.options.train_cfg.max_iters": 50}``. What follows
            ``options``, ``space`` or an arm's name is one dotted option of a run config.

    Raises:
        ConfigError: the file cannot be run, or a key or value breaks a rule.
    """
    return make_study(_run_file(path), path, overrides)


def make_study(
    values: Mapping[str, Any], path: Path, overrides: Mapping[str, Any] | None = None
) -> StudyConfig:
    """A study of the values that its config assigns; files are relative to ``path``.

    Raises:
        ConfigError: as ``load_study``.
    """
    values = dict(values)
    _check_keys(values, KEYS, "study")
    _name_arms(path, values)
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    _name_arms(path, values)  # again: --set may give a list
    refuse_passwords(values)
    for key in ("name", "config", "space", "metric"):
        if key not in values:
            raise ConfigError("a study needs the key", value=key, fix=f"add it to {path}")
    values["config"] = _file(path, values["config"], "config")
    if values.get("teacher") is not None:
        values["teacher"] = _check_teacher(path, values["teacher"])
    if isinstance(values["space"], Mapping):
        values["space"] = _with_methods(path, values)
    study = StudyConfig(**values)
    _check(study)
    return study


def _name_arms(study: Path, values: dict[str, Any]) -> None:
    """Arms that are a list of methods, by name."""
    for key in ("arms", "reference_arms"):
        if isinstance(values.get(key), list | tuple):
            values[key] = {
                methods.method_label(n): {METHOD: _beside(study, n)} for n in values[key]
            }


def _with_methods(study: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The space, its methods with what they can be tuned by for the taps of the run config."""
    space, options = values["space"], values.get("options")
    node = space.get(METHOD)
    if not isinstance(node, Methods):
        return dict(space)
    there = roles(values["config"], options if isinstance(options, Mapping) else {})
    files = {name: _beside(study, file) for name, file in node.files.items()}
    tunable: dict[str, dict[str, Tunable] | None] = {}
    for name in node.tunable:
        method = methods.read_method(files.get(name, name))
        found = method.options(there, suggest).items()
        tunable[name] = {option: Tunable(*pair) for option, pair in found}
    return {**space, METHOD: Methods(tunable, files)}


def _by_name(options: dict[str, Any]) -> dict[str, Any]:
    """Options whose method, if it is a file, has its name alone; its content counts beside it."""
    named = METHOD in options and isinstance(options[METHOD], str)
    return {**options, METHOD: methods.method_label(options[METHOD])} if named else options


def _beside(study: Path, name: Any) -> Any:
    """The name of a method; of a file, which is relative to the study's, its path."""
    if not isinstance(name, str):
        return name
    parts = name.split(methods.SUM)
    return methods.SUM.join(
        str((study.parent / part).resolve()) if part.endswith(".py") else part for part in parts
    )


def _run_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError("a study config must be a file", value=str(path), fix="check the path")
    try:
        namespace = runpy.run_path(str(path))
    except FourierKDError as error:
        raise ConfigError(f"{_where(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{_where(path, error)}: {type(error).__name__}: {error}",
            fix="correct the study config",
        ) from error
    study = namespace.get("study")
    if not isinstance(study, dict):
        raise ConfigError(
            "a study config assigns study = dict(...)", value=study, fix=f"see {path}"
        )
    return dict(study)


def _where(path: Path, error: BaseException) -> str:
    """``file:line`` of the study config where the error came from."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _check_keys(values: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{what} has no such key", value=key, fix=near(str(key), known))


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one study key, or one dotted option below ``options``, ``space`` or an arm."""
    head, *rest = key.split(".")
    _check_keys({head: None}, KEYS, "study")
    if not rest:
        values[head] = value
        return
    # How many parts lead to the dict whose keys are dotted options.
    depth = {"options": 1, "search_options": 1, "space": 1, **dict.fromkeys(_METHODS, 2)}.get(
        head, 0
    )
    if head == "teacher" and rest[0] == "options" and len(rest) > 1:
        depth = 2
    parts = [head, *rest]
    path = [*parts[:depth], ".".join(parts[depth:])] if 0 < depth < len(parts) else parts
    node = values
    for part in path[:-1]:
        inner = node.get(part)
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(
                f"--set {key}: {part} has no keys", value=inner, fix=f"set {part} itself"
            )
        node[part] = dict(inner or {})  # the study's file keeps its own dicts
        node = node[part]
    node[path[-1]] = value


def _file(study: Path, value: Any, key: str) -> Path:
    if not isinstance(value, str | Path):
        raise ConfigError(f"{key} must be the path of a run config", value=value)
    path = (study.parent / value).resolve()
    if not path.is_file():
        raise ConfigError(
            f"{key} must be a file", value=str(path), fix=f"it is relative to {study}"
        )
    return path


def _check_teacher(study: Path, teacher: Any) -> dict[str, Any]:
    if not isinstance(teacher, dict):
        raise ConfigError("teacher must be a dict or None", value=teacher)
    _check_keys(teacher, _TEACHER_KEYS, "teacher")
    for key in ("config", "option"):
        if key not in teacher:
            raise ConfigError("teacher needs the key", value=key, fix=f"add it to {study}")
    if not isinstance(teacher["option"], str):
        raise ConfigError("teacher.option is a dotted option", value=teacher["option"])
    _check_number("teacher.seed", teacher.get("seed", 0), 0)
    return {
        "seed": 0,
        "options": {},
        **teacher,
        "config": _file(study, teacher["config"], "teacher.config"),
    }


def _check(study: StudyConfig) -> None:
    _check_name("name", study.name)
    if not isinstance(study.metric, str) or not study.metric:
        raise ConfigError("metric is the name of a metric", value=study.metric, fix='e.g. "mIoU"')
    checked_direction(study.direction)
    if study.final_split not in ("val", "test", None):
        raise ConfigError("final_split is 'val', 'test' or None", value=study.final_split)
    _check_numbers(study)
    _check_seeds(study)
    if not isinstance(study.keep_checkpoints, bool):
        raise ConfigError("keep_checkpoints is True or False", value=study.keep_checkpoints)
    if study.space or study.trials:
        check_space(study.space)
    _check_arms(study)
    _check_options("options", study.options)
    _check_search_options(study)
    if study.teacher is not None:
        _check_options("teacher.options", study.teacher["options"])
    _check_baseline(study)
    _check_wandb(study.wandb)


def _check_numbers(study: StudyConfig) -> None:
    searched = bool(study.space or study.trials)
    low = {"trials": int(searched), "sampler_startup": 1, "jobs": 1, "trial_jobs": 1}
    for key in ("tune", "seed", "rung_trials", "rung_seeds", "final_seeds", "max_seeds"):
        low[key] = 0
    for key in low:
        _check_number(key, getattr(study, key), low[key])
    if study.tune and searched:
        raise ConfigError(
            "tune is for comparisons, a study has trials",
            value=study.tune,
            fix="use `python sweeps/run.py compare ... --tune N`",
        )
    if not _is_real(study.prune_from) or not 0 <= study.prune_from <= 1:
        raise ConfigError(
            "prune_from is a share of the schedule in [0, 1]",
            value=study.prune_from,
            fix=f"the default is {PRUNE_FROM}; pruner=None prunes nothing",
        )
    margin, patience = study.margin, study.patience
    if margin is not None and not (_is_real(margin) and 0 < margin < math.inf):
        raise ConfigError("margin is None or above 0, in the metric's unit", value=margin)
    if patience is not None and not (_is_real(patience) and patience > 0):
        raise ConfigError("patience is None or seconds above 0", value=patience)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_seeds(study: StudyConfig) -> None:
    """No two phases share a seed."""
    if study.seed > MAX_SEED // SEED_BLOCK - 1:
        raise ConfigError(f"seed is at most {MAX_SEED // SEED_BLOCK - 1}", value=study.seed)
    for key, most in (
        ("final_seeds", MAX_FINAL_SEEDS),
        ("max_seeds", MAX_FINAL_SEEDS),
        ("rung_seeds", SEED_BLOCK - MAX_FINAL_SEEDS),
    ):
        if getattr(study, key) > most:
            raise ConfigError(
                f"{key} is at most {most}, so that no two phases share a seed",
                value=getattr(study, key),
            )
    if study.max_seeds and not 1 <= study.final_seeds <= study.max_seeds:
        raise ConfigError(
            "seeds are added to a first one at least, up to max_seeds",
            value=(study.final_seeds, study.max_seeds),
            fix="raise max_seeds, or begin with fewer seeds",
        )


def _check_arms(study: StudyConfig) -> None:
    for key in _METHODS:
        arms = getattr(study, key)
        if not isinstance(arms, dict):
            raise ConfigError(f"{key} must be a dict of name -> options", value=arms)
        for name, options in arms.items():
            _check_name(f"{key}: a name", name)
            if name in RESERVED or (key != "arms" and name in study.arms):
                raise ConfigError(f"{key}: the name is taken", value=name)
            _check_options(f"{key}.{name}", options)


def _check_baseline(study: StudyConfig) -> None:
    _check_name("baseline", study.baseline)
    arms = study.arms if study.trials else study.reference_arms
    if study.baseline not in arms:
        raise ConfigError(
            "baseline must be an arm", value=study.baseline, fix=near(study.baseline, arms)
        )
    if study.trials < len(study.arms):
        raise ConfigError(
            "trials counts the arms too and must not be below their number",
            value=study.trials,
            fix=f"use at least {len(study.arms)}",
        )


def _check_wandb(wandb: Any) -> None:
    if not isinstance(wandb, dict):
        raise ConfigError("wandb must be a dict", value=wandb)
    _check_keys(wandb, _WANDB_KEYS, "wandb")
    for key, value in wandb.items():
        words = "a list of texts" if key == "tags" else "a text"
        texts = value if key == "tags" else [value]
        right = isinstance(texts, list | tuple) and all(isinstance(t, str) and t for t in texts)
        if value is not None and not right:
            raise ConfigError(f"wandb.{key} is {words}", value=value)
    if wandb.get("mode") not in (None, *MODES):
        raise ConfigError(f"wandb.mode is one of {', '.join(MODES)}", value=wandb["mode"])


def _check_search_options(study: StudyConfig) -> None:
    """Trials are cheaper than full runs, and of the same models, teacher, data and metric."""
    _check_options("search_options", study.search_options)
    teacher = study.teacher["option"] if study.teacher else ""
    for key in study.search_options:
        if key.split(".")[0] in _COMPARED or key == teacher:
            raise ConfigError(
                "search_options make trials cheaper and leave models, teacher, method, taps, data "
                "and metric as they are",
                value=key,
                fix="set it in options; fewer images: train_dataloader.dataset.indices=100",
            )
        for other in study.space:
            if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
                raise ConfigError("space and search_options set different options", value=other)


def _check_name(what: str, value: Any) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(f"{what} is made of letters, digits, _ and -", value=value)


def _check_number(key: str, value: Any, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{key} must be a whole number of at least {low}", value=value)


def _check_options(what: str, options: Any) -> None:
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise ConfigError(f"{what} must be a dict of dotted option -> value", value=options)
    try:
        json.dumps(options, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must hold plain values only ({error})") from error
    if options.get(METHOD) not in (None, methods.STUDENT_ALONE):
        methods.method_files(options[METHOD])
