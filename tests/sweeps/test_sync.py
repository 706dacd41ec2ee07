"""The study's side of an upload: which folders it means, and what is said of them."""

from __future__ import annotations

import pytest

from fourierkd.errors import ConfigError, StudyError
from fourierkd.tracking import upload as module
from fourierkd.tracking.upload import Arrival
from sweeps.run import main
from sweeps.sync import sync


def test_all_runs_and_the_tables_are_meant_and_what_lacks_is_told(run_tiny, monkeypatch, capsys):
    work = run_tiny(final_seeds=1, trials=3)
    names = {path.name for path in (work / "runs").iterdir()}

    def upload(runs, progress):
        assert names <= {run.path.name for run in runs}
        assert runs[-1].path == work
        progress(0, len(runs))
        return [Arrival(run, "not there" if run is runs[-1] else "", sent=True) for run in runs]

    monkeypatch.setattr(module, "upload", upload)
    capsys.readouterr()
    assert main(["sync", str(work)]) == 1
    first, second = capsys.readouterr().out.strip().splitlines()
    assert (
        first
        == f"{len(names)} of {len(names) + 1} runs are whole in W&B, {len(names) + 1} sent now"
    )
    assert second == "  the tables: not there"
    monkeypatch.setattr(module, "upload", lambda runs, **_: [Arrival(runs[0], "", sent=False)])
    assert main(["sync", str(work)]) == 0
    assert capsys.readouterr().out.strip() == "1 of 1 runs are whole in W&B, 0 sent now"
    monkeypatch.setattr(module, "upload", lambda runs, **_: [])
    with pytest.raises(StudyError, match="runs that were tracked"):
        sync(work)


def test_a_folder_without_a_study_and_no_account_are_one_line(tmp_path, run_tiny, home):
    with pytest.raises(StudyError, match="study.json"):
        sync(tmp_path)
    with pytest.raises(ConfigError, match="not logged in"):
        sync(run_tiny(trials=2, final_seeds=0))
