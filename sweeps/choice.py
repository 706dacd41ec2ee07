"""What is trained after the trials: in flow a study, its trials and the results table, out flow
the candidates of the rung and the methods of the final runs.

Which trial is best is ``fourierkd.analysis.selection``'s to say, so that coordinator, report and
notebook agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fourierkd.records import Options, Parameters, Phase
from sweeps.points import match, resolve
from sweeps.searches import Searched, run_name
from sweeps.study import StudyConfig

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial


class Contender(NamedTuple):
    """What is trained again with fresh seeds.

    Attributes:
        name: ``method`` of its runs.
        folder: what stands for it in names of run folders.
        options: dotted options of a run.
        parameters: short name -> value, as far as the space can express it.
        trial, tunes: the trial that its runs are booked on, if any, and the method that it tunes.
    """

    name: str
    folder: str
    options: Options
    parameters: Parameters
    trial: int | None = None
    tunes: str | None = None


def rung_contenders(
    searched: Searched, table: pd.DataFrame, trials: list[FrozenTrial]
) -> list[Contender]:
    """The trials that are run again before one of them is chosen; none where nothing is to choose.

    Args:
        searched: the search.
        table: results with its trials.
        trials: Optuna's, by number.
    """
    from fourierkd.analysis.selection import of_search, shortlist

    (tunes, config), own = searched, of_search(table, searched.tunes)
    if not config.rung_seeds:
        return []
    numbers = shortlist(own, config.rung_trials, metric=config.measure)
    if len(numbers) < 2:
        return []
    methods = []
    for number in numbers:
        options, parameters = _resolved(config, trials[number])
        folder = run_name(f"t{number:03d}", tunes)
        methods.append(Contender(tunes or "rung", folder, options, parameters, number, tunes))
    return methods


def arm_contenders(config: StudyConfig, searches: Sequence[Searched] = ()) -> list[Contender]:
    """The methods of the final runs that do not wait for a search: arms and reference arms.

    Args:
        config: the study.
        searches: those of its reference arms that are tuned wait for theirs.
    """
    waiting = {searched.tunes for searched in searches}
    return [
        Contender(name, name, options, match(config.space, options)[0] or {})
        for name, options in (config.arms | config.reference_arms).items()
        if name not in waiting
    ]


def tuned_contender(
    searched: Searched, table: pd.DataFrame, trials: list[FrozenTrial]
) -> tuple[Contender | None, str]:
    """The method of the final runs that a search chose, else why there is none of its own.

    A method that a comparison tunes keeps its name. Else a chosen trial that equals an arm shares
    that arm's runs.

    Args:
        searched: the search.
        table: results with its trials and its rung.
        trials: Optuna's, by number.
    """
    from fourierkd.analysis.selection import TUNED, choose, of_search

    tunes, config = searched
    own = of_search(table, tunes)
    number = choose(own, metric=config.measure)
    if number is None:
        return None, "No trial has a value, so there is no tuned configuration."
    options, parameters = _resolved(config, trials[number])
    for arm in arm_contenders(config) if tunes is None else []:
        if arm.parameters == parameters:
            same = f"The chosen trial {number} is the arm {arm.name}"
            return None, f"{same}: its final runs stand for both."
    # The number is part of the folder's name: more trials may change the choice.
    name = tunes or TUNED
    return Contender(name, f"{name}_t{number:03d}", options, parameters), ""


def still_open(config: StudyConfig, table: pd.DataFrame) -> list[str]:
    """The methods of the final runs of which more seeds may say what they are against the
    baseline.
    """
    from fourierkd.analysis.comparison import open_pairs, scored_runs

    scores = scored_runs(table, config.metric, Phase.FINAL)[1]
    if config.baseline not in scores:
        return []
    return open_pairs(scores, config.baseline, direction=config.direction, margin=config.margin)


def _resolved(config: StudyConfig, trial: FrozenTrial) -> tuple[Options, Parameters]:
    import optuna

    return resolve(config.space, optuna.trial.FixedTrial(trial.params))
