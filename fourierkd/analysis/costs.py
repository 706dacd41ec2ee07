"""What the final runs of each method cost: in flow a results table and measured steps, out rows.

Iterations, parameters, seconds and the memory of a process are those of the runs; operations and
memory of a step were measured before them, where the comparison asked for it (``--budget``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fourierkd.records import Cost, Phase, State

WITHIN = 0.03  # of equal seconds, what ``--budget seconds`` aims at
EQUAL = {"iterations": "equal iterations", "seconds": "equal seconds", "flops": "equal operations"}
# Column of ``cost_table`` -> its head, in words that fit a terminal, and how numbers are written.
COLUMNS = {
    "iterations": ("iters", "{:.0f}"),
    "student": ("params", "{:,.0f}"),
    "parameters": ("params added", "{:,.0f}"),
    "gflop": ("GFLOP a step", "{:,.4g}"),
    "step": ("s a step", "{:.3g}"),
    "peak_mib": ("MiB at peak", "{:,.0f}"),
    "run_mib": ("MiB of a run", "{:,.0f}"),
    "seconds": ("s in all", "{:,.1f}"),
    "ratio": ("ratio", "{:.2f}"),
}


def cost_table(table: pd.DataFrame, costs: Mapping[str, Cost], *, baseline: str) -> pd.DataFrame:
    """What each method's complete final runs cost.

    Args:
        table: a results table.
        costs: of a step of each method, as far as it was measured.
        baseline: the method that ``ratio`` is taken over.

    Returns:
        One row per method, the cheapest first: ``method, iterations`` (median), ``student``
        (parameters that are deployed), ``parameters`` (that are trained beside them), ``gflop`` (of
        a step, NaN where not measured), ``step`` (seconds an iteration, over all runs),
        ``peak_mib`` (of a step, as ``gflop``), ``run_mib`` (most memory of any run, see
        ``records.Result``), ``seconds`` (of a run's training, mean; no validation and no set-up)
        and ``ratio`` of these.
    """
    runs = table[(table["phase"] == Phase.FINAL) & (table["state"] == State.COMPLETE)]
    rows = [
        _row(str(method), own, costs.get(str(method))) for method, own in runs.groupby("method")
    ]
    found = pd.DataFrame(rows, columns=["method", *COLUMNS])
    base = found.loc[found["method"] == baseline, "seconds"]
    found["ratio"] = found["seconds"] / (base.iloc[0] if len(base) else float("nan"))
    return found.sort_values("seconds", kind="stable", ignore_index=True)


def _row(method: str, runs: pd.DataFrame, measured: Cost | None) -> dict[str, Any]:
    return {
        "method": method,
        "iterations": runs["iters"].median(),
        "student": runs["parameters_student"].max(),
        "parameters": runs["parameters_added"].max(),
        "gflop": measured and measured.gflop,
        "step": runs["seconds_train"].sum() / runs["iters"].sum(),
        "peak_mib": measured and measured.peak_mib,
        "run_mib": runs["peak_mib"].max(),
        "seconds": runs["seconds_train"].mean(),
    }


def heads(found: pd.DataFrame) -> list[str]:
    """Of the cells of ``cost_rows``."""
    return [COLUMNS[key][0] for key in _known(found)]


def cost_rows(found: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Method and cells of each row of ``cost_table``: what is known of any method, a dash where it
    is not known of this one.
    """

    def cell(key: str, value: Any) -> str:
        return "–" if pd.isna(value) else COLUMNS[key][1].format(value)

    keys, rows = _known(found), found.to_dict("records")
    return [(row["method"], [cell(key, row[key]) for key in keys]) for row in rows]


def _known(found: pd.DataFrame) -> list[str]:
    return [key for key in COLUMNS if found[key].notna().any()]


def cost_notes(found: pd.DataFrame, costs: Mapping[str, Cost], budget: str | None) -> list[str]:
    """Where trainings that were to take equal seconds do not, and where steps were measured on
    several machines.
    """
    notes = []
    taken = found.dropna(subset="seconds")
    if budget == "seconds" and len(taken) > 1:
        least, most = taken.iloc[0], taken.iloc[-1]
        over = most["seconds"] / least["seconds"] - 1
        if over > WITHIN:
            notes.append(
                f"warning: trainings were to take equal seconds, and {most['method']} took "
                f"{most['seconds']:.1f} s, {100 * over:.1f} % more than {least['method']}"
            )
    machines: dict[str | None, list[str]] = {}
    for name, cost in costs.items():
        machines.setdefault(cost.machine, []).append(name)
    if len(machines) > 1:
        parts = "; ".join(f"{', '.join(names)} on {where}" for where, names in machines.items())
        notes.append(f"steps were measured on several machines: {parts}")
    return notes
