"""Which searches a study has: in flows its config, out flows what each of them searches.

A study has one, over its own space. A comparison that tunes its methods has one for each method
that has a space: with as many trials as every other, over what the method's own file says can be
tuned on this pair. A study is the case of one.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from fourierkd.errors import ConfigError
from fourierkd.methods import STUDENT_ALONE, read_method
from sweeps.fingerprint import roles
from sweeps.points import match
from sweeps.space import METHOD, Methods, Tunable, check_space, suggest
from sweeps.study import StudyConfig


class Searched(NamedTuple):
    """One search.

    Attributes:
        tunes: the method that it tunes; None: it is the study's one search.
        config: the study as this search sees it: its trials, space, arms and start points.
    """

    tunes: str | None
    config: StudyConfig

    @property
    def name(self) -> str:
        """Of Optuna's study."""
        return study_name(self.config.name, self.tunes)


def study_name(study: str, tunes: str | None) -> str:
    """The name of a search's study in Optuna's journal; names of studies hold no colon."""
    return study if tunes is None else f"{study}:{tunes}"


def run_name(name: str, tunes: str | None) -> str:
    """What stands for a trial in names of run folders: ``003``, or ``cwd_003`` of one of several
    searches.
    """
    return name if tunes is None else f"{tunes}_{name}"


def tuned_of(name: str) -> str | None:
    """The method that a search of ``study_name`` tunes."""
    return name.partition(":")[2] or None


def searches(config: StudyConfig) -> list[Searched]:
    """The searches of a study, in the order in which they are begun; none where nothing is tuned.

    The setting of a method's file is the arm, so the first trial, of its search.

    Raises:
        ConfigError: methods shall be tuned, and none has a space here, or one whose own setting
            lies outside of its space, so that it could not be chosen.
    """
    if config.trials:
        return [Searched(None, config)]
    if not config.tune:
        return []
    found = [
        _of_method(config, name, options[METHOD])
        for name, options in config.reference_arms.items()
        if set(options) == {METHOD} and _tunable(config, options[METHOD])
    ]
    if not found:
        raise ConfigError(
            "tuned are methods whose files have a space, and none of these has one on this pair",
            value=list(config.reference_arms),
            fix="name other methods, or leave --tune out",
        )
    return found


def _of_method(config: StudyConfig, name: str, told: str) -> Searched:
    """The search of one method; ``told``: what a run is told, which may be a file or a sum."""
    files = {} if told == name else {name: told}
    space = {METHOD: Methods({name: _tunable(config, told)}, files)}
    check_space(space)
    inside, why = match(space, {METHOD: told})
    if inside is None:
        raise ConfigError(
            f"a method that is tuned can keep its own setting, and of {name} {why}",
            fix="widen the space in its file, or leave --tune out",
        )
    own = dataclasses.replace(
        config,
        trials=config.tune,
        space=space,
        arms={name: {METHOD: told}},
        reference_arms={},
        start_points={},
        baseline=name,
    )
    return Searched(name, own)


def _tunable(config: StudyConfig, method: str) -> dict[str, Tunable]:
    if method == STUDENT_ALONE:
        return {}
    found = read_method(method).options(roles(config.config, config.options), suggest)
    return {option: Tunable(*pair) for option, pair in found.items()}
