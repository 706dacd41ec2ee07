"""The workspace as code: equal to its snapshot, without network, panels for what runs have."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from fourierkd.tracking.panels import Shown, as_json
from fourierkd.tracking.workspace import study_workspace

SEGMENTATION = Shown(
    project="fourierkd",
    entity="lab",
    study="shapes_seg",
    metric="mIoU",
    parameters=["loss_weight", "mask", "sphere_radius", "noise"],
    spectra=["fourier"],
    predictions=["1", "worst", "best"],
)
DETECTION = Shown(
    project="p",
    entity=None,
    study="det",
    metric="bbox_mAP",
    parameters=["mask.low_pass.cutoff"],
    spectra=["pkd.0", "pkd.1", "pkd.2"],
    predictions=["1", "2"],
)
COMPARISON = Shown(project="p", entity="e", study="seg_compare", metric="mIoU", spectra=["cwd"])
SNAPSHOT = Path(__file__).parent / "snapshots" / "workspace.json"


def view_of(shown: Shown) -> dict[str, Any]:
    return as_json(study_workspace(shown)._to_model())


def panels_of(view: dict[str, Any]) -> list[dict[str, Any]]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_the_workspace_equals_its_snapshot(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    text = json.dumps(view_of(SEGMENTATION), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text()
    assert json.loads(text) == view_of(SEGMENTATION)


def test_it_compares_methods_by_curves_bars_spectra_and_parameters() -> None:
    view = view_of(DETECTION)
    panels = panels_of(view)
    by_type = {panel["viewType"]: panel["config"] for panel in panels}
    curves = [p["config"] for p in panels if p["viewType"] == "Run History Line Plot"]
    assert [c["metrics"] for c in curves[:2]] == [["val/bbox_mAP"], ["train/loss"]]
    bars = [p["config"] for p in panels if p["viewType"] == "Bar Chart"]
    assert [b["metrics"] for b in bars] == [["test/bbox_mAP"], ["best/bbox_mAP"]]
    assert all(c["xAxis"] == "iter" for c in curves)
    # a final run is never averaged with a trial of its method
    assert {c["groupBy"] for c in [*curves, *bars]} == {"phase_method.value"}
    pictures = [p["config"]["mediaKeys"] for p in panels if p["viewType"] == "Media Browser"]
    levels = ["spectra/pkd.0", "spectra/pkd.1", "spectra/pkd.2"]
    assert pictures == [levels, ["predictions/1", "predictions/2"]]
    assert [c["accessor"] for c in by_type["Parallel Coordinates Plot"]["columns"]] == [
        "config:parameters.value.mask_low_pass_cutoff",
        "summary:best/bbox_mAP",
    ]
    assert "Run Comparer" in by_type
    (filters,) = view["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (filters["key"]["name"], filters["value"]) == ("group", "det")


def test_what_a_comparison_has_not_gets_no_panel() -> None:
    sections = view_of(COMPARISON)["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [
        "Result",
        "Learning curves",
        "Spectra",
        "Classes and predictions",
        "Runs side by side",
    ]
    pictures = [
        panel["config"]["mediaKeys"]
        for panel in panels_of(view_of(COMPARISON))
        if panel["viewType"] == "Media Browser"
    ]
    assert pictures == [["spectra/cwd"]]
