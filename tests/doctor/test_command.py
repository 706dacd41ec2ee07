"""``fourierkd doctor``: exit codes, table, JSON."""

from __future__ import annotations

import json

import pytest

from fourierkd.cli import main
from fourierkd.doctor.report import CHECKS
from tests.doctor.conftest import CONFIG


@pytest.fixture
def doctor(capsys, options):
    """Exit code, stdout and stderr of a call; keyword arguments change the one loss."""

    def call(*arguments: str, **entry) -> tuple[int, str, str]:
        given = [f"{key}={value!r}" for key, value in options(**entry).items()]
        with pytest.raises(SystemExit) as end:
            main(
                ["doctor", str(CONFIG), "--steps", "3", "--images", "6", *arguments]
                + ["--cfg-options", *given]
            )
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return end.value.code, out, err

    return call


def test_a_healthy_pair_ends_with_0_and_a_table(doctor, tmp_path):
    code, out, err = doctor("--json", str(tmp_path / "report.json"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split("  ")[0] for line in lines if line[:1] != " "][2:-1] == list(CHECKS)
    assert " ok" in lines[-1]
    assert "mmengine" not in out  # the packages' own words stay out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == list(CHECKS)
    assert report["seed"] == 0


def test_a_fault_ends_with_1_and_json_goes_to_stdout(doctor):
    code, out, err = doctor("--json", "-", checkpoint="random")
    assert code == 1
    report = json.loads(out)
    assert report["passed"] is False
    assert "failed: teacher weights" in err


def test_mixed_precision_as_the_run_gets_it(doctor):
    code, out, _ = doctor("--amp", "bf16")
    assert code == 0
    assert "under autocast to bfloat16" in out


def test_an_accepted_fault_ends_with_0(doctor):
    code, out, _ = doctor("--accept", "teacher weights", "teacher metric", checkpoint="random")
    assert code == 0
    assert "accepted; set model.teacher.checkpoint" in out


def test_a_refused_build_is_a_short_table(doctor):
    code, out, _ = doctor(student_tap="featurs")
    assert code == 1
    assert "did you mean 'features'" in out
    assert "the others" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accept", "level"], "no check has this name, got 'level'; did you mean 'levels'"),
        (["--images", "0"], "--images is a number from 1 on"),
        (["--checkpoint", "none.pth"], "no such checkpoint"),
        (["--device", "gpu"], "no such device"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(doctor, arguments, message):
    code, out, err = doctor(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
