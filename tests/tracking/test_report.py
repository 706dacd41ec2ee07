"""The W&B report as code: words, tables and panels in their places, each panel of the runs it is
about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from test_workspace import COMPARISON, DETECTION

from fourierkd.tracking.panels import Shown, as_json
from fourierkd.tracking.report import Words, study_report

WORDS = Words(
    headline="Best method by mean: pkd with 70.1 mIoU on test (5 seeds).",
    verdicts=["pkd is better than student_alone: +5.10 mIoU [4.20, 6.00] (5 paired seeds)"],
    warnings=["Few seeds: 4 a method."],
    notes=["Teacher: mIoU 80 on val."],
    intervals="Differences are paired by seed.",
    tables={"result": "| method |\n| --- |\n| student_alone |", "cost": "COST", "tuned": "TUNED"},
    finals=["ff000002", "ff000001"],
    trials=["12345678", "123e4567"],  # texts, though they read as numbers
    made=["command: python sweeps/run.py study"],
)


def blocks_of(shown: Shown, words: Words) -> list[dict[str, Any]]:
    report = as_json(study_report(shown, words, online=False)._to_model())
    return report["spec"]["blocks"][1:-1]


def text_of(block: dict[str, Any]) -> str:
    own = block.get("text") or block.get("content") or ""
    return own + "".join(text_of(child) for child in block.get("children", []))


def grids_of(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name of a grid's runs -> what it has."""
    found = {}
    for block in blocks:
        if block["type"] == "panel-grid":
            (runs,) = block["metadata"]["runSets"]
            (chosen,) = runs["filters"]["filters"]
            found[runs["name"]] = {
                "key": (chosen["key"]["section"], chosen["key"]["name"]),
                "ids": chosen["value"],
                "panels": block["metadata"]["panelBankSectionConfig"]["panels"],
            }
    return found


def test_words_and_tables_stand_in_the_order_of_the_page() -> None:
    blocks = blocks_of(DETECTION, WORDS)
    texts = [text_of(block) for block in blocks if block["type"] != "panel-grid"]
    assert texts == [
        WORDS.headline,
        *WORDS.verdicts,
        "To be read with care",
        *WORDS.warnings,
        *WORDS.notes,
        "Result",
        WORDS.tables["result"],
        "COST",
        WORDS.intervals,
        "Spectra",
        "Predictions",
        "Tuning",
        "TUNED",
        "How it was made",
        *WORDS.made,
    ]


def test_final_runs_are_grouped_by_method_and_apart_from_trials() -> None:
    grids = grids_of(blocks_of(DETECTION, WORDS))
    assert {name: grid["ids"] for name, grid in grids.items()} == {
        "Result": ["ff000001", "ff000002"],
        "Spectra": ["ff000001", "ff000002"],
        "Predictions": ["ff000001", "ff000002"],
        "Tuning": ["12345678", "123e4567"],
    }
    assert {grid["key"] for grid in grids.values()} == {("run", "name")}  # a run's id
    result = [panel["config"] for panel in grids["Result"]["panels"]]
    names = [["test/bbox_mAP"], ["best/bbox_mAP"], ["val/bbox_mAP"], ["train/loss"]]
    assert [config["metrics"] for config in result] == names
    assert {config["groupBy"] for config in result} == {"method.value"}
    pictures = grids["Spectra"]["panels"][0]["config"]["mediaKeys"]
    assert pictures == ["spectra/pkd.0", "spectra/pkd.1", "spectra/pkd.2"]
    kinds = [panel["viewType"] for panel in grids["Tuning"]["panels"]]
    assert kinds == ["Parallel Coordinates Plot", "Parameter Importance"]


def test_no_two_panels_of_a_grid_overlap() -> None:
    words = replace(WORDS, tables={**WORDS.tables, "classes": "CLASSES"})
    grids = grids_of(blocks_of(DETECTION, words))
    assert "Classes" in grids
    for grid in grids.values():
        taken: set[tuple[int, int]] = set()
        for panel in grid["panels"]:
            x, y, w, h = (panel["layout"][key] for key in "xywh")
            cells = {(x + i, y + j) for i in range(w) for j in range(h)}
            assert x + w <= 24
            assert not cells & taken
            taken |= cells


def test_a_study_without_final_runs_or_pictures_has_no_empty_panels() -> None:
    blocks = blocks_of(COMPARISON, Words(headline="Nothing is compared yet: no run."))
    assert [text_of(block) for block in blocks] == ["Nothing is compared yet: no run."]
    only = blocks_of(COMPARISON, Words(headline="x", finals=["a"]))
    assert list(grids_of(only)) == ["Result", "Spectra"]
