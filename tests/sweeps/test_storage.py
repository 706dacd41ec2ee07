import json

import pytest

from fourierkd.errors import StudyError
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
