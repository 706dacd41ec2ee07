"""What a study must be: in flows a ``StudyConfig``, out flows the first rule that it breaks."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fourierkd import methods
from fourierkd.errors import ConfigError, near
from fourierkd.options import MAX_SEED
from fourierkd.records import checked_direction
from fourierkd.tracking.login import MODES
from sweeps.executors.base import Needs
from sweeps.space import METHOD, check_space
from sweeps.study import (
    BUDGETS,
    MAX_FINAL_SEEDS,
    NAMED_OPTIONS,
    PRUNE_FROM,
    SEED_BLOCK,
    SHARED_WITH_TEACHER,
    StudyConfig,
)

RESERVED = ("tuned", "trial", "rung")  # methods that a study gives names to itself
_MEMORY = re.compile(r"[1-9]\d*[KMGT]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_WANDB_KEYS = ("project", "entity", "mode", "tags", "notes")
_FROM_ONE = ("sampler_startup", "teacher_seeds", "jobs", "trial_jobs")
# Top-level keys of a run config that say what is compared.
_MODELS = ("model", "method", "taps", "student_norm")
_COMPARED = (*_MODELS, "metric", "direction", "val_evaluator", *SHARED_WITH_TEACHER)


def check_study(study: StudyConfig) -> None:
    """Refuse a study that breaks a rule.

    Raises:
        ConfigError: the first that it breaks.
    """
    _check_name("name", study.name)
    if not isinstance(study.metric, str) or not study.metric:
        raise ConfigError("metric is the name of a metric", value=study.metric, fix='e.g. "mIoU"')
    checked_direction(study.direction)
    if study.final_split not in ("val", "test", None):
        raise ConfigError("final_split is 'val', 'test' or None", value=study.final_split)
    _check_numbers(study)
    _check_per_run(study.per_run)
    _check_budget(study)
    _check_seeds(study)
    if not isinstance(study.keep_checkpoints, bool):
        raise ConfigError("keep_checkpoints is True or False", value=study.keep_checkpoints)
    if study.space or study.trials:
        check_space(study.space)
    _check_arms(study)
    _check_parts(study)
    _check_options("options", study.options)
    _check_search_options(study)
    _check_teachers(study)
    _check_baseline(study)
    _check_wandb(study.wandb)


def _check_numbers(study: StudyConfig) -> None:
    searched = bool(study.space or study.trials)
    low = {"trials": int(searched), **dict.fromkeys(_FROM_ONE, 1)}
    for key in ("tune", "seed", "rung_trials", "rung_seeds", "final_seeds", "max_seeds"):
        low[key] = 0
    for key in low:
        check_number(key, getattr(study, key), low[key])
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


def _check_per_run(per_run: Any) -> None:
    if not isinstance(per_run, dict):
        raise ConfigError(
            "per_run must be a dict", value=per_run, fix="e.g. per_run=dict(cpus=4, gpus=1)"
        )
    check_keys(per_run, [part.name for part in dataclasses.fields(Needs)], "per_run")
    if per_run.get("cpus") is not None:
        check_number("per_run.cpus", per_run["cpus"], 1)
    if per_run.get("gpus") not in (None, 0, 1):
        raise ConfigError("per_run.gpus is 0 or 1: a run is one process", value=per_run["gpus"])
    memory, hours = per_run.get("memory"), per_run.get("hours")
    if memory is not None and not (isinstance(memory, str) and _MEMORY.fullmatch(memory)):
        raise ConfigError("per_run.memory is a number and K, M, G or T", value=memory, fix="'16G'")
    if hours is not None and not (_is_real(hours) and 0 < hours < math.inf):
        raise ConfigError("per_run.hours is above 0", value=hours)


def _check_budget(study: StudyConfig) -> None:
    if study.budget is None:
        return
    if study.budget not in BUDGETS:
        raise ConfigError(
            "a budget is of one kind", value=study.budget, fix=near(str(study.budget), BUDGETS)
        )
    if study.space or study.trials:
        raise ConfigError(
            "budget is for comparisons, whose methods it holds to one cost",
            value=study.budget,
            fix="use `python sweeps/run.py compare ... --budget KIND`",
        )


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


def _check_teachers(study: StudyConfig) -> None:
    """A study's teachers are those that it trains: one, or one for each final seed."""
    if study.teacher is None:
        if study.own_teachers:
            raise ConfigError(
                "teacher_seeds are of teachers that the study trains, and a checkpoint that a "
                "config names is one teacher",
                value=study.teacher_seeds,
                fix="name the teacher's config (teacher=dict(config=..., option=...)), or leave "
                "teacher_seeds out",
            )
        return
    _check_options("teacher.options", study.teacher["options"])
    option = study.teacher["option"]
    if option in study.options:
        raise ConfigError(
            f"the study trains its teacher, and options name a checkpoint for {option}",
            value=study.options[option],
            fix="leave that option out, or set teacher=None to use the checkpoint",
        )
    if study.own_teachers and study.teacher_seeds != study.final_seeds:
        raise ConfigError(
            "teacher_seeds is 1, or final_seeds, so that each seed has a teacher of its own: "
            "differences that share one of several are not independent",
            value=study.teacher_seeds,
            fix=f"set it to {study.final_seeds}, or to 1",
        )


def _check_arms(study: StudyConfig) -> None:
    for key in NAMED_OPTIONS:
        arms = getattr(study, key)
        if not isinstance(arms, dict):
            raise ConfigError(f"{key} must be a dict of name -> options", value=arms)
        for name, options in arms.items():
            _check_name(f"{key}: a name", name)
            if name in RESERVED or (key != "arms" and name in study.arms):
                raise ConfigError(f"{key}: the name is taken", value=name)
            _check_options(f"{key}.{name}", options)


def _check_parts(study: StudyConfig) -> None:
    """A design has its runs and no others, all with equal seeds and as they are."""
    if study.parts == {}:
        return
    added = [key for key in ("tune", "max_seeds", "budget") if getattr(study, key)]
    runs = study.parts if isinstance(study.parts, dict) else {}
    whole = list(runs) == list(study.reference_arms) and all(
        isinstance(on, list) for on in runs.values()
    )
    if added or not whole:
        raise ConfigError(
            "parts are those of a component study, which trains the runs of one design as they "
            "are, with equal seeds",
            value=added or study.parts,
            fix="use `python sweeps/run.py compare ... --factors A,B` without these keys",
        )


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
    check_keys(wandb, _WANDB_KEYS, "wandb")
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


def check_keys(values: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{what} has no such key", value=key, fix=near(str(key), known))


def _check_name(what: str, value: Any) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(f"{what} is made of letters, digits, _ and -", value=value)


def check_number(key: str, value: Any, low: int) -> None:
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
