"""The search space: config options with ``suggest`` nodes in place of values.

In flows what a study's author writes, out flows a space that can be searched (``sweeps.points``). A
choice may hold further nodes, so a mask kind brings its own parameters along, and a method the
options that it can be tuned by.

A parameter is named by its option alone, whatever stands beside it: ``<loss>.<key>`` for what
belongs to a loss, else the option itself (``parameter_name``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fourierkd.errors import ConfigError, near
from fourierkd.methods import method_label

Space = Mapping[str, Any]
METHOD = "method"  # the option that a method is chosen by
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]."""

    low: float
    high: float
    log: bool
    step: float | None


@dataclass(frozen=True)
class Int:
    """A whole number in [low, high]."""

    low: int
    high: int
    log: bool
    step: int


@dataclass(frozen=True)
class Categorical:
    """One of several plain values."""

    choices: tuple[Any, ...]


@dataclass(frozen=True)
class Choice:
    """One of several named values of any form, which may hold nodes of their own."""

    values: dict[str, Any]


class Tunable(NamedTuple):
    """What a method can be tuned by at one option: a value or node, and the method's own value."""

    node: Any
    own: Any


@dataclass(frozen=True)
class Methods:
    """One of several methods, each with options of its own.

    Attributes:
        tunable: method -> dotted option -> what can be tuned there; None until the study's run
            config is known, as a method is tuned by what its pair has (``sweeps.study_file``).
        files: method -> what a run is told, where that is another word: a file of the user's.
    """

    tunable: dict[str, dict[str, Tunable] | None]
    files: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, Tunable]:
        """What ``name`` can be tuned by."""
        found = self.tunable[name]
        if found is None:
            raise ConfigError("a space with suggest.method is read by load_study", value=name)
        return found


Node = Float | Int | Categorical | Choice | Methods
NODES = (Float, Int, Categorical, Choice, Methods)


def _float(low: float, high: float, *, log: bool = False, step: float | None = None) -> Float:
    """A real number in [low, high]: uniform, uniform in its logarithm, or on a grid of ``step``."""
    _check_range("float", low, high, log, step)
    return Float(float(low), float(high), bool(log), None if step is None else float(step))


def _int(low: int, high: int, *, log: bool = False, step: int = 1) -> Int:
    """A whole number in [low, high], both included."""
    for name, value in (("low", low), ("high", high), ("step", step)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"suggest.int: {name} must be a whole number", value=value)
    _check_range("int", low, high, log, None if step == 1 else step)
    return Int(low, high, bool(log), step)


def _categorical(choices: Sequence[Any]) -> Categorical:
    """One of ``choices``: numbers, texts, booleans or None."""
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise ConfigError(
            "suggest.categorical takes a list of values", value=choices, fix="e.g. [True, False]"
        )
    for value in choices:
        if not isinstance(value, _PLAIN):
            raise ConfigError(
                "suggest.categorical takes numbers, texts, booleans and None",
                value=value,
                fix="give other values names: suggest.choice(name=value, ...)",
            )
    if len({repr(value) for value in choices}) < len(choices):
        raise ConfigError("suggest.categorical takes each value once", value=list(choices))
    return Categorical(tuple(choices))


def _choice(**values: Any) -> Choice:
    """One of several named values; a value may be a dict or list that holds nodes."""
    if not values:
        raise ConfigError(
            "suggest.choice needs a named value",
            fix='e.g. suggest.choice(off=None, low_pass=dict(type="LowPass", cutoff=0.5))',
        )
    return Choice(dict(values))


def _method(*names: str) -> Methods:
    """One of several methods (``fourierkd methods`` lists them), each with its own space."""
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError("suggest.method takes names of methods", value=names)
    short = [method_label(name) for name in names]
    if len(set(short)) < len(short):
        raise ConfigError("suggest.method takes each method once", value=names)
    files = {stem: name for stem, name in zip(short, names, strict=True) if stem != name}
    return Methods(dict.fromkeys(short), files)


def _mask(*, all_pass: bool = False) -> Choice:
    """A frequency mask of each kind that lets one band pass, its edges over the whole range.

    Args:
        all_pass: also the one that lets everything pass.
    """
    edge = _float(0.1, 0.7)
    return _choice(
        **({"all_pass": {"type": "AllPass"}} if all_pass else {}),
        low_pass={"type": "LowPass", "cutoff": edge},
        high_pass={"type": "HighPass", "cutoff": edge},
        band_pass={"type": "BandPass", "low": _float(0.1, 0.4), "high": _float(0.5, 0.9)},
    )


class _Suggest:
    """The nodes of a search space, as in ``suggest.float(0, 1)``."""

    float = staticmethod(_float)
    int = staticmethod(_int)
    categorical = staticmethod(_categorical)
    choice = staticmethod(_choice)
    method = staticmethod(_method)
    mask = staticmethod(_mask)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and inspect probe for these
            raise AttributeError(name)
        known = ("float", "int", "categorical", "choice", "method", "mask")
        raise ConfigError("suggest has no such node", value=name, fix=near(name, known))


