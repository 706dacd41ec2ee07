"""The search space: config options with ``suggest`` nodes in place of values.

In flows a dict of dotted option -> value or node, and a trial; out flow the options of one run
config and the parameters that the trial chose. A choice may hold further nodes, so a mask kind
brings its own parameters along, and a method the options that it can be tuned by.

A parameter is named by its option alone, whatever stands beside it: ``<loss>.<key>`` for what
belongs to a loss, else the option itself (``parameter_name``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fourierkd.errors import ConfigError, near
from fourierkd.methods import method_label

Space = Mapping[str, Any]
METHOD = "method"  # the option that a method is chosen by
_PLAIN = (bool, int, float, str, type(None))


class SuggestsValues(Protocol):
    """What this module needs of ``optuna.Trial`` (or ``FixedTrial``)."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


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
            config is known, as a method is tuned by what its pair has (``sweeps.study``).
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
_NODES = (Float, Int, Categorical, Choice, Methods)


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
    names = [n for key, value in space.items() for n, _ in _nodes(value, parameter_name(key))]
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


def _chooses_methods(key: str, value: Any) -> bool:
    """Whether a value that is not ``suggest.method`` itself holds it, or a node in its place."""
    nodes = [node for _, node in _nodes(value, key)]
    return any(isinstance(node, Methods) for node in nodes) or (key == METHOD and bool(nodes))


def parameter_name(option: str) -> str:
    """The name of what is searched at an option: it does not depend on what else is searched.

    >>> parameter_name("model.losses.pkd.loss.loss_weight"), parameter_name("model.losses.iou")
    ('pkd.loss_weight', 'iou')
    >>> parameter_name("model.losses.pkd.connector"), parameter_name("optim_wrapper.optimizer.lr")
    ('pkd.connector', 'optim_wrapper.optimizer.lr')
    """
    found = re.fullmatch(r"model\.losses\.([^.]+)(?:\.loss(?=\.|$))?(?:\.(.+))?", option)
    return option if found is None else ".".join(part for part in found.groups() if part)


def common_parameters(space: Space) -> list[str]:
    """Names of the parameters that every trial has, whatever it chooses."""

    def outer(value: Any, name: str) -> list[str]:
        if isinstance(value, _NODES):
            return [name]
        return [n for part, item in _items(value) for n in outer(item, f"{name}.{part}")]

    return [name for key, value in space.items() for name in outer(value, parameter_name(key))]


def resolve(space: Space, trial: SuggestsValues) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let ``trial`` fill in every node that its own choices make active.

    Returns:
        (options, parameters): dotted option -> value for the run config, and name -> value.

    Example:
        >>> import optuna
        >>> space = {"mask": suggest.choice(off=None, low=dict(cutoff=suggest.float(0.1, 1)))}
        >>> resolve(space, optuna.trial.FixedTrial({"mask": "low", "mask.low.cutoff": 0.5}))
        ({'mask': {'cutoff': 0.5}}, {'mask': 'low', 'mask.low.cutoff': 0.5})
    """
    parameters: dict[str, Any] = {}
    options = {}
    for key, value in space.items():
        chosen = _fill(value, parameter_name(key), trial, parameters)
        options[key] = chosen
        if isinstance(value, Methods):
            options[key] = value.files.get(chosen, chosen)
            for option, (node, _) in value.of(chosen).items():
                options[option] = _fill(node, parameter_name(option), trial, parameters)
    return options, parameters


def match(space: Space, options: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The parameters with which ``resolve`` gives ``options``, so that an arm can be a trial.

    Where ``options`` name a method, what they leave open has the method's own values.

    Returns:
        (parameters, ""), or (None, why the options are outside of the space).
    """
    methods = space.get(METHOD)
    if isinstance(methods, Methods):
        known = {methods.files.get(name, name): name for name in methods.tunable}
        name = known.get(options.get(METHOD, ""), "")
        if not name:
            return None, f"{METHOD}={options.get(METHOD)!r} is outside of the space"
        options = {**options, METHOD: name}
        tunable = methods.of(name)
        space = {**space, **{option: node for option, (node, _) in tunable.items()}}
        options = {**{option: own for option, (_, own) in tunable.items()}, **options}
    for key in options:
        if key not in space:
            return None, f"{key} is not in the space"
    parameters: dict[str, Any] = {}
    for key, node in space.items():
        if key not in options:
            return None, f"{key} is not given"
        if not _match(node, options[key], parameter_name(key), parameters):
            return None, f"{key}={options[key]!r} is outside of the space"
    return parameters, ""


