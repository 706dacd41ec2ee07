"""Methods with the same seeds, and runs made by hand, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_worker import train
from test_driver import InProcess

from fourierkd.analysis import load_results
from fourierkd.errors import ConfigError, DataError, StudyError
from fourierkd.records import Request, single_request
from fourierkd.run_dir import RunDir
from sweeps.compare import comparison, runs_by_hand, show
from sweeps.coordinator import run_study
from sweeps.run import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = ["student_alone", "pkd", "feature_l2"]


def sent(executor: InProcess) -> list[str]:
    return [name for did, name, _ in executor.log if did == "sent"]


def test_every_method_is_trained_with_the_same_seeds_and_nothing_is_searched(
    study_file, tmp_path, capsys
):
    executor = InProcess()
    run_study(comparison(study_file, NAMES, seeds=3), tmp_path / "work", executor=executor)
    out = capsys.readouterr().out
    assert "[1/9] final_student_alone_seed1000" in out
    assert "[9/9] final_feature_l2_seed1002" in out
    assert sorted(sent(executor)) == sorted(
        f"final_{name}_seed{seed}" for name in NAMES for seed in (1000, 1001, 1002)
    )
    table = load_results(tmp_path / "work")
    assert set(table["phase"]) == {"final"}
    assert set(table["split"]) == {"test"}
    assert (tmp_path / "work/report.html").exists()
    study = json.loads((tmp_path / "work/study.json").read_text())
    assert study["report"]["notes"] == []  # it was no search that found nothing
    assert study["report"]["baseline"] == "student_alone"


PUBLISHED_PAIR = """
train_cfg = {"max_iters": 80000}
test_dataloader = {"dataset": {"type": "CityscapesDataset", "data_prefix": {"img_path": "l/val"}}}
model = {"student": "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"}
"""


def test_terminal_and_report_set_a_published_pair_beside_its_number(study_file, tmp_path, capsys):
    study, work = comparison(study_file, NAMES[:2], seeds=2), tmp_path / "work"
    run_study(study, work, executor=InProcess())
    assert "published" not in capsys.readouterr().out  # the tiny pair has none
    for run in (work / "runs").glob("final_student_alone_*"):
        (run / "config.py").write_text(PUBLISHED_PAIR)
    run_study(study, work, executor=InProcess())  # at its end it writes its report again
    said = "student_alone is not compared with 74.87 mIoU of student alone as published (MMSeg"
    assert said in capsys.readouterr().out.replace("\n", " ")
    assert said in (work / "report.html").read_text()


def test_a_later_comparison_adds_methods_and_seeds(study_file, tmp_path):
    first, more = InProcess(), InProcess()
    run_study(comparison(study_file, NAMES[:2], seeds=2), tmp_path / "work", executor=first)
    wider = comparison(study_file, NAMES, seeds=3, reference="pkd")
    run_study(wider, tmp_path / "work", executor=more)
    assert not set(sent(first)) & set(sent(more))
    assert len(sent(first)) + len(sent(more)) == 9
    assert len(load_results(tmp_path / "work")) == 9


def test_a_run_config_is_compared_on_its_own(tmp_path):
    config = tmp_path / "pair.py"
    config.write_text("metric = 'score'\ndirection = 'minimize'\n")
    study = comparison(config, NAMES, seeds=2, overrides={"options.model.teacher.checkpoint": "x"})
    assert (study.metric, study.direction, study.teacher) == ("score", "minimize", None)
    assert study.options == {"model.teacher.checkpoint": "x"}
    assert study.reference_arms["pkd"] == {"method": "pkd"}
    assert study.name.endswith("_pair_compare")
    for name in ("shapes_low", "shapes_det"):
        ours = comparison(CONFIGS / f"studies/{name}.py", NAMES, seeds=5)
        assert ours.teacher is not None
        assert ours.name == f"{name}_compare"  # beside the study, not in its folder


def test_a_method_that_was_edited_is_another_one(study_file, tmp_path):
    own = study_file.parent / "mine.py"
    own.write_text((CONFIGS / "methods/pkd.py").read_text())
    names = ["student_alone", "mine.py"]
    run_study(comparison(study_file, names, seeds=1), tmp_path / "work", executor=InProcess())
    own.write_text(own.read_text().replace("loss_weight=4.0", "loss_weight=5.0"))
    with pytest.raises(StudyError, match=r"methods differs from it \(in mine.py\)"):
        run_study(comparison(study_file, names, seeds=2), tmp_path / "work", executor=InProcess())
    without = comparison(study_file, ["student_alone", "pkd"], seeds=2)
    run_study(without, tmp_path / "work", executor=InProcess())


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        ([], {}, "names its methods; --methods"),
        (["pdk"], {}, "unknown method, got 'pdk'; did you mean 'pkd'"),
        (NAMES, {"reference": "cwd"}, "the reference is one of the methods, got 'cwd'"),
        (NAMES, {"seeds": -1}, "--seeds must be a whole number of at least 1"),
        (NAMES, {"seeds": 0}, "--seeds must be a whole number of at least 1, got 0"),
        (["pkd", "cwd", "pkd"], {}, "names of their own, got 'pkd'; name it once"),
        (["pkd", "own/pkd.py"], {}, "names of their own, got 'pkd'; .*or rename the file"),
        (NAMES, {"overrides": {"trails": 3}}, "did you mean 'trials'"),
    ],
)
def test_what_cannot_be_compared_is_named(study_file, names, more, message):
    with pytest.raises(ConfigError, match=message):
        comparison(study_file, names, **{"seeds": 2, **more})


def test_a_config_without_a_metric_is_named(tmp_path):
    (tmp_path / "pair.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="names no metric to compare by"):
        comparison(tmp_path / "pair.py", NAMES, seeds=2)
    with pytest.raises(ConfigError, match="must be a file"):
        comparison(tmp_path / "other.py", NAMES, seeds=2)


@pytest.fixture
def by_hand(tmp_path):
    """Make a run as ``fourierkd train`` would, on the fake."""

    def make(name: str, config: str = "", method: str = "run", **options) -> Path:
        options = {"model.teacher": None, **options} if "alone" in name else options
        seed = int(name[-1])
        request = single_request("pair.py", options, seed=seed, test_split="test", method=method)
        run_dir = RunDir(tmp_path / name).create(request)
        train(run_dir, resume=False)
        model = {"losses": {name[0]: 1}}
        run_dir.config.write_text(f"x = 1\nmodel = {model}\n{config}")
        return run_dir.path

    return make


def test_runs_made_by_hand(by_hand, capsys):
    runs = [by_hand(f"alone_seed{i}") for i in range(3)]
    runs += [by_hand(f"x{i}", method="pkd") for i in range(3)]
    assert main(["compare", *map(str, runs), "--reference", "alone"]) == 0
    out = capsys.readouterr().out
    assert "Best method by mean: pkd" in out
    assert "minus alone" in out
    for more in (
        ["--tune", "3"],
        ["--until-decided"],
        ["--max-seeds", "9"],
        ["--methods", "pkd"],
        ["--work-dir", "w"],
        ["--jobs", "2"],
        ["--retry-failed"],
        ["--set", "margin=5"],
    ):
        with pytest.raises(ConfigError, match=f"compared as they are, got '{more[0]}'"):
            main(["compare", *map(str, runs), *more])
    table = runs_by_hand(runs)
    assert table["method"].tolist() == ["alone"] * 3 + ["pkd"] * 3
    with pytest.raises(ConfigError, match="did you mean 'alone'"):
        show(table, reference="alon")


def test_runs_made_by_hand_stand_beside_published_numbers(by_hand, capsys):
    runs = [by_hand(f"{name}_seed0") for name in ("alone", "b")]
    for run in runs:
        (run / "config.py").write_text(PUBLISHED_PAIR)
    assert main(["compare", *map(str, runs)]) == 0
    out = capsys.readouterr().out
    assert "alone, b are not compared with 74.87 mIoU of student alone as published" in out


def test_runs_that_differ_in_more_than_their_method_are_refused(by_hand, tmp_path):
    runs = [by_hand("alone_seed0"), by_hand("b_seed0", "y = 2\n")]
    with pytest.raises(DataError, match=r"b_seed0 differs from alone_seed0 in.*\['y'\]"):
        runs_by_hand(runs)
    other = RunDir(tmp_path / "c").create(Request(config="pair.py", seed=0))
    train(other, resume=False)
    other.config.write_text("x = 1\n")
    with pytest.raises(DataError, match="equal splits.*val"):
        runs_by_hand([runs[0], other.path])
    with pytest.raises(ConfigError, match="a run folder holds a run"):
        runs_by_hand([tmp_path])


def test_runs_of_several_teachers_are_compared_where_each_seed_has_its_own(
    by_hand, tmp_path, capsys
):
    def made(name: str, method: str, teacher: int) -> Path:
        weights = tmp_path / f"teacher{teacher}.pth"
        weights.write_text(str(teacher))
        return by_hand(name, method=method, **{"model.teacher.checkpoint": str(weights)})

    runs = [made(f"{m}_seed{s}", m, teacher=s) for s in (0, 1, 2) for m in ("pkd", "cwd")]
    runs += [by_hand(f"alone_seed{s}") for s in (0, 1, 2)]  # it has none
    assert main(["compare", *map(str, runs), "--reference", "alone"]) == 0
    assert "and 3 teachers, one a seed" in capsys.readouterr().out
    other = made("other_seed2", "kl", teacher=1)
    with pytest.raises(DataError, match=r"runs of a seed .* equal teachers.*other_seed2"):
        runs_by_hand([*runs, other])
    shared = [made(f"{m}_seed3", m, teacher=2) for m in ("pkd", "cwd")]
    with pytest.raises(DataError, match="a teacher for each seed.*all methods: 3 teachers, 4 seed"):
        runs_by_hand([*runs, *shared])
    with pytest.raises(ConfigError, match="compared as they are, got '--teacher-seeds'"):
        main(["compare", *map(str, runs), "--teacher-seeds", "3"])
