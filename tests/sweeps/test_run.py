"""The command line: exit codes, one clear line for bad input, nothing lost by a full disk."""

import json
import resource
import signal
import subprocess
import sys

import pytest
from tiny_study import REPO, outcome

from fourierkd.errors import ConfigError, exit_on_error
from sweeps.run import main

# Optuna warns that this pruner is experimental.
WARNS = {"type": "PatientPruner", "wrapped_pruner": None, "patience": 1}


def one_line(process, code=2):
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    assert "Traceback" not in err
    (line,) = err.strip().splitlines()
    return line


def test_it_runs_as_a_script_from_anywhere(tmp_path):
    script = str(REPO / "sweeps" / "run.py")
    done = subprocess.run(
        [sys.executable, script, "study", "none.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin"},
    )
    assert done.returncode == 2
    assert done.stderr == (
        "sweeps/run.py: error: a study config must be a file, got 'none.py'; check the path\n"
    )


def test_start_up_needs_neither_torch_nor_pandas_nor_optuna():
    code = (
        "import sys; import sweeps.run; "
        "heavy = ('torch', 'mmengine', 'pandas', 'optuna', 'plotly'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "trails=3"], "study has no such key, got 'trails'; did you mean 'trials'"),
        (["--set", "trials"], "an option is KEY=VALUE, got 'trials'"),
        (["--trials", "0"], "trials must be a whole number of at least 1, got 0"),
        (["--jobs", "0"], "jobs must be a whole number of at least 1, got 0"),
        (["--set", "config=none.py"], "config must be a file, got"),
        (["--set", "metric=scroe"], "did you mean 'score'"),
        (["--set", f"pruner={WARNS}", "metric=scroe"], "did you mean 'score'"),
    ],
)
def test_bad_arguments_give_one_line_and_code_2(start_cli, arguments, message):
    assert message in one_line(start_cli(*arguments))


def test_low_above_high_gives_one_line_with_the_place(study_file, start_cli, tmp_path):
    study_file.write_text(
        study_file.read_text().replace("suggest.float(0.1, 1.0)", "suggest.float(1.0, 0.1)")
    )
    line = one_line(start_cli())
    assert "tiny.py:" in line
    assert "low must be below high, got (1.0, 0.1); use suggest.float(0.1, 1.0)" in line
    assert not (tmp_path / "work").exists()


def test_a_work_dir_that_is_not_writable_gives_one_line(start_cli, tmp_path):
    (tmp_path / "work").write_text("a file")
    assert "the work dir must be a writable folder" in one_line(start_cli())


def test_an_ascii_terminal_shows_a_study_to_its_end(start_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start_cli("--trials", "3", "--set", "final_seeds=1", "start_points={}")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    assert "minus student_alone" in out
    assert (tmp_path / "work" / "report.html").exists()


@pytest.mark.parametrize("text", ["exit()", "raise SystemExit(0)"])
def test_a_study_config_that_exits_gives_one_line(start_cli, study_file, text):
    study_file.write_text(text)
    assert "SystemExit" in one_line(start_cli())


def test_a_path_that_is_too_long_gives_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        exit_on_error("run.py", lambda: main(["study", "x" * 300]))
    assert end.value.code == 2
    assert "File name too long" in capsys.readouterr().err


def test_a_taken_name_gives_one_line(start_cli, run_tiny):
    run_tiny(trials=3, final_seeds=0)
    line = one_line(start_cli("--set", "space.model.losses.fourier.loss.loss_weight=2.0"))
    assert "space differs from it" in line
    assert "choose another --work-dir or name" in line


def test_a_full_disk_stops_the_study_and_its_file_stays_readable(start_cli, straight, tmp_path):
    """The journal may not grow past a size, as on a full disk; then the disk is freed."""

    def full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (4000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )

    line = one_line(start_cli("--set", "final_seeds=0", preexec_fn=full_disk))
    assert "the study's files must be writable (File too large)" in line
    assert "free the disk, then run the same command to go on" in line
    assert (tmp_path / "work" / "optuna.log").stat().st_size == 4000
    assert outcome(tmp_path / "work")  # readable, torn as it is
    process = start_cli("--set", "final_seeds=0")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert outcome(tmp_path / "work") == straight


def test_dashboard_as_json_needs_no_account(study_file, capsys, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_API_KEY", "")
    arguments = [
        "dashboard",
        str(study_file),
        "--wandb",
        "--dry-run",
        "--entity",
        "me",
        "--project",
        "p",
    ]
    assert main(arguments) == 0
    assert "tiny" in json.dumps(json.loads(capsys.readouterr().out))


def test_dashboard_asks_which_one(study_file):
    with pytest.raises(ConfigError, match="add --wandb"):
        main(["dashboard", str(study_file)])