def branches(space: Space, tried: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Parameters of trials that together take every option of every choice once.

    A sampler that starts by drawing at random leaves a rare branch (a mask of one kind in a loss of
    one kind) out of a small study more often than not, and a branch that is drawn once at a bad
    place is not looked at again. So every range stands at its middle, the logarithm's where it is
    searched so; values of ``suggest.categorical`` are left to the sampler.

    Args:
        tried: parameters of trials that are there anyway; what they take is not taken again.

    Example:
        >>> mask = suggest.choice(low=dict(cutoff=suggest.float(0.1, 1)), high=dict(cutoff=0.5))
        >>> space = {"loss": suggest.choice(plain=0, masked=dict(mask=mask))}
        >>> [branch.get("loss.masked.mask") for branch in branches(space)]
        [None, 'low', 'high']
        >>> branches(space, tried=[{"loss": "plain"}])[0]
        {'loss': 'masked', 'loss.masked.mask': 'low', 'loss.masked.mask.low.cutoff': 0.55}
    """
    covered = {pair for parameters in tried for pair in parameters.items()}
    found = []
    for branch in _side_by_side([_branches(v, parameter_name(k)) for k, v in space.items()]):
        if not covered.issuperset(branch.items()):
            covered.update(branch.items())
            middles = [_middles(v, parameter_name(k), branch) for k, v in space.items()]
            found.append({**branch, **{n: m for part in middles for n, m in part.items()}})
    return found


def size(value: Any) -> float:
    """How many points a space (or a part of it) has; inf where a real number has no step.

    Example:
        >>> masked = dict(cutoff=suggest.float(0, 1, step=0.5))
        >>> size({"loss": suggest.choice(plain=0, masked=masked)})
        4
    """
    if isinstance(value, Choice):
        return sum(size(item) for item in value.values.values())
    if isinstance(value, Methods):
        return sum(math.prod(size(t.node) for t in value.of(n).values()) for n in value.tunable)
    if isinstance(value, _NODES):
        return len(_values(value)) if _finite(value) else math.inf
    return math.prod(size(item) for _, item in _items(value))


def choices(space: Space) -> dict[str, list[Any]]:
    """The values that each parameter of a finite space can have, by its name."""
    return {
        name: _values(node)
        for key, value in space.items()
        for name, node in _nodes(value, parameter_name(key))
    }


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


def _nodes(value: Any, name: str) -> list[tuple[str, Any]]:
    """Names and nodes of all parameters that ``value`` may bring."""
    own = [(name, value)] if isinstance(value, _NODES) else []
    if isinstance(value, Methods):
        for method in value.tunable:
            nodes = [
                found
                for option, (node, _) in value.of(method).items()
                for found in _nodes(node, parameter_name(option))
            ]
            own += [found for found in nodes if found not in own]  # what methods share is one
        return own
    items = value.values if isinstance(value, Choice) else value
    return own + [n for part, item in _items(items) for n in _nodes(item, f"{name}.{part}")]


def _finite(node: Any) -> bool:
    return not isinstance(node, Float) or node.step is not None


def _values(node: Any) -> list[Any]:
    """All values of a node; a range's as Optuna has them: from ``low`` in steps up to ``high``."""
    if isinstance(node, Choice):
        return list(node.values)
    if isinstance(node, Methods):
        return list(node.tunable)
    if isinstance(node, Categorical):
        return list(node.choices)
    step = node.step or 1
    return [node.low + i * step for i in range(int((node.high - node.low) / step + 1e-8) + 1)]


def _branches(value: Any, name: str) -> list[dict[str, Any]]:
    """One dict for each leaf of the tree of choices in ``value``; none where it holds no choice."""
    if isinstance(value, Choice):
        return [
            {name: key, **inner}
            for key, item in value.values.items()
            for inner in _branches(item, f"{name}.{key}") or [{}]
        ]
    if isinstance(value, Methods):
        return [
            {name: method, **inner}
            for method in value.tunable
            for inner in _side_by_side(
                [_branches(t.node, parameter_name(o)) for o, t in value.of(method).items()]
            )
            or [{}]
        ]
    return _side_by_side([_branches(item, f"{name}.{part}") for part, item in _items(value)])


def _middles(value: Any, name: str, chosen: Mapping[str, Any]) -> dict[str, float]:
    """The middle of every range in ``value`` that the choices ``chosen`` make active."""
    if isinstance(value, Float | Int):
        return {name: _middle(value)}
    if isinstance(value, Choice):
        key = chosen.get(name)
        return _middles(value.values[key], f"{name}.{key}", chosen) if key is not None else {}
    if isinstance(value, Methods):
        tunable = value.of(chosen[name])
        return {
            middle: number
            for option, (node, _) in tunable.items()
            for middle, number in _middles(node, parameter_name(option), chosen).items()
        }
    parts = [_middles(item, f"{name}.{part}", chosen) for part, item in _items(value)]
    return {name: middle for part in parts for name, middle in part.items()}


def _middle(node: Float | Int) -> float:
    middle = math.sqrt(node.low * node.high) if node.log else (node.low + node.high) / 2
    if node.step is not None:
        middle = node.low + round((middle - node.low) / node.step) * node.step
    return round(middle) if isinstance(node, Int) else middle


def _side_by_side(lists: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The i-th of all together; a shorter list starts again."""
    lists = [some for some in lists if some]
    return [
        {name: value for some in lists for name, value in some[i % len(some)].items()}
        for i in range(max(map(len, lists), default=0))
    ]


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _fill(value: Any, name: str, trial: SuggestsValues, parameters: dict[str, Any]) -> Any:
    if isinstance(value, Float):
        chosen: Any = trial.suggest_float(
            name, value.low, value.high, step=value.step, log=value.log
        )
    elif isinstance(value, Int):
        chosen = trial.suggest_int(name, value.low, value.high, step=value.step, log=value.log)
    elif isinstance(value, Categorical):
        chosen = trial.suggest_categorical(name, list(value.choices))
    elif isinstance(value, Methods):
        chosen = trial.suggest_categorical(name, list(value.tunable))
    elif isinstance(value, Choice):
        chosen = trial.suggest_categorical(name, list(value.values))
        parameters[name] = chosen
        return _fill(value.values[chosen], f"{name}.{chosen}", trial, parameters)
    elif isinstance(value, Mapping):
        return {k: _fill(v, f"{name}.{k}", trial, parameters) for k, v in value.items()}
    elif isinstance(value, list | tuple):
        return [_fill(v, f"{name}.{i}", trial, parameters) for i, v in enumerate(value)]
    else:
        return value
    parameters[name] = chosen
    return chosen


def _match(node: Any, value: Any, name: str, parameters: dict[str, Any]) -> bool:
    if isinstance(node, Float | Int):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not node.low <= value <= node.high:
            return False
        if isinstance(node, Int) and value != int(value):
            return False
        if node.step is not None:
            steps = (value - node.low) / node.step
            if abs(steps - round(steps)) > 1e-8:
                return False
        parameters[name] = value
        return True
    if isinstance(node, Methods):
        parameters[name] = value
        return value in node.tunable
    if isinstance(node, Categorical):
        if not any(value == c and type(value) is type(c) for c in node.choices):
            return False
        parameters[name] = value
        return True
    if isinstance(node, Choice):
        for key, item in node.values.items():
            inner: dict[str, Any] = {}
            if _match(item, value, f"{name}.{key}", inner):
                parameters.update({name: key, **inner})
                return True
        return False
    if isinstance(node, Mapping):
        return (
            isinstance(value, Mapping)
            and set(value) == set(node)
            and all(_match(v, value[k], f"{name}.{k}", parameters) for k, v in node.items())
        )
    if isinstance(node, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(node)
            and all(
                _match(n, v, f"{name}.{i}", parameters)
                for i, (n, v) in enumerate(zip(node, value, strict=True))
            )
        )
    return bool(node == value)
