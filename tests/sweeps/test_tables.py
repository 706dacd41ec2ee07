"""Table and report at any time: while a study runs, after a stop, and from its files alone."""

import shutil
import signal

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from tiny_study import REPO, run_dirs, wait_for

from fourierkd.analysis import load_results
from fourierkd.errors import StudyError
from sweeps.coordinator import run_study
from sweeps.run import main
from sweeps.study_file import load_study
from sweeps.study_record import note, noted
from sweeps.tables import UNFINISHED

SLOW = ("--set", "trials=4", "final_seeds=1", "options.fake.sleep=0.03")


def rows(work_dir):
    path = work_dir / "results.csv"
    return len(pd.read_csv(path)) if path.exists() else 0


def test_the_table_is_written_after_each_run(start_cli, tmp_path, capsys):
    work_dir = tmp_path / "work"
    process = start_cli(*SLOW)
    for count in (1, 2, 3):
        wait_for(lambda count=count: rows(work_dir) >= count, process, seconds=60.0)
    main(["report", str(work_dir)])  # beside the running study
    assert "report.html (unfinished)" in capsys.readouterr().out
    page = (work_dir / "report.html").read_text()
    assert UNFINISHED in page
    assert "tiny <span" in page
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_the_report_of_the_files_alone_is_that_of_the_study(run_tiny, tmp_path, capsys):
    """Also where more trials replaced the chosen one, whose runs are still there."""
    for trials in (3, 8):
        work_dir = run_tiny(trials=trials, final_seeds=1)
    stale = len(run_dirs(work_dir)) - len(load_results(work_dir))
    assert stale > 0
    moved = tmp_path / "moved"
    shutil.move(work_dir, moved)
    expected = load_results(moved).sort_values("run_dir", ignore_index=True)
    for name in ("results.csv", "results.parquet", "report.html"):
        (moved / name).unlink()
    assert main(["report", str(moved)]) == 0
    assert "(unfinished)" not in capsys.readouterr().out
    pd.testing.assert_frame_equal(load_results(moved), expected)
    assert UNFINISHED not in (moved / "report.html").read_text()

    assert main(["figures", str(moved)]) == 0
    tables, figures = capsys.readouterr().out.splitlines()
    assert tables.startswith(f"tables:  {moved / 'tables'}: ")
    assert figures.startswith(f"figures: {moved / 'figures'}: ")
    text = (moved / "tables" / "result.md").read_text()
    tuned = expected[(expected.phase == "final") & (expected.method == "tuned")]
    assert f"{tuned.value.mean():.2f}" in text or f"{tuned.value.mean():.3f}" in text
    assert (moved / "figures" / "result.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("what", ["run folder", "result"])
def test_a_run_that_vanished_is_a_line_of_the_table(run_tiny, study_file, what):
    work_dir = run_tiny(trials=5, final_seeds=1, rung_trials=0)
    run = run_dirs(work_dir)["trial_003"]
    if what == "result":
        run.result.unlink()
    else:
        shutil.rmtree(run.path)
    run_tiny(trials=5, final_seeds=1, rung_trials=0)
    tables = [load_results(work_dir)]
    main(["report", str(work_dir)])
    tables.append(load_results(work_dir))
    for table in tables:
        (row,) = table[table.trial == 3].to_dict("records")
        assert (row["phase"], row["state"]) == ("trial", "failed")
        assert row["reason"] == f"its {what} is gone"
        assert sorted(table.trial.dropna()) == [0, 1, 2, 3]
    assert f"its {what} is gone" in (work_dir / "report.html").read_text()
    config = load_study(study_file, {"trials": 5, "final_seeds": 1, "rung_trials": 0})
    run_study(config, work_dir, retry_failed=True)
    assert set(load_results(work_dir).state) == {"complete"}


def test_no_study_and_no_run(tmp_path):
    with pytest.raises(StudyError, match="a study's work dir holds study.json, got .*; check the"):
        main(["report", str(tmp_path)])
    note(tmp_path, title="mine")
    with pytest.raises(StudyError, match="this study has none yet"):
        main(["report", str(tmp_path)])


def test_facts_are_kept_beside_the_identity(run_tiny):
    work_dir = run_tiny(trials=2, final_seeds=0)
    facts = noted(work_dir)
    assert facts.baseline == "student_alone"
    assert facts.finished is True
    written = (work_dir / "study.json").stat().st_mtime_ns
    note(work_dir, finished=True)
    assert (work_dir / "study.json").stat().st_mtime_ns == written


def test_the_notebook_shows_a_study_without_final_runs(run_tiny, monkeypatch, tmp_path):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": -2.0}
    with pytest.raises(StudyError):
        run_tiny(**fail)
    monkeypatch.setenv("FOURIERKD_STUDY", str(tmp_path / "work"))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")
    notebook = nbformat.read(REPO / "notebooks" / "01_study.ipynb", as_version=4)
    resources = {"metadata": {"path": str(REPO / "notebooks")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
