"""A comparison that tunes its methods: a search for each, one choice, one queue, one table."""

from __future__ import annotations

import json
import shutil

import pytest
from test_driver import InProcess, position
from tiny_study import run_dirs

from fourierkd.analysis import load_results
from fourierkd.analysis.selection import found_by_tuning
from fourierkd.errors import ConfigError, StudyError
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.run import main
from sweeps.searches import searches
from sweeps.storage import stored_studies

METHOD = """'''A method of the test.'''
source = "none"
losses = dict(feature=dict(fourier=dict(loss=dict(type="FourierLoss", {own}))))
def space(suggest):
    return dict(feature={space})
"""
WEIGHT = METHOD.format(
    own="loss_weight=41.0",
    space='{"fourier.loss_weight": suggest.float(0.1, 100.0, log=True)}',
)
MASK = METHOD.format(
    own='loss_weight=9.0, mask=dict(type="AllPass")',
    space="""{
    "fourier.loss_weight": suggest.float(0.1, 100.0, log=True),
    "fourier.mask": suggest.mask(all_pass=True),
}""",
)
NAMES = ["student_alone", "weight.py", "mask.py"]


@pytest.fixture
def pair(study_file):
    """The tiny study, whose pair has a tap, and two methods of its folder."""
    (study_file.parent / "run_config.py").write_text("metric = 'score'\ntaps = dict(feature='x')\n")
    (study_file.parent / "weight.py").write_text(WEIGHT)
    (study_file.parent / "mask.py").write_text(MASK)
    return study_file


@pytest.fixture
def run(pair, tmp_path):
    def run(names=NAMES, work_dir="work", executor=None, **known):
        overrides = known.pop("overrides", {})
        known = {"seeds": 2, "tune": 6, **known}
        config = comparison(pair, names, overrides=overrides, **known)
        run_study(config, tmp_path / work_dir, executor=executor or InProcess())
        return tmp_path / work_dir

    return run


def outcome(work_dir):
    """Parameters, values and states of all trials, by method."""
    return {
        name: [(t.number, t.params, t.value, t.state.name) for t in study.get_trials(False)]
        for name, study in stored_studies(work_dir).items()
    }


def test_every_method_with_a_space_gets_as_many_trials_and_keeps_its_name(run, capsys):
    work_dir = run()
    out, table = capsys.readouterr().out, load_results(work_dir)
    runs = run_dirs(work_dir)
    searched = table[table["trial"].notna() & (table["phase"] != "rung")]
    assert searched.groupby("tunes").size().to_dict() == {"mask": 6, "weight": 6}
    assert (searched["method"] == searched["tunes"]).all()
    first = runs["baseline_weight"].read_request()  # what its file says, known to the sampler
    assert (first.trial, first.parameters["fourier.loss_weight"]) == (0, 41.0)
    assert first.parameters == outcome(work_dir)["weight"][0][1]
    # no trial sees the test split or a seed of the final runs
    assert {r.test_split for r in (x.read_request() for x in runs.values()) if r.phase != "final"} \
        == {None}  # fmt: skip
    seeds = table.groupby("phase")["seed"].unique().map(set)
    assert (seeds["trial"], seeds["baseline"]) == ({0}, {0})
    assert (seeds["rung"], seeds["final"]) == ({1900, 1901}, {1000, 1001})
    # the final runs have what was found
    found = found_by_tuning(table).set_index("method")
    assert list(found.index) == ["weight", "mask"]
    finals = table[table["phase"] == "final"]
    assert set(finals["method"]) == {"student_alone", "weight", "mask"}
    assert finals["tunes"].isna().all()
    for method in ("weight", "mask"):
        own = finals[finals["method"] == method]
        assert set(own["param.fourier.loss_weight"]) == {
            found.loc[method, "param.fourier.loss_weight"]
        }
        assert found.loc[method, "final"] == pytest.approx(own["val_score"].mean())
    assert "param.fourier.mask" in finals
    assert finals.loc[finals["method"] == "student_alone", "param.method"].isna().all()
    # and it is said
    assert "(2 seeds; tuned with 6 trials each: weight, mask); it is" in out
    assert "tuned methods, score on val" in out
    assert f"fourier.loss_weight={found.loc['weight', 'param.fourier.loss_weight']:.4g}" in out
    page = (work_dir / "report.html").read_text()
    assert "Each method was tuned for itself" in page
    assert page.count("<h3>Choice of the trial</h3>") == 2
    assert json.loads((work_dir / "study.json").read_text())["report"]["notes"] == []


