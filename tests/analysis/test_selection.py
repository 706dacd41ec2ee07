"""Shortlist and choice by hand-made tables: ties, failed runs, too few trials, no rung."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.results import load_results, results_table, write_results
from fourierkd.analysis.selection import (
    candidates,
    choose,
    sentence,
    shortlist,
    trials,
    tuned_method,
)
from fourierkd.records import MINIMIZE, Metric
from fourierkd.run_dir import RunDir


def row(phase: str, value: float | None, trial: int | None = None, **known: Any) -> dict[str, Any]:
    """One run of the table; a value of None is that of a failed run."""
    method = known.pop("method", phase)
    state = "failed" if value is None else "complete"
    head = {"phase": phase, "method": method, "trial": trial, "seed": 0, "split": "val"}
    tail = {"metric": "mIoU", "value": value, "val_mIoU": value, "state": state}
    return head | tail | known


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.astype({"trial": "Int64", "value": float, "val_mIoU": float})


def searched(*values: float | None) -> list[dict[str, Any]]:
    """Trials 0, 1, ... of different parameters."""
    return [row("trial", v, i, **{"param.weight": float(i)}) for i, v in enumerate(values)]


def rung(trial: int, *values: float | None) -> list[dict[str, Any]]:
    return [row("rung", v, trial, seed=1900 + i) for i, v in enumerate(values)]


def test_the_shortlist_holds_the_best_complete_trials() -> None:
    table = table_of(
        row("teacher", 99.0),
        row("baseline", 20.0, method="student_alone"),
        *searched(50.0, 61.0, None, 60.0, 40.0, 62.0),
        row("trial", 70.0, 6, state="pruned"),
        *rung(0, 90.0),
        row("final", 95.0, method="tuned"),
    )
    assert shortlist(table, 3) == [5, 1, 3]
    assert shortlist(table, 3, metric=Metric("mIoU", MINIMIZE)) == [4, 0, 3]
    assert list(trials(table)["trial"]) == [0, 1, 2, 3, 4, 5, 6]


def test_an_arm_inside_the_space_is_a_candidate() -> None:
    table = table_of(row("baseline", 60.0, 0, method="pkd"), row("trial", 50.0, 1))
    assert shortlist(table, 2) == [0, 1]


def test_of_equal_trials_the_first_comes_first() -> None:
    assert shortlist(table_of(*searched(50.0, 60.0, 60.0)), 2) == [1, 2]


def test_trials_of_equal_parameters_are_one_candidate() -> None:
    same = {"param.weight": 4.0, "param.mask": "low"}
    table = table_of(
        row("trial", 60.0, 0, **same), row("trial", 61.0, 1, **same), *searched(1, 2, 50.0)[2:]
    )
    assert shortlist(table, 2) == [1, 2]


@pytest.mark.parametrize(("values", "expected"), [((), []), ((None, None), []), ((1.0,), [0])])
def test_there_may_be_fewer_trials_than_asked_for(values: Any, expected: list[int]) -> None:
    table = table_of(row("teacher", 9.0), *searched(*values))
    assert shortlist(table, 3) == expected
    assert choose(table) == (expected[0] if expected else None)
    assert len(candidates(table)) == len(expected)


def test_without_a_rung_the_best_value_wins() -> None:
    table = table_of(*searched(50.0, 61.0, 60.0))
    (only,) = candidates(table).to_dict("records")
    assert (only["trial"], only["search"], only["rung_runs"]) == (1, 61.0, 0)
    assert math.isnan(only["rung"])
    assert only["chosen"]
    assert shortlist(table, 0) == []


def test_the_best_mean_of_the_rung_wins_whatever_the_search_said() -> None:
    # the values of a real search (mIoU): the luckiest trial was the first, the best one the third
    table = table_of(
        *searched(71.8, 70.9, 69.6), *rung(0, 52, 54), *rung(1, 46, 46), *rung(2, 69, 70)
    )
    found = candidates(table)
    assert list(found["trial"]) == [2, 0, 1]
    assert list(found["rung"]) == [69.5, 53.0, 46.0]
    assert list(found["search"]) == [69.6, 71.8, 70.9]
    assert list(found["chosen"]) == [True, False, False]
    assert choose(table) == 2
    assert choose(table, metric=Metric("mIoU", MINIMIZE)) == 1


def test_a_tie_on_the_rung_is_broken_by_the_search_then_by_the_number() -> None:
    tied = [*rung(0, 60, 62), *rung(1, 61, 61)]
    assert choose(table_of(*searched(65.0, 66.0), *tied)) == 1
    assert choose(table_of(*searched(65.0, 66.0), *tied), metric=Metric("mIoU", MINIMIZE)) == 0
    assert choose(table_of(*searched(65.0, 65.0), *tied)) == 0


def test_a_failed_run_of_the_rung_counts_against_its_trial() -> None:
    table = table_of(*searched(71.0, 70.0), *rung(0, 90, None), *rung(1, 60, 61))
    assert choose(table) == 1
    assert list(candidates(table)["rung_runs"]) == [2, 1]


def test_where_all_of_the_rung_failed_the_search_decides() -> None:
    table = table_of(*searched(70.0, 71.0), *rung(0, None, None), *rung(1, None, None))
    found = candidates(table)
    assert list(found["trial"]) == [1, 0]
    assert list(found["rung_runs"]) == [0, 0]


def test_values_of_the_final_runs_are_shown_of_the_chosen_trial_on_val() -> None:
    test = {"split": "test"}
    finals = [
        row("final", v - 5, method="tuned", seed=1000 + i, **{**test, "val_mIoU": v})
        for i, v in enumerate((66.0, 68.0))
    ]
    other = row("final", 10.0, method="published", **test)
    lost = row("final", None, method="tuned", seed=1002, **test)
    table = table_of(*searched(70.0, 71.0), *rung(0, 69), *rung(1, 60), *finals, lost, other)
    found = candidates(table)
    assert list(found["final"])[:1] == [67.0]
    assert list(found["final_runs"]) == [2, 0]
    assert found["final"].isna().tolist() == [False, True]


def test_the_rung_halves_what_luck_costs() -> None:
    """Simulated searches of 12 trials: truths of deviation 10, seeds of deviation 8."""
    generator = np.random.default_rng(0)
    lost = {"search": 0.0, "rung": 0.0}
    studies = 50
    for _ in range(studies):
        truth = generator.normal(60, 10, 12)
        first = table_of(*searched(*(truth + generator.normal(0, 8, 12))))
        again = [rung(t, *(truth[t] + generator.normal(0, 8, 2))) for t in shortlist(first, 3)]
        both = pd.concat([first, table_of(*(row for own in again for row in own))])
        for name, table in (("search", first), ("rung", both)):
            chosen = choose(table)
            assert chosen is not None
            lost[name] += (truth.max() - truth[chosen]) / studies
    # 3.6 and 1.8 in 20000 studies; the difference over 50 has a standard error of about 0.7
    assert lost["rung"] < 0.8 * lost["search"]


def test_the_sentence_names_every_stage() -> None:
    table = table_of(*searched(71.8, 70.0), *rung(0, 52, 54), *rung(1, 69, 70))
    assert sentence(candidates(table), "mIoU") == (
        "Trial 1 (sampled) was chosen by the best mean over the rung's fresh seeds: mIoU 70 at the "
        "search's seed, 69.5 over 2 seeds of the rung, all on val. The first value is one of the "
        "best of many, and so too good on average."
    )
    alone = sentence(candidates(table_of(*searched(71.8))), "mIoU")
    assert alone.startswith("Trial 0 (sampled) was chosen by its one value: mIoU 71.8 at the")
    assert sentence(candidates(table_of(*searched(None))), "mIoU").startswith("No trial has")


def test_an_arm_that_is_chosen_stands_for_tuned() -> None:
    weights = {"param.weight": 8.0, "param.mask": None}
    table = table_of(
        row("baseline", 70.0, 0, method="pkd", **weights),
        row("trial", 60.0, 1, **{"param.weight": 3.0}),
        row("final", 50.0, method="student_alone"),
        row("final", 68.0, method="pkd", **weights),
    )
    assert tuned_method(table) == "pkd"
    (only,) = candidates(table).to_dict("records")
    assert (only["origin"], only["final"]) == ("arm pkd", 68.0)
    tuned = row("final", 69.0, method="tuned", **weights)
    assert tuned_method(pd.concat([table, table_of(tuned)])) == "tuned"
    assert tuned_method(table[table["method"] != "pkd"]) is None  # trial 1 has no final run
    assert tuned_method(table[table["phase"] == "final"]) is None


def test_where_trials_came_from() -> None:
    table = table_of(
        row("baseline", 1.0, 0, method="published"),
        row("trial", 2.0, 1, method="by_hand"),
        row("trial", 3.0, 2),
        *rung(0, 1), *rung(1, 2), *rung(2, 3),
    )  # fmt: skip
    assert list(candidates(table)["origin"]) == ["sampled", "start point by_hand", "arm published"]


def test_the_choice_survives_a_file(study_runs: list[RunDir], tmp_path: Any) -> None:
    table = results_table(study_runs)
    csv, parquet = write_results(table, tmp_path)
    for path in (csv, parquet):
        pd.testing.assert_frame_equal(candidates(load_results(path)), candidates(table))
    assert candidates(table)["param.loss_weight"].notna().all()
