"""Workspace and report on a server: saved once, updated later, each study's for itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_report import WORDS
from test_workspace import COMPARISON, DETECTION, SEGMENTATION
from wandb_loopback import ENTITY, LoopbackServer, Run

from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir
from fourierkd.tracking.dashboard import dashboard_json, save_dashboard
from fourierkd.tracking.panels import Shown

STUDIES = {"segmentation": SEGMENTATION, "detection": DETECTION, "comparison": COMPARISON}


@pytest.fixture
def project(server: LoopbackServer) -> LoopbackServer:
    """A server that has a run of each project."""
    for shown in STUDIES.values():
        run = server.runs[shown.project] = Run(shown.project)
        run.fields["project"] = shown.project
    return server


def mine(shown: Shown) -> Shown:
    return replace(shown, entity=None)


def spec_of(view: dict[str, Any]) -> Any:
    return json.loads(view["spec"])


@pytest.mark.parametrize("name", STUDIES)
def test_both_are_loaded_whole(name: str, project: LoopbackServer, tmp_path: Path) -> None:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    shown = mine(STUDIES[name])
    saved = save_dashboard(RunDir(tmp_path), shown, WORDS)
    assert saved["workspace"].startswith(f"{project.url}/{ENTITY}/{shown.project}?nw=")
    assert saved["report"].startswith(f"{project.url}/{ENTITY}/{shown.project}/reports/fourierkd-")
    made = dashboard_json(shown.of(ENTITY), WORDS)

    workspace = ws.Workspace.from_url(saved["workspace"])
    panels = [panel for section in workspace.sections for panel in section.panels]
    sections = made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert len(panels) == sum(len(section["panels"]) for section in sections)
    assert "Unknown" not in " ".join(type(panel).__name__ for panel in panels)
    assert workspace.runset_settings.filters == f'Metric("Group") == {shown.study!r}'

    report = wr.Report.from_url(saved["report"])
    assert report.title == f"fourierkd {shown.study}"
    kinds = [type(block).__name__ for block in report.blocks]
    assert "Unknown" not in " ".join(kinds)
    grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    expected = [b for b in made["report"]["spec"]["blocks"] if b["type"] == "panel-grid"]
    assert len(grids) == len(expected)
    for grid, block in zip(grids, expected, strict=True):
        wanted = block["metadata"]["panelBankSectionConfig"]["panels"]
        assert [panel.title for panel in grid.panels if hasattr(panel, "title")] == [
            panel["config"]["chartTitle"] for panel in wanted if "chartTitle" in panel["config"]
        ]
        (runs,) = grid.runsets
        assert (runs.entity, runs.project) == (ENTITY, shown.project)


def test_a_second_call_updates_both(project: LoopbackServer, tmp_path: Path) -> None:
    shown = mine(DETECTION)
    first = save_dashboard(RunDir(tmp_path), shown, WORDS)
    (report,) = [view for view in project.views.values() if view["type"] == "runs"]
    comments = [{"id": "t1", "comments": []}]
    report["spec"] = json.dumps({**spec_of(report), "discussionThreads": comments})
    later = save_dashboard(RunDir(tmp_path), shown, replace(WORDS, headline="Now it is cwd."))
    assert later == first
    assert len(project.views) == 2
    text = json.dumps([spec_of(view) for view in project.views.values()])
    assert "Now it is cwd." in text
    assert WORDS.headline not in text
    (report,) = [view for view in project.views.values() if view["type"] == "runs"]
    assert spec_of(report)["discussionThreads"] == comments


def test_another_study_and_another_project_have_their_own(
    project: LoopbackServer, tmp_path: Path
) -> None:
    for folder, shown in (("a", DETECTION), ("b", DETECTION), ("a", SEGMENTATION)):
        save_dashboard(RunDir(tmp_path / folder), mine(shown), WORDS)
    assert len(project.views) == 6
    for folder, shown in (("a", DETECTION), ("b", DETECTION), ("a", SEGMENTATION)):
        save_dashboard(RunDir(tmp_path / folder), mine(shown), WORDS)
    assert len(project.views) == 6


def test_what_was_deleted_there_is_made_anew(project: LoopbackServer, tmp_path: Path) -> None:
    save_dashboard(RunDir(tmp_path), mine(DETECTION), WORDS)
    gone = set(project.views)
    project.views.clear()
    saved = save_dashboard(RunDir(tmp_path), mine(DETECTION), WORDS)
    assert len(project.views) == 2
    assert not gone & set(project.views)
    assert save_dashboard(RunDir(tmp_path), mine(DETECTION), WORDS) == saved
    assert len(project.views) == 2


def test_saving_needs_a_login(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wandb login.*--dry-run"):
        save_dashboard(RunDir(tmp_path), DETECTION, WORDS)
    assert not list(tmp_path.glob("wandb/*"))


def test_a_project_without_runs_is_one_line(server: LoopbackServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did not take.*not found.*sync uploads them"):
        save_dashboard(RunDir(tmp_path), mine(DETECTION), WORDS)
    server.runs["r"] = Run("r")
    server.runs["r"].fields["project"] = DETECTION.project
    save_dashboard(RunDir(tmp_path), mine(DETECTION), WORDS)
    assert len(server.views) == 2  # the workspace was saved before the report failed


def test_a_refusal_is_one_line(
    project: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = project.graphql

    def refuse(query: str, variables: dict[str, object]) -> dict[str, object]:
        if "UpsertView2" in query:
            return {"errors": [{"message": "permission denied"}]}
        return original(query, variables)

    monkeypatch.setattr(project, "graphql", refuse)
    with pytest.raises(ConfigError, match=r"did not take the dashboard.*--dry-run"):
        save_dashboard(RunDir(tmp_path), replace(DETECTION, entity="others"), WORDS)