def test_what_is_not_tuned_waits_for_no_search(run):
    executor = InProcess()
    run(executor=executor, overrides={"jobs": 2, "trial_jobs": 2})
    alone = position(executor.log, "sent", "final_student_alone")
    assert alone[0] < position(executor.log, "ended", "trial_mask")[-1]
    assert position(executor.log, "sent", "final_weight")[0] > position(
        executor.log, "ended", "rung_"
    )[-1]  # fmt: skip


class Dies(InProcess):
    """Is killed when it is asked for the end of one more run than it may train."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def poll(self, timeout):
        ends = super().poll(timeout)
        self.left -= not str(ends[0].run).endswith("check.json") if ends else 0
        if self.left < 0:
            raise SystemExit("killed")
        return ends


def test_it_goes_on_wherever_it_was_killed(run, tmp_path):
    straight = run(work_dir="straight")
    expected, table = outcome(straight), load_results(straight)
    for left in (0, 6, 13, 24):
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        with pytest.raises(SystemExit):
            run(work_dir="cut", executor=Dies(left))
        after = InProcess()
        cut = run(work_dir="cut", executor=after)
        assert outcome(cut) == expected
        names = [name for did, name, _ in after.log if did == "sent"]
        assert len(names) == len(set(names)) == len(table) - left - 1  # one ended unheard
        assert load_results(cut)["run_dir"].tolist() == table["run_dir"].tolist()


def test_methods_seeds_and_trials_are_added(run):
    straight = outcome(run(work_dir="straight", tune=8))
    work_dir = run(NAMES[:2], seeds=1)
    run(seeds=2)
    assert {name: len(trials) for name, trials in outcome(work_dir).items()} == {
        "weight": 6,
        "mask": 6,
    }
    run(tune=8)
    assert outcome(work_dir) == straight
    table = load_results(work_dir)
    assert len(table[table["phase"] == "final"]) == 6
    assert main(["report", str(work_dir)]) == 0  # from the files: what was replaced is left out
    again = load_results(work_dir)
    assert sorted(again["run_dir"]) == sorted(table["run_dir"])


def test_a_comparison_can_be_tuned_later(run):
    """Runs with the settings of the files stay in their folders, and out of table and report."""
    work_dir = run(tune=0)
    run(tune=3)
    table = load_results(work_dir)
    finals = table[table["phase"] == "final"]
    assert finals.groupby("method").size().to_dict() == dict.fromkeys(finals["method"], 2)
    assert main(["report", str(work_dir)]) == 0
    assert sorted(load_results(work_dir)["run_dir"]) == sorted(table["run_dir"])
    assert "final_weight_seed1000" in run_dirs(work_dir)


@pytest.mark.parametrize("fewer", [0, 5])
def test_no_method_can_have_fewer_trials_than_another(run, fewer):
    run(NAMES[:2])
    with pytest.raises(StudyError, match=r"and weight has 6 already, got \d; use --tune 6 or more"):
        run(NAMES, tune=fewer)
    with pytest.raises(StudyError, match="and weight has 6 already"):
        run([NAMES[0], NAMES[2]], tune=fewer)  # which method is asked for now changes nothing


def test_a_mistyped_number_of_trials_can_be_lowered(run):
    straight = outcome(run(work_dir="straight"))

    class DiesInATrial(InProcess):
        def submit(self, run_dir, *, resume):
            if run_dir.path.name == "trial_weight_003":
                raise SystemExit("killed")
            super().submit(run_dir, resume=resume)

    with pytest.raises(SystemExit):
        run(tune=60, executor=DiesInATrial())
    with pytest.raises(StudyError, match=r"weight has 4 already, got 3; use --tune 4 or more"):
        run(tune=3)
    assert outcome(run(tune=6)) == straight
    assert outcome(run(tune=6)) == straight  # and again: what is kept is the lower number


def test_failed_trials_are_no_choice_and_are_tried_again(run, pair, tmp_path):
    from sweeps.executors.local import LocalExecutor

    config = comparison(pair, NAMES[:2], seeds=1, tune=6, overrides={
        "options.fake.fail": "exception", "options.fake.fail_above": 10.0,
        "options.fake.fail_phase": "trial",
    })  # fmt: skip
    work_dir = tmp_path / "work"
    run_study(config, work_dir, executor=LocalExecutor(work_dir / "worker.log"))
    states = [state for *_, state in outcome(work_dir)["weight"]]
    assert "FAIL" in states
    found = found_by_tuning(load_results(work_dir)).iloc[0]
    assert found["trials"] == 6
    assert "failed" in found["ended"]
    assert found["param.fourier.loss_weight"] <= 10.0 or found["origin"] == "arm weight"
    (work_dir / "mended").touch()
    run_study(config, work_dir, executor=LocalExecutor(work_dir / "worker.log"), retry_failed=True)
    assert found_by_tuning(load_results(work_dir)).iloc[0]["ended"] == "6 complete"


def test_what_has_no_space_is_not_tuned(pair, run):
    assert [s.tunes for s in searches(comparison(pair, NAMES, seeds=1, tune=2))] == [
        "weight",
        "mask",
    ]
    with pytest.raises(ConfigError, match="none of these has one on this pair"):
        comparison(pair, ["student_alone"], seeds=1, tune=2)
    with pytest.raises(ConfigError, match="tune must be a whole number of at least 0"):
        comparison(pair, NAMES, seeds=1, tune=-1)


def test_what_is_not_tuned_beside_others_that_are_is_named(pair, run, capsys):
    (pair.parent / "fixed.py").write_text(WEIGHT.partition("def space")[0])
    run([*NAMES[:2], "fixed.py"], seeds=1, tune=2)
    assert "tuned with 2 trials each: weight; not tuned: fixed)" in capsys.readouterr().out


def test_a_method_can_be_tuned_to_what_its_file_says(pair):
    (pair.parent / "weight.py").write_text(WEIGHT.replace("41.0", "410.0"))
    with pytest.raises(ConfigError, match="own setting, and of weight .*loss_weight=410.0 is outs"):
        comparison(pair, NAMES, seeds=1, tune=2)


def test_a_sum_is_tuned_in_both_spaces(pair):
    other = WEIGHT.replace("fourier", "second").replace("'''A method", "'''Another method")
    (pair.parent / "second.py").write_text(other)
    config = comparison(pair, ["student_alone", "weight.py+second.py"], seeds=1, tune=2)
    (found,) = searches(config)
    assert found.tunes == "weight_second"
    tunable = found.config.space["method"].of("weight_second")
    assert set(tunable) == {
        "model.losses.fourier.loss.loss_weight",
        "model.losses.second.loss.loss_weight",
    }


def test_the_command_line_says_how_many_trials_and_seeds(pair, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        "sweeps.coordinator.run_study", lambda config, *_, **__: found.append(config)
    )
    command = ["compare", str(pair), "--methods", ",".join(NAMES), "--seeds", "3", "--tune", "4"]
    assert main(command) == 0
    assert main([*command, "--until-decided"]) == 0
    assert main([*command, "--until-decided", "--max-seeds", "9"]) == 0
    assert [(c.final_seeds, c.tune, c.max_seeds) for c in found] == [
        (3, 4, 0),
        (3, 4, 20),
        (3, 4, 9),
    ]
