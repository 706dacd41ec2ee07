import json

import pytest
from tiny_study import executed, run_dirs

from fourierkd.errors import StudyError
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.study_file import load_study
from sweeps.teacher import cache_root, teacher_key

TEACHER = {"config": "teacher_config.py", "option": "model.teacher.checkpoint"}


def only_teacher() -> RunDir:
    (path,) = [p for p in (cache_root() / "teachers").iterdir() if p.is_dir()]
    return RunDir(path)


def test_it_is_trained_once_and_given_to_every_run(run_tiny):
    work_dir = run_tiny(trials=3, final_seeds=0, teacher=TEACHER)
    teacher = only_teacher()
    assert executed(teacher) == list(range(1, 11))
    for run in run_dirs(work_dir).values():
        options = run.read_request().options
        assert options["model.teacher.checkpoint"] == str(teacher.best_checkpoint())
    # The student alone drops the teacher after the path was put into it.
    alone = run_dirs(work_dir)["baseline_student_alone"].read_request().options
    assert list(alone).index("model.teacher.checkpoint") < list(alone).index("model.teacher")
    table = (work_dir / "results.csv").read_text().splitlines()
    assert table[1].split(",")[1] == "teacher"
    run_tiny("other", trials=3, final_seeds=0, teacher=TEACHER)
    assert executed(only_teacher()) == list(range(1, 11))
    assert "teacher" in json.loads((work_dir / "study_time.json").read_text())["seconds"]


def test_another_number_of_threads_is_another_teacher(study_file, monkeypatch):
    study = load_study(study_file, {"teacher": TEACHER})
    keys = set()
    for cores in (1, 2, 2):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        keys.add(teacher_key(study))
    assert len(keys) == 2


def test_an_interrupted_training_goes_on(run_tiny, start_cli, tmp_path):
    arguments = ["trials=3", "final_seeds=0", f"teacher={TEACHER}"]
    process = start_cli("--set", *arguments, "teacher.options.fake.sleep=0.05")
    while not list((cache_root() / "teachers").glob("*/executed.txt")):
        assert process.poll() is None
    while len(executed(only_teacher())) < 5:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert only_teacher().read_result() is None
    process = start_cli("--set", *arguments, "teacher.options.fake.sleep=0.05")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "training the teacher, once" in out
    assert sorted(set(executed(only_teacher()))) == list(range(1, 11))
    assert len(executed(only_teacher())) <= 12


def test_a_failed_training_is_told_and_tried_again(study_file, tmp_path):
    study = load_study(study_file, {"teacher": {**TEACHER, "options": {"fake.fail": "exit"}}})
    for _ in range(2):
        with pytest.raises(StudyError, match="the teacher could not be trained .Died: exited with"):
            run_study(study, tmp_path / "work")
    assert not (tmp_path / "work" / "runs").exists()
    assert len(executed(only_teacher())) >= 4


def test_the_key_is_made_of_what_the_teacher_depends_on(study_file):
    def key(**change):
        return teacher_key(load_study(study_file, {"teacher": TEACHER, **change}))

    config = study_file.parent / "teacher_config.py"
    before = key()
    assert key(trials=30, seed=5) == before
    config.write_text(config.read_text() + "# a comment\n")
    assert key() == before
    assert key(**{"teacher.seed": 1}) != before
    assert key(**{"teacher.options.train_cfg.max_iters": 9}) != before
    config.write_text(config.read_text() + "depth = 50\n")
    assert key() != before


def test_the_key_sees_the_files_of_a_data_folder(study_file, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_text("1")
    change = {"teacher": TEACHER, "options.data_root": str(data)}
    before = teacher_key(load_study(study_file, change))
    assert teacher_key(load_study(study_file, change)) == before
    (data / "b.png").write_text("2")
    assert teacher_key(load_study(study_file, change)) != before


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("FOURIERKD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "fourierkd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "fourierkd"


def test_a_study_has_one_teacher(run_tiny, monkeypatch):
    work_dir = run_tiny(trials=3, final_seeds=0, teacher=TEACHER)
    best = only_teacher().best_checkpoint()
    monkeypatch.setattr("sweeps.teacher.versions", lambda: {"torch": "99"})  # an upgrade
    run_tiny(trials=4, final_seeds=0, teacher=TEACHER)
    assert executed(only_teacher()) == list(range(1, 11))
    for run in run_dirs(work_dir).values():
        assert run.read_request().options["model.teacher.checkpoint"] == str(best)
    content = best.read_bytes()
    for change, words in (
        (lambda: best.write_bytes(b"another"), "has [0-9a-f]{16} now, got '.*best.pth'"),
        (best.unlink, "is gone, got '.*best.pth'; restore that file, or choose another --work-dir"),
    ):
        change()
        with pytest.raises(StudyError, match=f"a study has one teacher: .*{words}"):
            run_tiny(trials=5, final_seeds=0, teacher=TEACHER)
    best.write_bytes(content)
    run_tiny(trials=5, final_seeds=0, teacher=TEACHER)


def test_a_moved_cache_has_the_same_teacher(run_tiny, monkeypatch):
    run_tiny(trials=3, final_seeds=0, teacher=TEACHER)
    moved = cache_root().with_name("moved")
    cache_root().rename(moved)
    monkeypatch.setenv("FOURIERKD_CACHE", str(moved))
    work_dir = run_tiny(trials=4, final_seeds=0, teacher=TEACHER)
    newest = run_dirs(work_dir)["trial_002"].read_request().options
    assert newest["model.teacher.checkpoint"].startswith(str(moved))
    assert executed(only_teacher()) == list(range(1, 11))


def test_weights_that_a_config_names_are_the_studys_too(run_tiny, tmp_path):
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"first")
    named = {"options.model.teacher.checkpoint": str(weights)}
    run_tiny(trials=3, final_seeds=0, **named)
    weights.write_bytes(b"second")
    with pytest.raises(StudyError, match="the weights of a teacher .* got '.*mine.pth'"):
        run_tiny(trials=4, final_seeds=0, **named)
