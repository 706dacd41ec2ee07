"""The tool that tells whether a study says the same under other conditions."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fourierkd.spectral.masks import AllPass, BandPass, HighPass, LowPass

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tools/verdicts.py"))
HIGH = HighPass(0.5)


@pytest.mark.parametrize(
    ("mask", "nuisance", "expected"),
    [
        (LowPass(0.5), HIGH, (1.0, 0.0)),
        (LowPass(0.25), HIGH, (0.5, 0.0)),
        (LowPass(0.75), HIGH, (1.0, 0.5)),
        (AllPass(), HIGH, (1.0, 1.0)),
        (BandPass(0.25, 0.75, 0.0), HIGH, (0.5, 0.5)),
        (HighPass(0.25), LowPass(0.25), (1.0, 0.0)),
        (LowPass(0.5), LowPass(0.25), (1 / 3, 1.0)),
    ],
)
def test_what_a_mask_lets_pass(mask, nuisance, expected):
    assert TOOL["passed"](mask, nuisance) == pytest.approx(expected, abs=0.03)  # soft edges


def test_variables_are_set_for_a_while(monkeypatch):
    monkeypatch.delenv("MKL_CBWR", raising=False)
    with TOOL["changed"]({"MKL_CBWR": "COMPATIBLE"}):
        assert os.environ["MKL_CBWR"] == "COMPATIBLE"
    assert "MKL_CBWR" not in os.environ


def test_markdown():
    table = pd.DataFrame([{"a": 1, "b": "x"}, {"a": 2}])
    assert TOOL["markdown"](table) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 |  |"


def test_deviations_are_pooled_within_studies():
    one = pd.DataFrame({"method": ["a"] * 3 + ["b"], "score": [1.0, 2.0, 3.0, 5.0]})
    other = pd.DataFrame({"method": ["a"] * 3, "score": [101.0, 103.0, 105.0]})
    table = TOOL["steadiness"]([one, other])
    assert table["method"].tolist() == ["a"]  # of one seed nothing is known
    (row,) = table.to_dict("records")
    assert row["studies"] == 2
    # sums of squares 2 and 8 with 4 degrees of freedom; chi-square 11.14 and 0.4844
    assert row["deviation"] == "1.6 [0.95, 4.5]"
    assert row["of each study"] == "1, 2"


def test_agreement_of_studies_that_are_repeated():
    """Of a large difference all say the same; of none 95 %, two of them in 0.95^2 + 2 * 0.025^2."""
    rng = np.random.default_rng(0)
    tables = []
    for study in range(2):
        scores = rng.normal([30, 30, 60], 1, (5, 3))
        rows = [
            (name, 10 * study + seed, score)
            for seed, own in enumerate(scores)
            for name, score in zip(("alone", "same", "tuned"), own, strict=True)
        ]
        tables.append(pd.DataFrame(rows, columns=["method", "seed", "score"]))
    for table in tables:  # the difference of these two is exactly 0 by mean
        alone, same = table["method"] == "alone", table["method"] == "same"
        shift = table.loc[alone, "score"].mean() - table.loc[same, "score"].mean()
        table.loc[same, "score"] += shift
    study = SimpleNamespace(baseline="alone", direction="maximize", margin=1e-3)
    found = TOOL["agreement"](study, tables).set_index(["method", "against"])
    assert found.loc[("tuned", "alone")].tolist() == ["better", *["100%"] * 4]
    name, *shares = found.loc[("same", "alone")]
    assert name == "undecided"
    one, both, *_ = (float(share[:-1]) for share in shares)
    assert one == pytest.approx(95, abs=2.5)  # 2000 draws: 0.5, five times
    assert both == pytest.approx(90, abs=5)
    assert found.loc[("all", "of these")].tolist() == ["", *shares]  # no other pair varies
