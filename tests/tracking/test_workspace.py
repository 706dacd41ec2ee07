"""The workspace as code: equal to its snapshot, without network, whole after save and load."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from wandb_loopback import ENTITY, LoopbackServer

from fourierkd.engine.predictions import choose
from fourierkd.errors import ConfigError
from fourierkd.tracking.workspace import save_workspace, workspace_json

SHOWN = {
    "parameters": ["loss_weight", "mask", "sphere_radius", "noise"],
    "losses": ["fourier"],
}
SNAPSHOT = Path(__file__).parent / "snapshots" / "workspace.json"


def test_the_workspace_equals_its_snapshot(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    view = workspace_json("fourierkd", "lab", "mIoU", "shapes_seg", **SHOWN)
    text = json.dumps(view, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text()
    assert json.loads(text) == workspace_json("fourierkd", "lab", "mIoU", "shapes_seg", **SHOWN)


def test_it_compares_methods_by_curves_bars_spectra_and_parameters() -> None:
    view = workspace_json(
        "p", None, "bbox_mAP", "det", parameters=["mask.low_pass.cutoff"], losses=["a.0"]
    )
    section = view["spec"]["section"]
    panels = [p for s in section["panelBankConfig"]["sections"] for p in s["panels"]]
    by_type = {panel["viewType"]: panel["config"] for panel in panels}
    curves = [p["config"] for p in panels if p["viewType"] == "Run History Line Plot"]
    assert [c["metrics"] for c in curves[:2]] == [["val/bbox_mAP"], ["train/loss"]]
    assert all(c["xAxis"] == "iter" and c["groupBy"] == "method.value" for c in curves)
    bars = [p["config"] for p in panels if p["viewType"] == "Bar Chart"]
    assert [(b["metrics"], b["groupBy"]) for b in bars] == [
        (["test/bbox_mAP"], "method.value"),
        (["best/bbox_mAP"], "method.value"),
    ]
    pictures = [p["config"]["mediaKeys"] for p in panels if p["viewType"] == "Media Browser"]
    names = [choice.name for choice in choose({f"{k}.png": float(k) for k in range(9)})]
    assert pictures == [["spectra/a.0"], [f"predictions/{name}" for name in names]]
    assert [c["accessor"] for c in by_type["Parallel Coordinates Plot"]["columns"]] == [
        "config:parameters.value.mask_low_pass_cutoff",
        "summary:best/bbox_mAP",
    ]
    assert "Run Comparer" in by_type
    (filters,) = section["runSets"][0]["filters"]["filters"]
    assert (filters["key"]["name"], filters["value"]) == ("group", "det")


def test_without_a_study_all_runs_are_shown() -> None:
    view = workspace_json("p", "e", "mIoU", **SHOWN)
    assert view["displayName"] == "fourierkd"
    assert view["spec"]["section"]["runSets"][0]["filters"]["filters"] == []


def test_saving_needs_a_login(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"wandb login.*--dry-run"):
        save_workspace("fourierkd", None, "mIoU", "shapes_seg", **SHOWN)


def test_a_saved_workspace_is_loaded_whole(server: LoopbackServer) -> None:
    import wandb_workspaces.workspaces as ws

    url = save_workspace("fourierkd", None, "mIoU", "shapes_seg", **SHOWN)
    assert url.startswith(f"{server.url}/{ENTITY}/fourierkd?nw=")
    (view,) = server.views.values()
    assert (view["entityName"], view["projectName"]) == (ENTITY, "fourierkd")
    loaded = ws.Workspace.from_url(url)
    kinds = [type(panel).__name__ for section in loaded.sections for panel in section.panels]
    assert kinds == [
        *["BarPlot"] * 2,
        *["LinePlot"] * 2,
        *["MediaBrowser", "LinePlot", "LinePlot", "LinePlot"],
        *["LinePlot", "MediaBrowser"],
        *["ParallelCoordinatesPlot", "ParameterImportancePlot"],
        "RunComparer",
    ]
    saved = json.loads(view["spec"])
    expected = workspace_json("fourierkd", ENTITY, "mIoU", "shapes_seg", **SHOWN)["spec"]
    assert saved["section"]["runSets"] == expected["section"]["runSets"]


def test_a_refusal_is_one_line(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    original = server.graphql

    def refuse(query: str, variables: dict[str, object]) -> dict[str, object]:
        if "UpsertView2" in query:
            return {"errors": [{"message": "permission denied"}]}
        return original(query, variables)

    monkeypatch.setattr(server, "graphql", refuse)
    with pytest.raises(ConfigError, match=r"did not take the workspace.*--dry-run"):
        save_workspace("fourierkd", "others", "mIoU", **SHOWN)
