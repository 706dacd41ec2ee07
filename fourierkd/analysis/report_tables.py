"""Tables of the HTML report: a results table flows in, rows of text cells flow out."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import pandas as pd

from fourierkd.analysis.comparison import compare_pairs
from fourierkd.analysis.gap import Share
from fourierkd.analysis.results import PARAM, parameters
from fourierkd.analysis.selection import ARM, START_POINT, TRIAL_PHASES, origin
from fourierkd.analysis.tuning import short
from fourierkd.analysis.words import decimals, gain_cells
from fourierkd.records import Phase

MAX_PAIRED_METHODS = 12  # of more the table is too wide to read
_PHASES = (
    Phase.TEACHER,
    Phase.BASELINE,
    Phase.TRIAL,
    Phase.RUNG,
    Phase.FINAL,
    Phase.SINGLE,
)


def subtitle(table: pd.DataFrame, metric: str) -> str:
    """How many runs there are and how they ended."""
    if table.empty:
        return "no runs yet"
    counts = table["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{len(table)} run{'' if len(table) == 1 else 's'}: {states}; metric {metric}"


def fact_rows(table: pd.DataFrame, info: Mapping[str, Any], measure: str) -> list[tuple[str, str]]:
    """What was run with what; empty facts are left out.

    Raises nothing; several commits or version sets among the runs are all named, as that breaks a
    comparison.
    """
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    facts = {
        "config": info.get("config"),
        "command": info.get("command"),
        "measure": measure,
        "commit": info.get("commit") or _every(table["commit"]),
        "versions": info.get("versions") or _every(table["versions"]),
        "machine": _every(table["machine"]),
        "written": info.get("date") or now,
    }
    versions = facts["versions"]
    if isinstance(versions, Mapping):
        facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items())
    return [(name, str(value)) for name, value in facts.items() if value]


def no_comparison(finals: pd.DataFrame, baseline: str) -> str:
    """Why there is no comparison."""
    if finals.empty:
        return "Nothing is compared yet: there is no run of phase final."
    names = ", ".join(sorted(set(finals["method"].dropna())))
    return f"Nothing is compared: no final run of the baseline {baseline} (there are: {names})."


def effect_rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per part of ``factorial.effects``; cells: on, off, difference and interval, seeds."""
    digits = decimals(found["on"])
    rows = []
    for row in found.to_dict("records"):
        gain, limits = gain_cells(row, digits)
        means = [_number(row[level], digits) for level in ("on", "off")]
        difference = gain if "–" in (gain, limits) else f"{gain} {limits}"
        cells = [*means, difference, str(row["pairs"])]
        rows.append({"part": row["part"], "cells": cells, "verdict": row["verdict"]})
    return rows


def share_cells(shares: Mapping[str, Share], looked: bool = False) -> dict[str, str]:
    """Method -> its share of the teacher's gap in percent, with its interval where it has one that
    holds: Fieller's is of a number of seeds that was fixed before.
    """
    cells = {}
    for method, own in shares.items():
        share, low, high = (_number(100 * value, 0) for value in own[:3])
        limits = "" if looked or "–" in (low, high) else f" [{low}, {high}]"
        cells[method] = "–" if share == "–" else f"{share} %{limits}"
    return cells


def teacher_words(scores: Mapping[int, float], metric: str) -> str:
    """What the shares of the teacher's gap are taken from, or why there is none.

    Args:
        scores: seed -> score of its teacher.
    """
    low, high = min(scores.values(), default=math.nan), max(scores.values(), default=math.nan)
    if not scores:
        return "there is none here, as no seed's teacher is known with a score on val"
    if low == high:
        return (
            "the teacher's score is one number and taken as known, so it is the share of this "
            f"teacher: the teacher has {low:.4g} {metric}"
        )
    return (
        "each seed has a teacher of its own, and the interval is over these too: the teachers have "
        f"{low:.4g} to {high:.4g} {metric}"
    )


