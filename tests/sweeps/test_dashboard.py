"""A study's workspace and report in W&B from its files: the words of its page, the runs of its
table, saved once.
"""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_driver import InProcess

from fourierkd.errors import ConfigError, StudyError
from fourierkd.tracking.mend import mend
from fourierkd.tracking.record import read_record
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.dashboard import _parameters
from sweeps.run import main
from sweeps.tables import stored_runs
from tests.tracking.wandb_loopback import ENTITY

ONLINE = {"mode": "online", "project": "lab"}
OFFLINE = {"mode": "offline", "project": "lab"}


def tracked(work: Path) -> dict[str, str]:
    """Send the runs as the end of a study does; folder name -> id in W&B."""
    runs = stored_runs(work)
    mend(runs)
    return {run.path.name: str((read_record(run) or {})["id"]) for run in runs}


def grids(report: dict[str, Any]) -> dict[str, list[str]]:
    """Name of a grid's runs -> their ids."""
    found = {}
    for block in report["blocks"]:
        if block["type"] == "panel-grid":
            (runs,) = block["metadata"]["runSets"]
            found[runs["name"]] = runs["filters"]["filters"][0]["value"]
    return found


def starting(ids: dict[str, str], *starts: str) -> list[str]:
    return sorted(identity for name, identity in ids.items() if name.startswith(starts))


def test_a_study_is_shown_by_its_own_runs_and_updated(server, run_tiny, capsys):
    work = run_tiny(final_seeds=2, trials=5, wandb=ONLINE)
    ids = tracked(work)
    assert len(server.runs) == len(ids)
    capsys.readouterr()
    assert main(["dashboard", str(work)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"workspace: {server.url}/{ENTITY}/lab?nw=")
    assert second.startswith(f"report: {server.url}/{ENTITY}/lab/reports/fourierkd-tiny--")
    kinds = {view["type"]: view for view in server.views.values()}
    report = json.loads(kinds["runs"]["spec"])
    assert grids(report) == {
        "Result": starting(ids, "final_"),
        "Tuning": starting(ids, "trial_", "baseline_"),
    }
    assert "config:parameters.value.fourier_mask" in json.dumps(report)
    page = unescape((work / "report.html").read_text())
    _, answer, verdicts = report["blocks"][:3]
    assert answer["children"][0]["text"].startswith("Best method by mean: ")
    assert answer["children"][0]["text"] in page
    lines = [item["children"][0]["children"][0]["text"] for item in verdicts["children"]]
    assert len(lines) == 3
    assert all(line in page for line in lines)
    tables = [b["content"] for b in report["blocks"] if b["type"] == "markdown-block"]
    assert any(t.startswith("score (test) of the final runs") for t in tables)
    assert any("| verdict |" in table for table in tables)

    assert main(["dashboard", str(work)]) == 0
    assert capsys.readouterr().out.splitlines() == [first, second]
    assert len(server.views) == 2


def test_a_comparison_shows_its_methods_and_no_tuning(server, study_file, tmp_path, capsys):
    names, work = ["student_alone", "pkd"], tmp_path / "work"
    study = comparison(study_file, names, seeds=2, overrides={"wandb": ONLINE})
    run_study(study, work, executor=InProcess())
    ids = tracked(work)
    assert main(["dashboard", str(work)]) == 0
    kinds = {view["type"]: view for view in server.views.values()}
    assert grids(json.loads(kinds["runs"]["spec"])) == {"Result": starting(ids, "final_")}
    workspace = json.loads(kinds["project-view"]["spec"])["section"]
    assert workspace["runSets"][0]["filters"]["filters"][0]["value"] == study.name
    names = [section["name"] for section in workspace["panelBankConfig"]["sections"]]
    assert "What was tuned" not in names


def test_offline_it_is_said_and_shown_but_not_saved(home, run_tiny, capsys):
    work = run_tiny(final_seeds=1, trials=3, wandb=OFFLINE)
    ids = tracked(work)
    capsys.readouterr()
    assert main(["dashboard", str(work), "--dry-run"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"workspace", "report"}
    assert grids(made["report"]["spec"])["Result"] == starting(ids, "final_")
    assert not (work / "wandb" / "dashboard.json").exists()
    with pytest.raises(ConfigError, match=r"needs a login.*--dry-run"):
        main(["dashboard", str(work)])


def test_runs_that_are_kept_back_are_counted(server, run_tiny, capsys):
    work = run_tiny(final_seeds=1, trials=3, wandb=OFFLINE)
    count = len(tracked(work))
    with pytest.raises(ConfigError, match=r"'lab' not found|lab' not found.*sync uploads"):
        main(["dashboard", str(work)])
    server.answer_project_internal_id = lambda _: {"project": {"id": "p", "internalId": "cA=="}}
    server._projects = lambda: ["lab"]
    capsys.readouterr()
    assert main(["dashboard", str(work)]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"{count} of {count} runs are not in W&B yet: python sweeps/run.py sync")


def test_parameters_are_those_that_every_trial_has_and_that_differ():
    rows = [
        {"phase": "trial", "param.lr": 1.0, "param.mask": "low", "param.cutoff": 0.5, "param.k": 1},
        {"phase": "trial", "param.lr": 2.0, "param.mask": "all", "param.k": 1},
        {"phase": "final"},
    ]
    assert _parameters(pd.DataFrame(rows)) == ["lr", "mask"]


def test_what_was_not_tracked_and_what_is_no_study_are_one_line(run_tiny, tmp_path):
    with pytest.raises(StudyError, match=r"study\.json"):
        main(["dashboard", str(tmp_path), "--dry-run"])
    with pytest.raises(StudyError, match="runs that were tracked by W&B"):
        main(["dashboard", str(run_tiny(trials=2, final_seeds=0)), "--dry-run"])
