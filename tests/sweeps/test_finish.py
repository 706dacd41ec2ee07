"""What the end of a study sends: its final tables arrive in a W&B run of the study's own."""

from __future__ import annotations

import json

import pytest
from test_driver import InProcess

from fourierkd.records import Cost
from fourierkd.run_dir import RunDir
from sweeps.coordinator import run_study
from sweeps.factors import component_study
from sweeps.study_record import Budget, record
from tests.wandb_files import history, segments


class Tracked(InProcess):
    """Its runs have a folder of W&B's, so the study is tracked."""

    def poll(self, timeout):
        ends = super().poll(timeout)
        for end in ends:
            if end.run.is_dir():
                RunDir(end.run).wandb.mkdir(exist_ok=True)
        return ends


def tables_of(segment) -> dict[str, list[dict]]:
    """The tables that a W&B run shows: rows by name, as its files have them."""
    paths = {
        key.removesuffix(".path"): path
        for row in history(segment)
        for key, path in row.items()
        if key.endswith(".path")
    }
    found = {}
    for key, path in paths.items():
        table = json.loads((segment / "files" / path).read_text())
        found[key] = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    return found


def test_effects_and_cost_are_tables_of_the_studys_own_run(study_file, tmp_path, home):
    work = tmp_path / "work"
    overrides = {"wandb": {"mode": "offline"}}
    first, more = (
        component_study(study_file, ["noise", "mask"], seeds=seeds, overrides=overrides)
        for seeds in (2, 3)
    )
    run_study(first, work, executor=Tracked())
    (segment,) = segments(work / "wandb")
    tables = tables_of(segment)
    assert set(tables) == {"results", "comparison", "cost", "effects"}
    mask, noise = tables["effects"]
    assert (mask["part"], mask["verdict"], mask["pairs"]) == ("mask", "better", 2)
    assert mask["on"] - mask["off"] == pytest.approx(mask["difference"])
    assert (noise["part"], noise["difference"]) == ("noise", pytest.approx(0, abs=1e-9))
    methods = {row["method"] for row in tables["cost"]}
    assert methods == {"with_mask", "without_noise_with_mask", "fourier", "without_noise"}
    assert {row["ratio"] for row in tables["cost"] if row["method"] == "with_mask"} == {1}
    assert all(row["seconds"] > 0 and row["gflop"] is None for row in tables["cost"])

    cost = Cost(parameters=3, gflop=1.5, seconds=0.1, peak_mib=None, machine="this one")
    budget = Budget(reference="fourier", told={}, costs={"fourier": cost})
    record(work, budget=budget)  # as a comparison of equal seconds would have measured
    run_study(more, work, executor=Tracked())
    last = tables_of(segments(work / "wandb")[-1])
    assert last["effects"][0]["pairs"] == 3
    measured = {row["method"]: row["gflop"] for row in last["cost"]}
    assert measured == {**dict.fromkeys(methods), "fourier": 1.5}
