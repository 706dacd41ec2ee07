"""Points of a search space: in flows a space, out flow its values, one by one or counted.

A trial fills a space's nodes in (``resolve``), an arm is found in it again (``match``), a study
begins with a point of every branch (``branches``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fourierkd.records import Options, Parameters
from sweeps.space import (
    METHOD,
    NODES,
    Categorical,
    Choice,
    Float,
    Int,
    Methods,
    Space,
    items,
    nodes,
    parameter_name,
)


class SuggestsValues(Protocol):
    """What this module needs of ``optuna.Trial`` (or ``FixedTrial``)."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


def resolve(space: Space, trial: SuggestsValues) -> tuple[Options, Parameters]:
    """Let ``trial`` fill in every node that its own choices make active.

    Returns:
        (options, parameters): dotted option -> value for the run config, and name -> value.

    Example:
        >>> import optuna
        >>> from sweeps.space import suggest
        >>> space = {"mask": suggest.choice(off=None, low=dict(cutoff=suggest.float(0.1, 1)))}
        >>> resolve(space, optuna.trial.FixedTrial({"mask": "low", "mask.low.cutoff": 0.5}))
        ({'mask': {'cutoff': 0.5}}, {'mask': 'low', 'mask.low.cutoff': 0.5})
    """
    parameters: Parameters = {}
    options = {}
    for key, value in space.items():
        chosen = _fill(value, parameter_name(key), trial, parameters)
        options[key] = chosen
        if isinstance(value, Methods):
            options[key] = value.files.get(chosen, chosen)
            for option, (node, _) in value.of(chosen).items():
                options[option] = _fill(node, parameter_name(option), trial, parameters)
    return options, parameters


def match(space: Space, options: Mapping[str, Any]) -> tuple[Parameters | None, str]:
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
    parameters: Parameters = {}
    for key, node in space.items():
        if key not in options:
            return None, f"{key} is not given"
        if not _match(node, options[key], parameter_name(key), parameters):
            return None, f"{key}={options[key]!r} is outside of the space"
    return parameters, ""


def branches(space: Space, tried: Sequence[Mapping[str, Any]] = ()) -> list[Parameters]:
    """Parameters of trials that together take every option of every choice once.

    A sampler that starts by drawing at random leaves a rare branch (a mask of one kind in a loss of
    one kind) out of a small study more often than not, and a branch that is drawn once at a bad
    place is not looked at again. So every range stands at its middle, the logarithm's where it is
    searched so; values of ``suggest.categorical`` are left to the sampler.

    Args:
        tried: parameters of trials that are there anyway; what they take is not taken again.

    Example:
        >>> from sweeps.space import suggest
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
        >>> from sweeps.space import suggest
        >>> masked = dict(cutoff=suggest.float(0, 1, step=0.5))
        >>> size({"loss": suggest.choice(plain=0, masked=masked)})
        4
    """
    if isinstance(value, Choice):
        return sum(size(item) for item in value.values.values())
    if isinstance(value, Methods):
        return sum(math.prod(size(t.node) for t in value.of(n).values()) for n in value.tunable)
    if isinstance(value, NODES):
        return len(_values(value)) if _finite(value) else math.inf
    return math.prod(size(item) for _, item in items(value))


def choices(space: Space) -> dict[str, list[Any]]:
    """The values that each parameter of a finite space can have, by its name."""
    return {
        name: _values(node)
        for key, value in space.items()
        for name, node in nodes(value, parameter_name(key))
    }


def _fill(value: Any, name: str, trial: SuggestsValues, parameters: Parameters) -> Any:
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


def _match(node: Any, value: Any, name: str, parameters: Parameters) -> bool:
    """Whether ``value`` is one that ``node`` can give; its parameters are added."""
    if isinstance(node, Choice):
        return _match_choice(node, value, name, parameters)
    if isinstance(node, Float | Int | Methods | Categorical):
        parameters[name] = value
        return _holds(node, value)
    if isinstance(node, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(node):
            return False
        return all(_match(v, value[k], f"{name}.{k}", parameters) for k, v in node.items())
    if isinstance(node, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(node):
            return False
        pairs = enumerate(zip(node, value, strict=True))
        return all(_match(n, v, f"{name}.{i}", parameters) for i, (n, v) in pairs)
    return bool(node == value)


def _match_choice(node: Choice, value: Any, name: str, parameters: Parameters) -> bool:
    for key, item in node.values.items():
        inner: Parameters = {}
        if _match(item, value, f"{name}.{key}", inner):
            parameters.update({name: key, **inner})
            return True
    return False


def _holds(node: Float | Int | Methods | Categorical, value: Any) -> bool:
    """Whether a node without nodes inside can give ``value``."""
    if isinstance(node, Methods):
        return value in node.tunable
    if isinstance(node, Categorical):
        return any(value == choice and type(value) is type(choice) for choice in node.choices)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not node.low <= value <= node.high:
        return False
    if isinstance(node, Int) and value != int(value):
        return False
    steps = 0.0 if node.step is None else (value - node.low) / node.step
    return bool(abs(steps - round(steps)) <= 1e-8)


def _branches(value: Any, name: str) -> list[Parameters]:
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
    return _side_by_side([_branches(item, f"{name}.{part}") for part, item in items(value)])


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
    parts = [_middles(item, f"{name}.{part}", chosen) for part, item in items(value)]
    return {name: middle for part in parts for name, middle in part.items()}


def _middle(node: Float | Int) -> float:
    middle = math.sqrt(node.low * node.high) if node.log else (node.low + node.high) / 2
    if node.step is not None:
        middle = node.low + round((middle - node.low) / node.step) * node.step
    return round(middle) if isinstance(node, Int) else middle


def _side_by_side(lists: Sequence[list[Parameters]]) -> list[Parameters]:
    """The i-th of all together; a shorter list starts again."""
    lists = [some for some in lists if some]
    return [
        {name: value for some in lists for name, value in some[i % len(some)].items()}
        for i in range(max(map(len, lists), default=0))
    ]


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
