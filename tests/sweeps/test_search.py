"""The trials of a study: which come first, are pruned, repeated, or tried again."""

import pytest
from tiny_study import STATES, WEIGHT, executed, finish, outcome, run_dirs, trials_of, wait_for

from fourierkd.analysis import load_results
from fourierkd.errors import StudyError
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.space import suggest
from sweeps.study_file import load_study


def test_same_seed_same_trials_other_seed_others(run_tiny, straight):
    assert outcome(run_tiny("again", final_seeds=0)) == straight
    other = outcome(run_tiny("other", final_seeds=0, seed=1))
    assert [o[1] for o in other[1:]] != [s[1] for s in straight[1:]]


def test_a_start_point_outside_of_the_space_is_left_out_and_said(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=0, **{f"space.{WEIGHT}": 41.0})
    assert [t.user_attrs.get("start") for t in trials_of(work_dir)] == [None, None]
    assert (
        "The start point by_hand lies outside of the search space"
        in (work_dir / "report.html").read_text()
    )


BRANCHES = """
study["arms"] = dict(student_alone={"model.teacher": None, "model.losses": {}})
study["start_points"] = {}
study["space"] = {
    "loss": suggest.choice(
        plain=dict(weight=suggest.float(0, 1)),
        masked=dict(mask=suggest.choice(low=1, high=2), weight=suggest.float(0, 1)),
    )
}
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_every_branch_of_the_space_is_tried_first(study_file, tmp_path, seed):
    study_file.write_text(study_file.read_text() + BRANCHES)
    study = load_study(study_file, {"trials": 6, "final_seeds": 0, "seed": seed})
    for _ in range(2):  # a study that goes on enqueues nothing again
        run_study(study, tmp_path / "work")
        trials = trials_of(tmp_path / "work")
        assert len(trials) == 5
        taken = [(t.params["loss"], t.params.get("loss.masked.mask")) for t in trials[:3]]
        assert taken == [("plain", None), ("masked", "low"), ("masked", "high")]
        assert [trials[i].params[f"loss.{loss}.weight"] for i, (loss, _) in enumerate(taken)] == [
            0.5,
            0.5,
            0.5,
        ]


def test_equal_trials_are_one_run_and_a_used_up_space_ends_the_search(study_file, tmp_path):
    study_file.write_text(study_file.read_text() + BRANCHES)
    space = {"a": suggest.categorical([0, 1]), "b": suggest.choice(x=0, y=1)}
    study = load_study(study_file, {"trials": 9, "final_seeds": 1, "space": space, "trial_jobs": 2})
    for _ in range(2):
        run_study(study, tmp_path / "work")
        runs = [RunDir(p) for p in sorted((tmp_path / "work/runs").glob("trial_*"))]
        chosen = [str(run.read_request().parameters) for run in runs]
        assert len(set(chosen)) == len(chosen) == 4
        page = (tmp_path / "work/report.html").read_text()
        assert "The search ended after 4 of 8 trials: the space has no other point" in page
    repeats = len(trials_of(tmp_path / "work")) - 4
    assert (f"{repeats} proposals repeat an earlier trial" in page) == (repeats > 0)


@pytest.mark.parametrize(("keys", "first"), [({}, 12), ({"prune_from": 0.3}, 6)])
def test_bad_trials_are_pruned_late_enough_and_arms_never(run_tiny, keys, first):
    """Any pruner has to wait for ``prune_from`` of the schedule: earlier values say little."""
    work_dir = run_tiny(
        trials=4,
        final_seeds=0,
        pruner={"type": "ThresholdPruner", "lower": 100.0},
        **keys,
        **{"options.fake.sleep": 0.1, "options.train_cfg.max_iters": 20},
    )
    trials = trials_of(work_dir)
    assert trials[0].user_attrs["arm"] == "published"
    assert trials[0].state == STATES.COMPLETE  # far below the threshold
    assert {t.state for t in trials[1:]} == {STATES.PRUNED}
    runs = run_dirs(work_dir)
    for trial in trials[1:]:
        run = runs[f"trial_{trial.number:03d}"]
        result = run.read_result()
        assert result.state == "pruned"
        assert result.reason.startswith("score ")
        assert result.reason.endswith(f" at iteration {first}")
        assert first <= len(executed(run)) < 20
        assert trial.value == trial.intermediate_values[trial.last_step]
        assert not runs[f"trial_{trial.number:03d}"].checkpoints.exists()
    assert runs["baseline_published"].last_checkpoint()


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_of_failed_trials_go_with_the_studys_end(run_tiny, tmp_path, keep):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": 20.0}
    work_dir = run_tiny(trials=3, final_seeds=0, keep_checkpoints=keep, **fail)
    (failed,) = [t for t in trials_of(work_dir) if t.state == STATES.FAIL]
    assert failed.user_attrs["arm"] == "published"
    runs = run_dirs(work_dir)
    assert (runs["baseline_published"].last_checkpoint() is not None) == keep
    assert runs["trial_001"].last_checkpoint() is not None


def test_checkpoints_of_failed_trials_stay_while_the_study_is_not_at_its_end(run_tiny, tmp_path):
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**{"options.fake.fail": "exception", "options.fake.fail_above": -2.0})
    assert all(run.last_checkpoint() for run in run_dirs(tmp_path / "work").values())


def test_a_search_of_several_trials_at_once_takes_the_same_steps_after_a_kill(
    start_cli, run_tiny, tmp_path
):
    keys = {"trials": 9, "final_seeds": 0, "rung_trials": 0, "jobs": 2, "trial_jobs": 2}
    expected = outcome(run_tiny("straight", **keys))
    told = ["--set", "options.fake.sleep=0.02", *(f"{key}={value}" for key, value in keys.items())]
    for name in ("trial_002", "trial_005"):
        process = start_cli(*told)
        ran = RunDir(tmp_path / "work" / "runs" / name).path / "executed.txt"
        wait_for(ran.exists, process)
        process.kill()
        process.wait()
    finish(start_cli(*told))
    assert outcome(tmp_path / "work") == expected


def test_failed_runs_are_tried_again_where_one_asks_for_it(run_tiny, study_file, tmp_path):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": -2.0}
    keys = {"trials": 4, "final_seeds": 1, "rung_trials": 0, **fail}
    with pytest.raises(StudyError, match="and --retry-failed tries these runs again"):
        run_tiny(**keys)
    work_dir = tmp_path / "work"
    failed = run_dirs(work_dir)
    (work_dir / "mended").touch()
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    trials = trials_of(work_dir)
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    again = [t.user_attrs.get("retry_of") for t in trials]
    assert again == [None, None, 0, 1, None]  # a trial of Optuna's cannot change once it ended
    assert trials[2].user_attrs["arm"] == "published"
    assert [t.params for t in trials[2:4]] == [t.params for t in trials[:2]]
    for name, run in failed.items():  # the same folder, from the checkpoint in it
        assert run.read_result().state == "complete", name
        assert executed(run) == [1, 2, 3, *range(3, 11)], name
    table = load_results(work_dir)
    assert set(table.state) == {"complete"}
    assert sorted(table[table.trial.notna()].trial) == [0, 1, 4]
    assert "of the trials failed" not in (work_dir / "report.html").read_text()
    before = outcome(work_dir)
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    assert outcome(work_dir) == before


def test_failures_that_optuna_has_not_heard_of_are_tried_again_too(run_tiny, study_file, tmp_path):
    """Of two trials at once the results wait for each other; the study ends in between."""
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": -2.0}
    keys = {"trials": 4, "final_seeds": 0, "rung_trials": 0, "jobs": 2, "trial_jobs": 2, **fail}
    with pytest.raises(StudyError, match="the last 3 runs failed"):
        run_tiny(**keys)
    work_dir = tmp_path / "work"
    failed = [run for run in run_dirs(work_dir).values() if run.result.exists()]
    assert "RUNNING" in [trial.state.name for trial in trials_of(work_dir)]
    (work_dir / "mended").touch()
    run_study(load_study(study_file, keys), work_dir, retry_failed=True)
    assert all(executed(run) == [1, 2, 3, *range(3, 11)] for run in failed)
    assert set(load_results(work_dir).state) == {"complete"}
