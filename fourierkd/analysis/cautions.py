"""What a reader of a study's report is warned of: its view flows in, sentences flow out."""

from __future__ import annotations

from fourierkd.analysis.comparison import TOO_FEW, UNDECIDED
from fourierkd.analysis.costs import cost_notes, cost_table
from fourierkd.analysis.selection import START_POINT, origin
from fourierkd.analysis.view import StudyView
from fourierkd.analysis.words import decimals, group_lines, needs
from fourierkd.errors import listed
from fourierkd.records import MINIMIZE, State

FEW = 5  # seeds; with four an interval of a mean is 2.2 times as wide as with ten
_EQUAL = {  # columns in which the final runs of one comparison are alike -> what is said
    "commit": "commits of the code",
    "versions": "versions of packages",
    "machine": "machines",
}


def cautions(view: StudyView) -> list[str]:
    """What weakens the study's answer: few seeds, undecided pairs, late and failed runs, a start
    point that was chosen, unequal conditions.
    """
    return [
        *_seeds(view),
        *_undecided(view),
        *(f"Late runs? {line}." for line in group_lines(view.comparison)),
        *_rising(view),
        *_failed(view),
        *_hand_made(view),
        *_unequal(view),
        *_cost(view),
    ]


def _seeds(view: StudyView) -> list[str]:
    found = view.comparison.to_dict("records")
    none = [row["method"] for row in found if row["verdict"] == TOO_FEW]
    said = [f"No verdict, as fewer than 2 seeds are paired: {listed(none)}."] if none else []
    few = sorted({int(row["n"]) for row in found if 1 < row["n"] < FEW})
    if few:
        count = str(few[0]) if len(few) == 1 else f"{few[0]} to {few[-1]}"
        said.append(
            f"Few seeds: {count} a method. With fewer than {FEW} intervals are wide, and lean on "
            "scores being normal."
        )
    return said


def _undecided(view: StudyView) -> list[str]:
    found = view.comparison
    if found.empty:
        return []
    open_ = list(found.loc[found["verdict"] == UNDECIDED, "method"])
    if not open_:
        return []
    lines = needs(found, view.metric.name)
    return [f"Undecided against {view.baseline}: {listed(open_)} ({'; '.join(lines)})."]


def _rising(view: StudyView) -> list[str]:
    """Methods whose mean on val rose by more than the margin between their last two validations."""
    curves = view.val_curves
    if view.comparison.empty or curves.empty:
        return []
    sign = -1 if view.metric.direction == MINIMIZE else 1
    margin, digits = view.comparison["margin"].iloc[0], decimals(curves["mean"])
    late = []
    for method, own in curves.groupby("method", sort=False):
        steps = sign * own.sort_values("iter")["mean"].diff()
        if len(own) > 2 and steps.iloc[-1] > margin:
            late.append(f"{method} by {steps.iloc[-1]:.{digits}f}")
    if not late:
        return []
    return [
        f"Still getting better at the end of training, from the last validation but one to the "
        f"last: {listed(late)} {view.metric.name}. A longer schedule may change the order."
    ]


def _failed(view: StudyView) -> list[str]:
    failed = view.finals[view.finals["state"] == State.FAILED]
    if failed.empty:
        return []
    said = [f"{row.method} seed {row.seed} ({row.reason})" for row in failed.itertuples()]
    return [f"{len(failed)} of {len(view.finals)} final runs failed: {listed(said)}."]


def _hand_made(view: StudyView) -> list[str]:
    said = []
    for tunes, part in view.searches.items():
        rows = [row for row in view.chosen if row in part.index]
        for row in part.loc[rows].to_dict("records"):
            if origin(row).startswith(START_POINT):
                what = f"the setting of {tunes}" if tunes else "the tuned setting"
                said.append(
                    f"Made by hand: {what} is the {origin(row)}, which a person set before the "
                    f"search; the search found none that did better."
                )
    return said


def _unequal(view: StudyView) -> list[str]:
    whole = view.finals[view.finals["state"] == State.COMPLETE]
    said = []
    for column, words in _EQUAL.items():
        known = whole[column].dropna().unique() if column in whole else []
        if len(known) > 1:
            said.append(f"The final runs had {len(known)} {words}: {'; '.join(known)}.")
    return said


def _cost(view: StudyView) -> list[str]:
    known = view.facts.get("costs") or {}
    found = cost_table(view.table, known, baseline=view.baseline)
    notes = cost_notes(found, known, view.facts.get("budget"))
    return [f"{note[:1].upper()}{note[1:]}." for note in notes]
