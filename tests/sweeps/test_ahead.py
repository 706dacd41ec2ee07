import pytest

from fourierkd.analysis import load_results
from fourierkd.errors import StudyError
from sweeps.ahead import points, requests
from sweeps.coordinator import run_study
from sweeps.space import suggest
from sweeps.study_file import load_study

SPACE = {
    "loss": suggest.choice(
        plain=0,
        masked={
            "mask": suggest.choice(low={"cutoff": suggest.float(0.1, 0.7)}, off=None),
            "noise": suggest.categorical([True, False]),
            "levels": suggest.int(1, 8, step=3),
            "weight": suggest.float(1, 100, log=True),
            "grid": suggest.float(0, 1, step=0.4),
        },
    ),
    "hook": suggest.categorical(list("abcde")),
}


def test_points_see_every_branch_end_and_value():
    seen = [parameters for _, parameters in points(SPACE)]

    def values(name):
        return {
            round(p[name], 9) if isinstance(p[name], float) else p[name] for p in seen if name in p
        }

    assert values("loss") == {"plain", "masked"}
    assert values("loss.masked.mask") == {"low", "off"}
    assert values("loss.masked.mask.low.cutoff") == {0.1, 0.4, 0.7}
    assert values("loss.masked.noise") == {True, False}
    assert values("loss.masked.levels") == {1, 4, 7}
    assert values("loss.masked.weight") == {1, 10, 100}
    assert values("loss.masked.grid") == {0, 0.4, 0.8}
    assert values("hook") == set("abcde")
    assert len(seen) == len({str(p) for p in seen}) == 15


def test_requests_name_what_they_are_of(study_file):
    config = load_study(study_file, {"options.data_root": "/data", "metric": "score"})
    asked = requests(config)
    names = list(asked)
    assert "the arm student_alone" in names
    assert "the start point by_hand" in names
    assert any(name.startswith("a trial with {'fourier.loss_weight': ") for name in names)
    for name, request in asked.items():
        assert request.options["data_root"] == "/data", name
    assert asked["the arm student_alone"].options["metric"] == "score"
    assert asked["the arm student_alone"].test_split == "test"


def test_a_start_point_outside_of_the_space_is_not_asked_for(study_file):
    config = load_study(study_file, {"space": {"a": suggest.float(0, 1)}})
    assert "the start point by_hand" not in requests(config)


@pytest.mark.parametrize("seed", [0])
def test_the_teachers_weights_are_not_there_yet(study_file, tmp_path, seed):
    (tmp_path / "teacher.py").write_text("train_cfg = dict(max_iters=1)\n")
    teacher = {"config": str(tmp_path / "teacher.py"), "option": "model.teacher.checkpoint"}
    asked = requests(load_study(study_file, {"teacher": teacher}))
    assert asked["the teacher"].config == str(tmp_path / "teacher.py")
    assert "model.teacher.checkpoint" not in asked["the teacher"].options
    assert asked["the arm published"].options["model.teacher.checkpoint"] == "random"


def test_what_cannot_be_built_is_refused_before_anything_is_trained(study_file, tmp_path):
    late = {"late": {"fake.refuse": "no such loss, got 'FourierLos'"}}
    study = load_study(study_file, {"trials": 3, "final_seeds": 1, "reference_arms": late})
    words = "the reference arm late cannot be run: no such loss, got 'FourierLos'"
    for _ in range(2):
        with pytest.raises(StudyError, match=words):
            run_study(study, tmp_path / "work")
        assert not list((tmp_path / "work").glob("runs/*"))
        assert not list((tmp_path / "work").glob("check.json*"))
        assert load_results(tmp_path / "work").empty
    right = load_study(study_file, {"trials": 3, "final_seeds": 1, "reference_arms": {}})
    run_study(right, tmp_path / "work")  # the same folder
    assert load_results(tmp_path / "work")["state"].eq("complete").all()
