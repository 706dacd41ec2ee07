"""What is chosen and runs again: the rung, methods that share runs, trials without a value."""

import pytest
from tiny_study import LOSS, LUCKY, STATES, WEIGHT, executed, run_dirs, trials_of

from fourierkd.analysis import compare, load_results
from fourierkd.analysis.selection import choose, tuned_method
from fourierkd.analysis.tuning import study_from_table
from sweeps.space import suggest


@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_trials_run_again_and_the_best_mean_is_chosen(run_tiny, seed):
    work_dir = run_tiny(seed=seed, **LUCKY)
    trials = sorted(trials_of(work_dir), key=lambda t: -t.value)
    assert trials[0].user_attrs["arm"] == "published"  # at the search's seed
    runs = run_dirs(work_dir)
    seeds = [1000 * (seed + 1) + 900, 1000 * (seed + 1) + 901]
    assert sum(name.startswith("rung_") for name in runs) == 6
    means = {}
    for trial in trials[:3]:
        own = [runs[f"rung_t{trial.number:03d}_seed{s}"] for s in seeds]
        means[trial.number] = sum(run.read_result().best.value for run in own) / 2
        for run, s in zip(own, seeds, strict=True):
            request = run.read_request()
            assert (request.phase, request.method) == ("rung", "rung")
            assert (request.trial, request.seed) == (trial.number, s)
            assert request.parameters == trial.params
            assert request.options[WEIGHT] == trial.params["fourier.loss_weight"]
            assert request.test_split is None  # the choice sees train and val only
            assert request.wandb.job_type == "rung"
    chosen = max(means, key=means.get)
    assert chosen != trials[0].number
    finals = [name for name in runs if name.startswith("final_tuned_")]
    first = 1000 * (seed + 1)
    assert finals == [f"final_tuned_t{chosen:03d}_seed{first + i}" for i in (0, 1)]

    table = load_results(work_dir)
    assert (table.phase == "rung").sum() == 6
    assert choose(table) == chosen
    assert set(table[table.phase != "rung"].seed) == {seed, first, first + 1}
    finals = compare(table, baseline="student_alone")
    assert set(finals["n"]) == {2}
    assert "rung" not in set(finals["method"])
    assert len(study_from_table(table).trials) == 7


def test_two_study_seeds_share_no_seed_but_have_the_same_phases(run_tiny):
    names = [set(run_dirs(run_tiny(f"work_{s}", trials=4, seed=s))) for s in (0, 1)]
    fresh = [{n.rpartition("_seed")[2] for n in own if "_seed" in n} for own in names]
    assert fresh == [{"1000", "1001", "1900", "1901"}, {"2000", "2001", "2900", "2901"}]


@pytest.mark.parametrize("off", [{"rung_trials": 0}, {"rung_seeds": 0}, {"rung_trials": 1}])
def test_without_a_rung_the_best_value_is_chosen(run_tiny, off):
    work_dir = run_tiny(trials=5, **LUCKY, **off)
    runs = run_dirs(work_dir)
    assert not [name for name in runs if name.startswith("rung_")]
    # It is the arm, whose final runs stand for it.
    assert not [name for name in runs if name.startswith("final_tuned")]
    assert tuned_method(load_results(work_dir)) == "published"


def test_fewer_trials_than_the_rung_takes(run_tiny):
    two = run_dirs(run_tiny("two", trials=3, final_seeds=1))
    assert sum(name.startswith("rung_") for name in two) == 4
    one = run_dirs(run_tiny("one", trials=2, final_seeds=1))  # nothing to choose from
    assert sum(name.startswith("rung_") for name in one) == 0
    assert [name for name in one if "tuned" in name] == []


def test_a_chosen_arm_shares_its_final_runs(run_tiny):
    mask = {"type": "LowPass", "cutoff": 0.4}
    arm = {f"arms.published.{LOSS}.mask": mask, f"arms.published.{WEIGHT}": 3.0}
    work_dir = run_tiny(trials=5, **arm)
    finals = sorted(name for name in run_dirs(work_dir) if name.startswith("final"))
    methods = ("feature_l2", "published", "student_alone")
    assert finals == [f"final_{m}_seed{s}" for m in methods for s in (1000, 1001)]
    assert tuned_method(load_results(work_dir)) == "published"
    text = "The chosen trial 0 is the arm published: its final runs stand for both."
    assert text in (work_dir / "report.html").read_text()


def test_a_sampled_trial_that_equals_a_reference_arm_shares_its_final_runs(run_tiny):
    same = {WEIGHT: 3.0, f"{LOSS}.mask": {"type": "LowPass", "cutoff": 0.5}}  # the start point
    work_dir = run_tiny(trials=3, final_seeds=1, reference_arms={"low_pass": same})
    finals = [name for name in run_dirs(work_dir) if name.startswith("final")]
    assert len(finals) == 3
    assert tuned_method(load_results(work_dir)) == "low_pass"


def test_failed_runs_of_the_rung_are_rows_and_the_search_decides(run_tiny):
    fail = {"options.fake.fail": "exception", "options.fake.fail_phase": "rung"}
    work_dir = run_tiny(trials=5, final_seeds=1, rung_trials=2, rung_seeds=1, **fail)
    table = load_results(work_dir)
    assert list(table[table.phase == "rung"].state) == ["failed", "failed"]
    best = max(trials_of(work_dir), key=lambda t: t.value)
    assert f"final_tuned_t{best.number:03d}_seed1000" in run_dirs(work_dir)


def test_more_trials_may_bring_other_candidates(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=1)
    assert {name[:9] for name in run_dirs(work_dir) if name.startswith("rung_")} == {
        "rung_t000",
        "rung_t001",
    }
    run_tiny(trials=8, final_seeds=1)
    table = load_results(work_dir)
    again = table[table.phase == "rung"]
    assert len(again) == 6
    best = sorted(trials_of(work_dir), key=lambda t: -t.value)[:3]
    assert set(again.trial) == {t.number for t in best} != {0, 1}
    assert all(executed(run) == list(range(1, 11)) for run in run_dirs(work_dir).values())


def test_no_trial_with_a_value_leaves_the_arms(run_tiny):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": 2.9}
    space = {f"space.{WEIGHT}": suggest.float(3.0, 100.0)}
    work_dir = run_tiny(trials=3, final_seeds=1, start_points={}, **fail, **space)
    assert {t.state for t in trials_of(work_dir)} == {STATES.FAIL}
    assert "there is no tuned configuration" in (work_dir / "report.html").read_text()
    assert not [name for name in run_dirs(work_dir) if name.startswith(("rung", "final_tuned"))]