def pair_rows(
    table: pd.DataFrame, comparison: pd.DataFrame, measure: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Differences between all methods, row minus column; empty for two methods or too many.

    ``measure``: metric and margin, as ``compare_pairs`` takes them. Its verdicts are those of
    ``comparison``.
    """
    names = list(comparison["method"]) if len(comparison) else []
    if not 2 < len(names) <= MAX_PAIRED_METHODS:
        return []
    digits = decimals(comparison["mean"])
    pairs = compare_pairs(table, **measure)
    found = pairs.set_index(["method", "against"]).to_dict("index")
    rows = []
    for method in names:
        cells: list[dict[str, str] | None] = []
        for other in names:
            row = found.get((method, other))
            if row is None or not row["pairs"]:
                cells.append(None)
                continue
            mean, limits = gain_cells(row, digits)
            cells.append({"mean": mean, "limits": limits, "verdict": row["verdict"]})
        rows.append({"method": method, "names": names, "cells": cells})
    return rows


def candidate_rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per candidate of ``selection.candidates``.

    ``cells`` are its values at the search's seed, on the rung and of its final runs, with the
    number of runs that the last two are means of.
    """
    digits = decimals(found["search"]) if len(found) else 2
    return [
        {
            "trial": str(row["trial"]),
            "origin": row["origin"],
            "parameters": _parameters(row),
            "cells": _stages(row, digits),
            "chosen": row["chosen"],
        }
        for row in found.to_dict("records")
    ]


def tuned_rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per tuned method of ``selection.found_by_tuning``, with ``cells`` as above."""
    known = found["search"] if "search" in found else pd.Series(dtype=float)
    rows = []
    for row in found.to_dict("records"):
        chosen = not pd.isna(row.get("trial"))
        how = "file's own" if chosen and row["origin"].startswith(ARM) else row.get("origin")
        values = {name: value for name, value in row.items() if name != f"{PARAM}method"}
        rows.append(
            {
                "method": row["method"],
                "trials": row["trials"],
                "ended": row["ended"],
                "origin": f"trial {row['trial']:.0f}, {how}" if chosen else "no value",
                "parameters": _parameters(values) if chosen else "",
                "cells": _stages(row, decimals(known)) if chosen else ["–"] * 3,
            }
        )
    return rows


def _stages(row: Mapping[str, Any], digits: int) -> list[str]:
    """Values of a candidate at the search's seed, on the rung and of its final runs."""

    def mean(value: float, runs: int) -> str:
        return f"{_number(value, digits)} (n={runs:.0f})" if runs else "–"

    return [
        _number(row["search"], digits),
        mean(row["rung"], row["rung_runs"]),
        mean(row["final"], row["final_runs"]),
    ]


def run_rows(table: pd.DataFrame, chosen: Collection[Hashable]) -> list[dict[str, Any]]:
    """Every run with state, value, parameters and reason, in the order a study makes them."""
    order = table["phase"].map({phase: i for i, phase in enumerate(_PHASES)})
    table = table.assign(order=order).sort_values(["order", "trial"], kind="stable")
    digits = decimals(table["value"]) if len(table) else 2
    rows = []
    for index, run in zip(table.index, table.to_dict("records"), strict=True):
        searched = pd.notna(run["trial"]) and run["phase"] in TRIAL_PHASES
        rows.append(
            {
                **{
                    k: _text(run[k])
                    for k in ("phase", "method", "state", "split", "reason", "run_dir")
                },
                **{k: _number(run[k], 0) for k in ("trial", "seed", "iters")},
                "value": _number(run["value"], digits),
                "seconds": _number(run["seconds"], 1),
                "parameters": _parameters(run),
                "by_hand": searched and origin(run).startswith(START_POINT),
                "chosen": index in chosen,
            }
        )
    return rows


def phase_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Number of runs, seconds and seconds of training per phase, and their sums."""
    rows = []
    known = [phase for phase in _PHASES if phase in set(table["phase"].dropna())]
    for name in [*known, "all"]:
        runs = table if name == "all" else table[table["phase"] == name]
        rows.append(
            {
                "phase": name,
                "runs": len(runs),
                "seconds": _number(runs["seconds"].sum(), 1),
                "train": _number(runs["seconds_train"].sum(), 1),
            }
        )
    return rows


def time_rows(time: Mapping[str, float]) -> list[dict[str, str]]:
    """Parts of the wall clock as shares of ``total`` (or of their sum); those after it apart."""
    names = list(time)
    inside = names[: names.index("total")] if "total" in time else names
    total = float(time["total"]) if "total" in time else sum(float(time[name]) for name in inside)
    rows = []
    for name in names:
        share = 100 * float(time[name]) / total if total and name in [*inside, "total"] else None
        rows.append(
            {
                "name": name.replace("_", " "),
                "seconds": f"{float(time[name]):.1f} s",
                "share": "apart" if share is None else f"{share:.1f} %",
            }
        )
    return rows


def _parameters(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in parameters(row).items())


def _every(column: pd.Series) -> str:
    return "; ".join(dict.fromkeys(column.dropna()))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any, digits: int) -> str:
    if pd.isna(value) or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"
