"""What to try next: in flows Optuna's study, out flow trials whose runs are not known yet.

All trials have one seed, so two of equal parameters are one run bit by bit. A proposal of what was
tried, or is being tried, is told the value that is known, and another one is asked for; so every
run of the budget is spent on a new point. Such a trial names the other one in ``same_as``.
"""

from __future__ import annotations

import json
from collections.abc import Container
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fourierkd.records import Options, Parameters
from sweeps.points import resolve, size
from sweeps.samplers import make_sampler
from sweeps.study import StudyConfig

if TYPE_CHECKING:
    import optuna

SAME_AS = "same_as"  # of a trial that repeats another one: that one's number
RETRY_OF = "retry_of"  # of a trial that is another one tried again: that one's number
PATIENCE = 20  # known points in a row, after which points are drawn at random
MOST_KNOWN = 2000  # known points in a row, after which the search ends


class Proposal(NamedTuple):
    """A trial that is to be run, its options and its parameters (short name -> value)."""

    trial: optuna.Trial
    options: Options
    parameters: Parameters


class Seen:
    """Optuna's study as the pruner of one trial may see it: that trial, and the trials up to the
    ``at_once``-th before it, which are all that was told when it was asked for.
    """

    def __init__(self, study: optuna.Study, number: int, *, at_once: int) -> None:
        self._study, self._number = study, number
        before = [trial.number for trial in own_trials(study) if trial.number < number]
        self._last = before[-at_once] if len(before) >= at_once else -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[optuna.trial.FrozenTrial]:
        """As Optuna's own."""
        trials = self._study.get_trials(deepcopy, states)
        return [t for t in trials if t.number <= self._last or t.number == self._number]

    def should_prune(self) -> bool:
        """Whether the study's pruner would end the trial."""
        trial = self._study.get_trials(deepcopy=False)[self._number]
        return self._study.pruner.prune(cast("optuna.Study", self), trial)


def own_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that have a run: neither a repeat of another one, nor still to be started."""
    return [trial for trial in _started(study) if SAME_AS not in trial.user_attrs]


def ask(config: StudyConfig, study: optuna.Study) -> Proposal | None:
    """A trial of a new point; None where the space is used up, or nothing new is proposed."""
    import optuna

    while (known := _repeats_in_a_row(study)) < MOST_KNOWN:
        waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        if not waiting and len({_key(t) for t in own_trials(study)}) >= size(config.space):
            return None
        number = len(_started(study))
        study.sampler = (
            make_sampler(config, number)
            if known < PATIENCE
            else optuna.samplers.RandomSampler(seed=number)
        )
        proposal = propose(config, study, study.ask())
        if proposal is not None:
            return proposal
    return None


def propose(config: StudyConfig, study: optuna.Study, trial: optuna.Trial) -> Proposal | None:
    """Let ``trial`` choose; None where an earlier one chose the same, whose value it then takes."""
    options, parameters = resolve(config.space, trial)
    key = _key(trial)
    same = [t for t in own_trials(study) if t.number < trial.number and _key(t) == key]
    # an arm's runs have a name of their own
    if not same or "arm" in trial.user_attrs or RETRY_OF in trial.user_attrs:
        return Proposal(trial, options, parameters)
    trial.set_user_attr(SAME_AS, same[-1].number)
    settle(study)
    return None


def live(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> optuna.Trial:
    """A trial that was being run when the study ended, to go on with."""
    import optuna

    return optuna.trial.Trial(study, trial._trial_id)


def tell(
    study: optuna.Study,
    trial: optuna.Trial | optuna.trial.FrozenTrial,
    state: optuna.trial.TrialState,
    value: float | None = None,
) -> None:
    """End a trial, and with it those that repeat it."""
    _end(study, trial.number, state, value)
    settle(study)


def settle(study: optuna.Study) -> None:
    """Tell every open repeat what became of the trial that it repeats, if that has ended."""
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        original = trial.user_attrs.get(SAME_AS)
        if trial.state.is_finished() or original is None:
            continue
        ended = trials[original]
        if not ended.state.is_finished():
            continue
        if ended.state.name == "PRUNED" and ended.intermediate_values:  # how good it was so far
            step = max(ended.intermediate_values)
            live(study, trial).report(ended.intermediate_values[step], step)
        _end(study, trial.number, ended.state, ended.value)


def _end(
    study: optuna.Study, number: int, state: optuna.trial.TrialState, value: float | None
) -> None:
    import optuna

    # After a trial some samplers stop `study.optimize`, which is not what runs here.
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.tell(number, value if state.name == "COMPLETE" else None, state=state)


def _started(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name != "WAITING"]


def _repeats_in_a_row(study: optuna.Study) -> int:
    """How many of the newest trials repeat older ones."""
    count = 0
    for trial in reversed(_started(study)):
        if SAME_AS not in trial.user_attrs:
            break
        count += 1
    return count


def _key(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    return json.dumps(trial.params, sort_keys=True)
