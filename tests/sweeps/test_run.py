"""The command line: exit codes, one clear line for bad input, nothing lost by a full disk."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tiny_study import FAKE, REPO, outcome, write_study

from fourierkd.analysis import load_results
from fourierkd.errors import ConfigError, FourierKDError, exit_on_error
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.executors.local import LocalExecutor
from sweeps.run import main
from sweeps.study_file import load_study

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slurm", "partition=gpu"], "--slurm goes with --executor slurm, got "),
        (
            ["--executor", "slurm", "--slurm", "time=5"],
            "per_run.cpus says, which is not set; --set",
        ),
        (
            ["--executor", "slurm", "--set", "per_run.cpus=2"],
            "a Slurm job needs a time limit; --sl",
        ),
        (["--executor", "slurm", "--slurm", "array=3"], "set by the study itself, got 'array'"),
        (
            ["--set", "per_run.memory=16"],
            "per_run.memory is a number and K, M, G or T, got 16; '16G",
        ),
        (["--set", "per_run.hours=0"], "per_run.hours is above 0, got 0"),
    ],
)
def test_what_a_job_would_lack_is_said_before_anything_is_written(
    study_file, tmp_path, arguments, message
):
    with pytest.raises(ConfigError) as error:
        main(["study", str(study_file), "--work-dir", str(tmp_path / "work"), *arguments])
    assert message in str(error.value)
    assert not (tmp_path / "work").exists()


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
    """No file may grow past a size, as on a full disk; then the disk is freed."""
    limit = 18_000  # bytes: more than the table of a few runs takes, less than that of all

    def full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )

    line = one_line(start_cli("--set", "final_seeds=0", preexec_fn=full_disk))
    assert "the study's files must be writable (File too large)" in line
    assert "raise the limit of file sizes (ulimit -f), then run the same command to go on" in line
    assert (tmp_path / "work" / "optuna.log").stat().st_size <= limit
    assert outcome(tmp_path / "work")  # readable, torn as it is
    process = start_cli("--set", "final_seeds=0")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert outcome(tmp_path / "work") == straight


JOURNAL_LINES = ["", "5", "{}", "[]", '{"op_code": "x"}', '{"op_code": 99, "worker_id": "a"}']


@pytest.mark.parametrize("line", JOURNAL_LINES)
def test_a_damaged_journal_is_one_line(run_tiny, study_file, line):
    work_dir = run_tiny(trials=2, final_seeds=0)
    journal = work_dir / "optuna.log"
    first, rest = journal.read_text().split("\n", 1)
    journal.write_text(f"{first}\n{line}\n{rest}")
    keys = ["--trials", "2", "--set", "final_seeds=0"]
    study = ["study", str(study_file), "--work-dir", str(work_dir), *keys]
    for arguments in (study, ["report", str(work_dir)]):
        with pytest.raises(FourierKDError, match="optuna.log is damaged .*restore it, or choose"):
            main(arguments)


DAMAGED = [
    b"{",
    b"[]",
    b"{}",
    b"5",
    b'"\xe4"',
    b"[" * 99_999,  # deeper than Python reads
    b'{"seconds": {"a": "b"}}',
]


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize(
    "name",
    [
        "study.json",
        "study_time.json",
        "runs/trial_001/request.json",
        "runs/trial_001/result.json",
        "runs/trial_001/environment.json",
        "runs/final_student_alone_seed1000/result.json",
        "runs/final_student_alone_seed1000/request.json",
    ],
)
def test_a_damaged_record_is_one_line_or_a_row(finished, study_file, name, content):
    """With its file and what to do; a record that only one row needs costs that row."""
    path = finished / name
    path.write_bytes(content)
    arguments = ["study", str(study_file), "--work-dir", str(finished)]
    told = []
    try:
        main([*arguments, "--trials", "3", "--set", "final_seeds=1"])
    except FourierKDError as error:
        told.append(str(error))
    if told:
        assert str(path) in told[0]
        assert "delete" in told[0] or "restore" in told[0]
    elif content not in (b"{}", DAMAGED[-1]):  # in which nothing that is read is wrong
        row = load_results(finished).set_index("run_dir").loc[name.rpartition("/")[0]]
        assert row.state == "failed"
        assert "unreadable run folder: " in row.reason
        assert path.name in row.reason


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("files", [1]),
        ("weights", 4),
        ("teacher", {"run_dir": "x"}),
        ("report", 7),
        ("report", {"rung_trials": "x"}),
        ("report", {"notes": 5}),
        ("report", {"title": []}),
    ],
)
def test_a_part_of_study_json_of_another_type_is_one_line(finished, study_file, part, value):
    path = finished / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    keys = ["--trials", "3", "--set", "final_seeds=1"]
    study = ["study", str(study_file), "--work-dir", str(finished), *keys]
    for arguments in (study, ["report", str(finished)]):
        with pytest.raises(
            FourierKDError, match="study.json must hold a study's record .*restore it, or choose"
        ):
            main(arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    study = load_study(write_study(folder), {"trials": 3, "final_seeds": 1})
    executor = LocalExecutor(folder / "work/worker.log", command=FAKE)
    run_study(study, folder / "work", executor=executor)
    return folder / "work"


@pytest.fixture
def finished(made, tmp_path):
    """A finished study of its own for each test."""
    return shutil.copytree(made, tmp_path / "work")


def test_a_work_dir_that_is_moved_while_it_runs_is_one_line_and_leaves_nothing(start_cli, tmp_path):
    process = start_cli("--set", "options.fake.sleep=1.0")
    run = RunDir(tmp_path / "work" / "runs" / "baseline_student_alone")
    end = time.monotonic() + 60
    while not run.scalars.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    (tmp_path / "work").rename(tmp_path / "moved")
    line = one_line(process)
    assert "a work dir stays where it is while its study runs" in line
    assert "run the same command with --work-dir where it is now" in line
    left = [str(p.relative_to(tmp_path)) for p in (tmp_path / "work").rglob("*")]
    assert left == [], left
