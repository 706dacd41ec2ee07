"""Optuna's samplers and pruners by name: in flow ``dict(type=..., ...)``, out flow its objects.

Every argument of theirs can be given; a misspelt one is refused with the near one.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fourierkd.errors import ConfigError, near
from fourierkd.fingerprint import sha256
from sweeps.points import choices, size
from sweeps.space import Space
from sweeps.study import StudyConfig

if TYPE_CHECKING:
    import optuna

# Every argument is named, since Optuna's defaults change; None: prior, magic clip and weights as
# published.
TPE = {
    "n_ei_candidates": 24,
    "gamma": None,
    "weights": None,
    "multivariate": True,
    "group": True,
    "constant_liar": True,
}
# These number their points themselves, so every trial has the same seed.
COUNTING = ("GridSampler", "QMCSampler")
# These go through a finite space and need no trial of each branch.
EXHAUSTIVE = ("GridSampler", "BruteForceSampler")
LARGEST_GRID = 100_000
_OURS = ("seed", "search_space")  # of the study


def make_sampler(config: StudyConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of trial ``number``: each trial has a random stream of its own, so that a resumed
    study proposes what an uninterrupted one would.

    Raises:
        ConfigError: an unknown type or argument, a value that the sampler refuses, or a space that
            it cannot go through.
    """
    import optuna

    cls, arguments = _named(config.sampler, "sampler", optuna.samplers, "Sampler")
    for name in _OURS:
        if name in arguments:
            raise ConfigError(
                f"sampler.{name} is the study's", value=arguments[name], fix="drop it"
            )
    kind, known = cls.__name__, inspect.signature(cls).parameters
    drawn = int(sha256(f"{config.seed}/{number}".encode())[:8], 16)
    ours: dict[str, Any] = dict(TPE) if kind == "TPESampler" else {}
    ours["n_startup_trials"] = config.sampler_startup
    ours["seed"] = (
        config.seed % 2**32 if kind in COUNTING else drawn  # NumPy's range
    )
    if kind in EXHAUSTIVE and math.isinf(size(config.space)):
        raise ConfigError(
            f"{kind} goes through a finite space",
            value="a suggest.float without step",
            fix="give every suggest.float a step, or take another sampler",
        )
    if kind == "GridSampler":
        ours["search_space"] = _grid(config.space)
    ours = {name: value for name, value in ours.items() if name in known}
    sampler: optuna.samplers.BaseSampler = _made(cls, {**ours, **arguments}, "sampler")
    return sampler


def make_pruner(spec: dict[str, Any] | None) -> optuna.pruners.BasePruner:
    """The pruner of ``dict(type=<class of optuna.pruners>, ...)``; None: nothing is pruned.

    Raises:
        ConfigError: an unknown type or argument, or a value that the pruner refuses.
    """
    import optuna

    if spec is None:
        return optuna.pruners.NopPruner()
    cls, arguments = _named(spec, "pruner", optuna.pruners, "Pruner")
    if isinstance(arguments.get("wrapped_pruner"), dict):
        arguments["wrapped_pruner"] = make_pruner(arguments["wrapped_pruner"])
    pruner: optuna.pruners.BasePruner = _made(cls, arguments, "pruner")
    return pruner


def _named(spec: Any, key: str, module: Any, ending: str) -> tuple[type, dict[str, Any]]:
    """The class that ``spec`` names, and its arguments, each of which it has."""
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{key} must be a dict(type=..., ...)", value=spec)
    arguments = dict(spec)
    kind = arguments.pop("type", None)
    known = [n for n in dir(module) if n.endswith(ending) and n != f"Base{ending}"]
    if kind not in known:
        raise ConfigError(
            f"{key}.type is a class of {module.__name__}", value=kind, fix=near(str(kind), known)
        )
    cls = getattr(module, kind)
    names = list(inspect.signature(cls).parameters)
    for name in arguments:
        if name not in names:
            raise ConfigError(f"{kind} has no such argument", value=name, fix=near(name, names))
    return cls, arguments


def _made(cls: type, arguments: dict[str, Any], key: str) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return cls(**arguments)
        except (TypeError, ValueError, ImportError) as error:
            raise ConfigError(f"{key}: {cls.__name__}: {error}", value=arguments) from error


def _grid(space: Space) -> dict[str, list[Any]]:
    """The values of every parameter, also of those that exist for some choices only."""
    values = choices(space)
    points = math.prod(map(len, values.values()))
    if points > LARGEST_GRID:
        raise ConfigError(
            f"a grid has at most {LARGEST_GRID} points",
            value=points,
            fix="take BruteForceSampler, which leaves out what no choice makes active",
        )
    return values
