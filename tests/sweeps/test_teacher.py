import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_driver import InProcess
from tiny_study import REPO, executed, run_dirs

from fourierkd.analysis import load_results
from fourierkd.errors import ConfigError, StudyError
from fourierkd.run_dir import RunDir
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.run import main
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
    process = start_cli("--set", *arguments, "teacher.options.fake.sleep=0.2")
    while not list((cache_root() / "teachers").glob("*/executed.txt")):
        assert process.poll() is None
    while len(executed(only_teacher())) < 5:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert only_teacher().read_result() is None
    process = start_cli("--set", *arguments, "teacher.options.fake.sleep=0.2")
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
        with pytest.raises(StudyError, match=f"a study keeps its teachers: .*{words}"):
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


def teachers() -> dict[int, RunDir]:
    """Seed of its training -> teacher."""
    found = [RunDir(path) for path in (cache_root() / "teachers").iterdir() if path.is_dir()]
    return {run.read_request().seed: run for run in found}


def teacher_seeds(work_dir: Path) -> dict[str, int]:
    """Run folder -> seed of the teacher whose checkpoint its run was given."""
    seeds = {str(run.best_checkpoint()): seed for seed, run in teachers().items()}
    return {
        name: seeds[run.read_request().options["model.teacher.checkpoint"]]
        for name, run in run_dirs(work_dir).items()
    }


def test_each_final_seed_has_a_teacher_that_the_search_did_not_see(run_tiny, capsys):
    known = {"trials": 4, "teacher": TEACHER}
    work_dir = run_tiny(final_seeds=2, teacher_seeds=2, **known)
    given = teacher_seeds(work_dir)
    finals = {name for name in given if name.startswith("final_")}
    assert len(finals) == 2 * 4
    assert {name: int(name[-4:]) - 999 for name in finals}.items() <= given.items()
    assert {given[name] for name in given if name not in finals} == {0}  # rung included
    assert "one a seed" in capsys.readouterr().out
    page = (work_dir / "report.html").read_text()
    assert "over seeds of weights and data order and 2 teachers, one a seed" in page
    assert "each seed has a teacher of its own, and the interval is over these too" in page
    for whose in ("of the search", "of seed 1000", "of seed 1001"):
        assert f"Teacher {whose}: score " in page

    run_tiny(final_seeds=3, teacher_seeds=3, **known)  # a seed more is a teacher more
    assert given.items() <= teacher_seeds(work_dir).items()
    assert sorted(teachers()) == [0, 1, 2, 3]
    assert all(executed(run) == list(range(1, 11)) for run in teachers().values())
    table = load_results(work_dir)
    weights = table[table["phase"] == "final"].groupby("seed")["teacher_sha256"].nunique()
    assert weights.tolist() == [1, 1, 1]
    assert table.loc[table["phase"] == "teacher", "teacher_sha256"].nunique() == 4
    main(["report", str(work_dir)])  # from its files alone
    again = load_results(work_dir)
    assert (again["phase"] == "teacher").sum() == 4
    assert set(again["teacher_sha256"].dropna()) == set(table["teacher_sha256"].dropna())


def test_one_teacher_is_said_to_be_one(run_tiny, capsys):
    run_tiny(trials=3, teacher=TEACHER)
    out = capsys.readouterr().out
    assert "intervals: over seeds of weights and data order, one teacher" in out
    assert "2 paired seeds, one teacher" in out


def test_a_comparison_without_a_search_trains_the_teachers_of_its_seeds_alone(
    study_file, tmp_path, capsys, monkeypatch
):
    def run(seeds: int, **more) -> list[str]:
        executor = InProcess()
        keys = {"teacher": TEACHER, "teacher_seeds": seeds}
        names = ["student_alone", "pkd"]
        config = comparison(study_file, names, seeds=seeds, overrides=keys, **more)
        run_study(config, tmp_path / "work", executor=executor)
        return [name for did, name, _ in executor.log if did == "sent"]

    teacher, *_, last = run(2)
    assert sorted(teachers()) == [1, 2]
    assert teacher == teachers()[1].path.name
    assert last == "final_pkd_seed1001"
    assert run(2) == []
    monkeypatch.setattr("sweeps.coordinator.still_open", lambda *_: ["pkd"])
    # seeds that are added until it is decided have teachers of their own
    added = run(2, max_seeds=4)
    assert sorted(teachers()) == [1, 2, 3, 4]
    assert added[0] == teachers()[3].path.name
    assert added.index(teachers()[4].path.name) > added.index("final_pkd_seed1002")
    assert teacher_seeds(tmp_path / "work")["final_pkd_seed1003"] == 4
    assert "and 4 teachers, one a seed" in capsys.readouterr().out
    assert run(4) == []


