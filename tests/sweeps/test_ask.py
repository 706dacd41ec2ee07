import optuna
import pytest

from sweeps.ask import SAME_AS, Seen, ask, live, own_trials, propose, settle, tell
from sweeps.space import suggest
from sweeps.storage import open_study
from sweeps.study_file import load_study

STATES = optuna.trial.TrialState
FOUR = {"a": suggest.categorical([0, 1]), "b": suggest.categorical([0, 1])}


@pytest.fixture
def study(study_file, tmp_path):
    def opened(**keys):
        config = load_study(study_file, {"space": FOUR, "start_points": {}, **keys})
        return config, open_study(config, tmp_path)

    return opened


@pytest.mark.parametrize("kind", ["TPESampler", "GridSampler", "BruteForceSampler", "QMCSampler"])
@pytest.mark.parametrize("seed", range(3))
def test_a_finite_space_is_tried_once_and_to_its_end(study, kind, seed):
    config, known = study(**{"sampler.type": kind, "seed": seed, "sampler_startup": 2})
    points = []
    while (proposal := ask(config, known)) is not None:
        points.append(tuple(proposal.parameters.values()))
        tell(known, proposal.trial, STATES.COMPLETE, float(sum(points[-1])))
    assert sorted(points) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for trial in known.trials:
        if SAME_AS in trial.user_attrs:
            assert trial.value == known.trials[trial.user_attrs[SAME_AS]].value


def test_a_space_of_rare_points_is_used_up_too(study):
    many = suggest.choice(common=0, rare={"n": suggest.int(1, 12)})
    config, known = study(space={"a": many}, **{"sampler.type": "RandomSampler"})
    count = 0
    while (proposal := ask(config, known)) is not None:
        tell(known, proposal.trial, STATES.COMPLETE, 1.0)
        count += 1
    assert count == 13


def repeat(known, config, first, **fixed):
    known.enqueue_trial(dict(first.trial.params), **fixed)
    return propose(config, known, known.ask())


def test_a_repeat_of_a_live_trial_takes_what_becomes_of_it(study):
    config, known = study()
    first = ask(config, known)
    assert repeat(known, config, first) is None
    assert repeat(known, config, first) is None
    assert [t.state for t in known.trials] == [STATES.RUNNING] * 3
    tell(known, first.trial, STATES.COMPLETE, 7.0)
    assert [(t.state, t.value) for t in known.trials] == [(STATES.COMPLETE, 7.0)] * 3
    assert [t.number for t in own_trials(known)] == [0]


def test_a_repeat_of_a_pruned_trial_is_as_good_as_it_was(study):
    config, known = study()
    first = ask(config, known)
    for step, value in ((1, 3.0), (2, 5.0)):
        first.trial.report(value, step)
    tell(known, first.trial, STATES.PRUNED)
    assert repeat(known, config, first) is None
    assert known.trials[1].state == STATES.PRUNED
    assert known.trials[1].intermediate_values == {2: 5.0}


def test_after_a_kill_between_two_lines(study):
    config, known = study()
    first = ask(config, known)
    known.enqueue_trial(dict(first.trial.params))
    cut = known.ask()  # it has chosen nothing yet
    assert propose(config, known, live(known, known.trials[cut.number])) is None
    known.tell(0, 4.0)  # and the repeat was not told
    config, known = study()
    settle(known)
    assert known.trials[1].value == 4.0


def test_an_arm_is_run_under_its_own_name(study):
    config, known = study()
    first = ask(config, known)
    again = repeat(known, config, first, user_attrs={"arm": "published"})
    assert again is not None
    assert again.parameters == first.parameters


@pytest.mark.parametrize(("at_once", "known_ones"), [(1, 4), (2, 3), (3, 2), (9, 0)])
def test_a_pruner_sees_what_was_told_when_its_trial_was_asked_for(at_once, known_ones):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=known_ones or 1, n_warmup_steps=0)
    known = optuna.create_study(direction="maximize", pruner=pruner)
    for _ in range(4):
        trial = known.ask()
        trial.report(1.0, step=1)
        known.tell(trial, 1.0)
    trial = known.ask()
    seen = Seen(known, trial.number, at_once=at_once)
    trial.report(0.0, step=1)
    later = known.ask()  # a trial beside it, which ends first
    later.report(1.0, step=1)
    known.tell(later, 1.0)
    assert [t.number for t in seen.get_trials()] == [*range(known_ones), trial.number]
    assert seen.should_prune() == (known_ones > 0)  # as many complete ones as it wants
    pruner._n_startup_trials = known_ones + 1
    assert not seen.should_prune()
