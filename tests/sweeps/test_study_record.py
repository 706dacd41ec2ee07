"""``study.json``: the same on both sides, and damage named."""

import json

import pytest

from fourierkd.errors import RunError
from fourierkd.records import MINIMIZE, Metric
from sweeps.study_record import StudyRecord, TeacherFile, Told, note, read_study, record

WHOLE = StudyRecord(
    identity={"name": "mine", "space": {"lr": [0.1, 1]}, "data": None},
    fingerprint="ab",
    files={"c.py": "cd"},
    created="2026-01-01T00:00:00+00:00",
    methods={"pkd.py": "ef"},
    tune=4,
    tried="01",
    weights={"/w.pth": "23"},
    teacher=TeacherFile("/cache/teachers/t", "checkpoints/best.pth", "45"),
    report=Told(title="mine", metric=Metric("error", MINIMIZE), margin=1, notes=["a"]),
)


def test_it_comes_back_from_its_file(tmp_path):
    assert read_study(tmp_path) is None
    record(tmp_path, **vars(WHOLE))
    assert read_study(tmp_path) == WHOLE
    written = json.loads((tmp_path / "study.json").read_text())["report"]
    assert (written["metric"], written["direction"]) == ("error", "minimize")


def test_facts_are_added_to_what_is_known(tmp_path):
    record(tmp_path, methods={"a.py": "1"})
    note(tmp_path, title="mine")
    note(tmp_path, finished=True)
    known = read_study(tmp_path)
    assert known.methods == {"a.py": "1"}
    assert known.report == Told(title="mine", finished=True)
    with pytest.raises(TypeError):
        note(tmp_path, tilte="theirs")


def test_a_record_of_an_older_version_is_read(tmp_path):
    old = {"identity": {"name": "x"}, "report": {"title": "x", "metric": "mIoU"}}
    (tmp_path / "study.json").write_text(json.dumps(old))
    assert read_study(tmp_path).report == Told(title="x", metric=Metric("mIoU"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"idnetity": {}}, "got 'idnetity'; did you mean 'identity'"),
        ({"report": {"tilte": "x"}}, "got 'report.tilte'"),
        ({"report": {"direction": "up", "metric": "a"}}, r"\(report.metric.direction: "),
        ({"report": {"notes": 5}}, r"\(report.notes: .*array"),
        ({"teacher": {"run_dir": "x"}}, r"\(teacher.checkpoint: Field required\)"),
        ({"files": [1]}, r"\(files: "),
    ],
)
def test_what_is_no_record_is_named(tmp_path, wrong, words):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(RunError, match=words) as error:
        read_study(tmp_path)
    assert str(error.value).startswith(f"{path} must hold a study's record")
    assert str(error.value).endswith("restore it, or choose another --work-dir")