def test_a_study_keeps_the_teacher_of_each_seed(run_tiny):
    known = {"trials": 3, "teacher": TEACHER}
    run_tiny(final_seeds=2, teacher_seeds=2, **known)
    with pytest.raises(StudyError, match="and teacher_seeds differs from it"):
        run_tiny(final_seeds=2, **known)
    teachers()[2].best_checkpoint().write_bytes(b"another")
    with pytest.raises(StudyError, match="the teacher that its runs of seed 1001 had .* has"):
        run_tiny(final_seeds=2, teacher_seeds=2, **known)


def test_a_study_of_before_there_were_teacher_seeds_goes_on(run_tiny):
    work_dir = run_tiny(trials=3, teacher=TEACHER)
    path = work_dir / "study.json"
    study = json.loads(path.read_text())
    assert study["identity"].pop("teacher_seeds") is False
    del study["final_teachers"], study["report"]["final_teachers"]
    path.write_text(json.dumps(study))
    run_tiny(trials=4, teacher=TEACHER)
    assert sorted(teachers()) == [0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher_seeds": 2}, "a checkpoint that a config names is one teacher, got 2; name the"),
        ({"teacher_seeds": 0}, "teacher_seeds must be a whole number of at least 1"),
        (
            {"teacher": TEACHER, "final_seeds": 5, "teacher_seeds": 2},
            "teacher_seeds is 1, or final_seeds.* got 2; set it to 5, or to 1",
        ),
        (
            {"teacher": TEACHER, "options.model.teacher.checkpoint": "mine.pth"},
            "trains its teacher, and options name a checkpoint .*got 'mine.pth'; .* teacher=None",
        ),
    ],
)
def test_teachers_that_a_study_cannot_have(study_file, keys, message):
    with pytest.raises(ConfigError, match=message):
        load_study(study_file, keys)


PAIR = """
DATA = {{
    "data_root": {root!r}, "prepare_data.size": 24, "prepare_data.val_size": 8,
    "prepare_data.test_size": 8,
}}
SHORT = {{"train_cfg.max_iters": 8, "train_cfg.val_interval": 4}}
study = dict(
    name="short",
    config={configs!r} + "/pspnet_fourier.py",
    metric="mIoU",
    space={{}},
    teacher=dict(
        config={configs!r} + "/pspnet_teacher.py",
        option="model.teacher.checkpoint",
        options={{**SHORT, **DATA}},
    ),
    options={{**SHORT, **DATA}},
    wandb=dict(mode="disabled"),
)
"""


@pytest.mark.slow
def test_two_teachers_are_trained_and_give_their_maps(tmp_path):
    """The whole of it, on the small shapes."""
    path = tmp_path / "short.py"
    path.write_text(PAIR.format(root=str(tmp_path / "data"), configs=str(REPO / "configs/shapes")))
    command = [sys.executable, str(REPO / "sweeps/run.py"), "compare", str(path), "--methods"]
    command += ["student_alone,feature_l2", "--seeds", "2", "--teacher-seeds", "2"]
    command += ["--work-dir", str(tmp_path / "work")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "2 paired seeds, each with its own teacher" in done.stdout
    table = load_results(tmp_path / "work")
    assert table["state"].tolist() == ["complete"] * 6
    own = table.set_index("phase")
    distilled = own[own["method"] == "feature_l2"].sort_values("seed")["teacher_sha256"].tolist()
    trained = own.loc["teacher", "teacher_sha256"].tolist()
    assert distilled == trained
    assert len(set(trained)) == 2
    given = {name[-1]: seed for name, seed in teacher_seeds(tmp_path / "work").items()}
    assert given == {"0": 1, "1": 2}