suggest = _Suggest()


def check_space(space: Space) -> None:
    """Refuse a space that no study can search.

    Raises:
        ConfigError: no node at all, one option inside another, a value that JSON cannot hold, or
            two parameters of one name.
    """
    if not isinstance(space, Mapping):
        raise ConfigError("space must be a dict of dotted option -> value", value=space)
    for key, value in space.items():
        _check_option(key, value, space)
    names = [n for key, value in space.items() for n, _ in nodes(value, parameter_name(key))]
    if not names:
        raise ConfigError(
            "a search space needs a suggest node",
            value=sorted(space),
            fix="e.g. suggest.float(0, 1)",
        )
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("two parameters have one name", value=name)
    try:
        json.dumps(describe(space), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"space must hold plain values only ({error})") from error


def _check_option(key: Any, value: Any, space: Space) -> None:
    if not isinstance(key, str) or not all(key.split(".")):
        raise ConfigError("a key of space is a dotted option", value=key)
    if not isinstance(value, Methods) and _chooses_methods(key, value):
        raise ConfigError(
            f'suggest.method stands at the option "{METHOD}", and no other node does', value=key
        )
    if isinstance(value, Methods) and key != METHOD:
        raise ConfigError(f'suggest.method stands at the option "{METHOD}"', value=key)
    for other in space:
        if other != key and other.startswith(key + "."):
            raise ConfigError(
                f"space holds {key} and an option inside it",
                value=other,
                fix=f"put the node into the value of {key}",
            )


def _chooses_methods(key: str, value: Any) -> bool:
    """Whether a value that is not ``suggest.method`` itself holds it, or a node in its place."""
    inside = [node for _, node in nodes(value, key)]
    return any(isinstance(node, Methods) for node in inside) or (key == METHOD and bool(inside))


def parameter_name(option: str) -> str:
    """The name of what is searched at an option: it does not depend on what else is searched.

    >>> parameter_name("model.losses.pkd.loss.loss_weight"), parameter_name("model.losses.iou")
    ('pkd.loss_weight', 'iou')
    >>> parameter_name("model.losses.pkd.connector"), parameter_name("optim_wrapper.optimizer.lr")
    ('pkd.connector', 'optim_wrapper.optimizer.lr')
    """
    found = re.fullmatch(r"model\.losses\.([^.]+)(?:\.loss(?=\.|$))?(?:\.(.+))?", option)
    return option if found is None else ".".join(part for part in found.groups() if part)


def describe(value: Any) -> Any:
    """The space in JSON's types, each node as ``{"suggest": kind, ...}``: it identifies a study."""
    if isinstance(value, Choice):
        return {"suggest": "choice", "values": describe(value.values)}
    if isinstance(value, Methods):
        tunable = {
            name: {option: [describe(node), own] for option, (node, own) in value.of(name).items()}
            for name in value.tunable
        }
        return {"suggest": "method", "tunable": tunable}
    if isinstance(value, Categorical):
        return {"suggest": "categorical", "choices": list(value.choices)}
    if isinstance(value, Float | Int):
        return {"suggest": type(value).__name__.lower(), **vars(value)}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return value


def _check_range(kind: str, low: float, high: float, log: bool, step: float | None) -> None:
    where = f"suggest.{kind}"
    for name, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ConfigError(f"{where}: {name} must be a finite number", value=value)
    if low >= high:
        raise ConfigError(
            f"{where}: low must be below high",
            value=(low, high),
            fix=f"use {where}({high}, {low})" if low > high else "use the value itself",
        )
    if log and low <= 0:
        raise ConfigError(
            f"{where}: log=True needs low > 0", value=low, fix="raise low or drop log"
        )
    if step is not None and (log or not 0 < step <= high - low):
        raise ConfigError(
            f"{where}: step must be in (0, high - low], without log",
            value=step,
            fix="drop one of them",
        )


def nodes(value: Any, name: str) -> list[tuple[str, Any]]:
    """Names and nodes of all parameters that ``value`` may bring."""
    own = [(name, value)] if isinstance(value, NODES) else []
    if isinstance(value, Methods):
        for method in value.tunable:
            inner = [
                found
                for option, (node, _) in value.of(method).items()
                for found in nodes(node, parameter_name(option))
            ]
            own += [found for found in inner if found not in own]  # what methods share is one
        return own
    parts = items(value.values if isinstance(value, Choice) else value)
    return own + [n for part, item in parts for n in nodes(item, f"{name}.{part}")]


def items(value: Any) -> list[tuple[Any, Any]]:
    """What a dict or list holds, by key or number."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []
