import json

import pytest
from tiny_study import WEIGHT, wait_for

from fourierkd.errors import StudyError
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.storage import one_writer, open_study
from sweeps.study_file import load_study


def test_a_torn_journal_is_repaired(study_file, tmp_path):
    config = load_study(study_file)
    study = open_study(config, tmp_path)
    study.tell(study.ask(), 1.0)
    whole = (tmp_path / "optuna.log").read_bytes()
    (tmp_path / "optuna.log").write_bytes(whole + b'{"op_code": 4, "trial')
    (tmp_path / "optuna.log.lock").symlink_to("nowhere")  # its owner was killed
    again = open_study(config, tmp_path)
    assert (tmp_path / "optuna.log").read_bytes() == whole
    again.tell(again.ask(), 2.0)
    assert [t.value for t in open_study(config, tmp_path).trials] == [1.0, 2.0]


def test_optunas_dashboard_names_the_metric(study_file, tmp_path):
    config = load_study(study_file)
    for _ in range(2):  # made, then opened again
        assert open_study(config, tmp_path).metric_names == [config.metric]


def test_a_damaged_journal_is_an_error(study_file, tmp_path):
    config = load_study(study_file)
    open_study(config, tmp_path)
    log = tmp_path / "optuna.log"
    log.write_bytes(b"garbage\n" + log.read_bytes())
    with pytest.raises(StudyError, match=r"optuna.log is damaged .*choose another --work-dir"):
        open_study(config, tmp_path)


def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "study.lock").symlink_to(mine)
    with pytest.raises(StudyError, match="symbolic links"), one_writer(tmp_path):
        pass
    assert mine.read_text() == "mine"


def test_the_lock_names_its_owner_and_is_let_go(tmp_path):
    refused = pytest.raises(StudyError, match="process [0-9]+ on .+ runs this one")
    with one_writer(tmp_path), refused, one_writer(tmp_path):
        pass
    with one_writer(tmp_path):
        pass


def test_a_work_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(StudyError, match=r"writable folder .*choose another --work-dir")
    with refused, one_writer(tmp_path / "file" / "work"):
        pass


def test_study_json_is_readable(run_tiny):
    facts = json.loads((run_tiny(trials=2, final_seeds=0) / "study.json").read_text())
    assert facts["identity"]["metric"] == "score"
    assert len(facts["fingerprint"]) == 64


def test_another_search_space_is_refused_and_nothing_is_lost(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=0)
    before = {p: p.read_bytes() for p in (work_dir / "optuna.log", work_dir / "study.json")}
    with pytest.raises(StudyError) as error:
        run_tiny(trials=3, final_seeds=0, **{f"space.{WEIGHT}": 3.0})
    assert "this work dir holds the study 'tiny', and space differs from it" in str(error.value)
    assert "choose another --work-dir or name" in str(error.value)
    assert {p: p.read_bytes() for p in before} == before


def test_one_process_at_a_time(start_cli, run_tiny, tmp_path):
    process = start_cli("--set", "options.fake.sleep=0.5")
    run = RunDir(tmp_path / "work" / "runs" / "baseline_student_alone")
    wait_for(run.request.exists, process)
    with pytest.raises(StudyError, match=f"process {process.pid} on .+ runs this one"):
        run_tiny()
    process.kill()
    process.wait()


def test_a_changed_reference_arm_is_noticed(run_tiny):
    run_tiny(trials=3, final_seeds=1)
    with pytest.raises(StudyError, match="was started with other options, got .'model.losses'"):
        run_tiny(trials=3, final_seeds=1, **{"reference_arms.feature_l2.model.losses": {}})


def test_a_corrected_definition_goes_on_where_no_trial_has_a_value(study_file, tmp_path):
    every = {"options.fake.fail": "exception", "options.fake.fail_phase": "trial"}
    keys = {"trials": 5, "final_seeds": 0, "start_points": {}}
    alone = {"student_alone": {"model.teacher": None, "model.losses": {}}}
    wrong = load_study(study_file, {**keys, "arms": alone, **every})
    with pytest.raises(StudyError, match="the last 3 runs failed in the same way"):
        run_study(wrong, tmp_path / "work")
    assert (tmp_path / "work/runs/baseline_student_alone/result.json").exists()
    run_study(load_study(study_file, {**keys, "arms": alone}), tmp_path / "work")
    assert (tmp_path / "work/replaced_1/runs/baseline_student_alone").is_dir()
    with pytest.raises(StudyError, match="and options differs from it"):
        run_study(wrong, tmp_path / "work")


def test_an_edited_config_and_other_data_are_named(study_file, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.json").write_text("[1]")
    keys = {"trials": 3, "final_seeds": 0, "options.data_root": str(data)}
    work = tmp_path / "work"
    run_study(load_study(study_file, keys), work)
    (data / "train.json").write_text("[2]")
    with pytest.raises(StudyError, match="'tiny', and data differs from it, got"):
        run_study(load_study(study_file, keys), work)
    (data / "train.json").write_text("[1]")
    config = load_study(study_file, keys).config
    config.write_text(config.read_text() + "seed = 3\n")
    with pytest.raises(StudyError, match=rf"and config differs from it .in {config.name}., got"):
        run_study(load_study(study_file, keys), work)
