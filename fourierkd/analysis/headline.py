"""The first sentence of a study's end: a results table flows in, one sentence flows out.

It names the best method, whichever that is, and says how the tuned one compares with the published
settings, with the best simple baseline, with plain L2 and with the student alone, in the words of
the verdicts of ``comparison.compare_pairs``, which are those of every table of a study.

Where nothing was searched, or each method for itself, it is the best method that is set against the
published settings, plain L2, the student alone and the next best one. It and the best simple
baseline may be picked by their scores: the verdicts are of one family that holds every pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from fourierkd.analysis.comparison import TOO_FEW, compare, compare_pairs
from fourierkd.analysis.results import metric_of
from fourierkd.analysis.selection import (
    TUNED,
    found_by_tuning,
    of_search,
    set_by_hand,
    trials,
    tuned_method,
)
from fourierkd.analysis.teachers import beside_seeds
from fourierkd.analysis.words import claim, decimals, gain_cells, how, margin_words
from fourierkd.methods import STUDENT_ALONE
from fourierkd.records import MINIMIZE, Metric, Phase

Row = dict[str, Any]  # of a comparison
PUBLISHED = "published"  # also what names of its other forms begin with
PLAIN = "feature_l2"  # every map, every frequency: what a way to distil has to beat


def headline(
    table: pd.DataFrame,
    *,
    metric: Metric | str,
    baseline: str = "student_alone",
    margin: float | None = None,
    looked: bool = False,
) -> str:
    """Best method of the final runs, and the tuned one against the others, paired by seed.

    A simple baseline is every method of the final runs but the tuned one, ``baseline`` and those
    whose names begin with ``published``; the best of them is the one with the best mean.

    Args:
        table: a results table.
        metric: what the final runs are compared by, or its name.
        baseline: the student alone.
        margin, looked: the smallest difference that matters, and whether seeds were added after
            scores were seen (see ``compare``).

    Returns:
        One sentence; an empty text where there is no final run.

    Raises:
        DataError: the final runs were scored on different splits.
    """
    finals = table[table["phase"] == Phase.FINAL].dropna(subset=["method"])
    if finals.empty:
        return ""
    metric = metric_of(table, metric)
    first = str(finals["method"].iloc[0])
    measure: dict[str, Any] = {"metric": metric, "margin": margin, "looked": looked}
    found = compare(table, baseline=first, **measure).set_index("method")
    means = found["mean"].dropna().sort_values(ascending=metric.direction == MINIMIZE)
    if means.empty:
        return "No method is best: no final run has a value."
    best, digits = str(means.index[0]), decimals(means)
    paired = f"{{paired}}{beside_seeds(table)}"
    seeds = _count(int(found.loc[best, "n"]), "seed")
    text = (
        f"Best method by mean: {best} with {means[best]:.{digits}f} {metric.name} on "
        f"{finals['split'].iloc[0]} ({seeds}"
        f"{_tuned(found_by_tuning(table, metric=metric), means.index)})"
    )
    pairs = compare_pairs(table, **measure)
    limits = f"95 % intervals {how(looked)} over every pair, {paired}"
    limits += f"; {margin_words(found, metric.name)}"
    own = of_search(table, None)
    tuned = tuned_method(own, metric=metric)
    if tuned is None and len(trials(own)):
        return f"{text}; nothing is tuned: no trial was chosen."
    if tuned is None:
        others = _others_of_best(list(means.index), baseline)
        rows = _against(pairs, best, others)
        return f"{text}{_claims('it', rows, others, digits, limits)}"
    if tuned != TUNED:
        text += f"; the search chose {tuned} itself, so {TUNED} is {tuned}"
    hand = set_by_hand(own, metric=metric)
    if hand:
        text += f"; {tuned} is the start point {hand}, set by hand before the search"
    if tuned not in means:
        return f"{text}; no final run of {tuned} has a value."
    others = _others(list(means.index), best, tuned, baseline)
    subject = "it" if tuned == best else tuned
    return f"{text}{_claims(subject, _against(pairs, tuned, others), others, digits, limits)}"


def _against(rows: pd.DataFrame, method: str, others: Mapping[str, str]) -> dict[str, Row]:
    """The rows of a comparison that set a method against ``others``, by the other."""
    if not others:
        return {}  # of one method there is no pair
    own = rows[(rows["method"] == method) & rows["against"].isin(list(others))]
    return {str(row["against"]): row for row in own.to_dict("records")}


def _claims(
    subject: str, rows: Mapping[str, Row], others: Mapping[str, str], digits: int, limits: str
) -> str:
    """The end of the sentence: what ``subject`` is against each of ``others``, and the intervals.

    Args:
        rows: other -> row of a comparison.
        others: other -> what it is called.
        limits: of the intervals, with ``{paired}`` for the number of seeds.
    """
    if not rows:
        return "; it is compared with nothing."
    said = [
        f"{claim(str(rows[other]['verdict']))} {name}{_gain(rows[other], digits)}"
        for other, name in others.items()
    ]
    pairs = {int(row["pairs"]) for row in rows.values()}
    fewest = "" if len(pairs) == 1 else f"{min(pairs)} to "
    paired = f"{fewest}{_count(max(pairs), 'paired seed')}"
    return f"; {subject} {_listed(said)} ({limits.replace('{paired}', paired)})."


def _tuned(found: pd.DataFrame, methods: Iterable[Any]) -> str:
    """Which methods of a comparison were tuned, with how many trials each, and which were not."""
    if found.empty:
        return ""
    fewest, most = int(found["trials"].min()), int(found["trials"].max())
    count = str(most) if fewest == most else f"{fewest} to {most}"
    left = [name for name in methods if name not in (*found["method"], STUDENT_ALONE)]
    others = f"; not tuned: {', '.join(left)}" if left else ""
    return f"; tuned with {count} trials each: {', '.join(found['method'])}{others}"


def _others_of_best(means: list[str], baseline: str) -> dict[str, str]:
    """As ``_others``, of the best method where nothing was searched."""
    rest = means[1:]
    names = {PUBLISHED: PUBLISHED, PLAIN: f"plain L2 {PLAIN}", baseline: baseline}
    others = {other: name for other, name in names.items() if other in rest}
    if rest and rest[0] not in others:
        others = {rest[0]: f"the next best {rest[0]}", **others}
    return others


def _others(means: list[str], best: str, tuned: str, baseline: str) -> dict[str, str]:
    """Method -> what it is called, of those that the tuned one is compared with.

    Args:
        means: methods with a mean, best first.
    """
    given = [name for name in means if name not in (tuned, baseline)]
    simple = [name for name in given if not name.startswith(PUBLISHED)]
    others = {PUBLISHED: PUBLISHED} if PUBLISHED in given else {}
    if simple:
        others[simple[0]] = f"the best simple baseline {simple[0]}"
    if PLAIN in simple[1:]:
        others[PLAIN] = f"plain L2 {PLAIN}"
    if baseline in means and baseline != tuned:
        others[baseline] = baseline
    if best != tuned and best not in others:
        others = {best: best, **others}
    return others


def _gain(row: Row, digits: int) -> str:
    gain, limits = gain_cells(row, digits)
    if row["verdict"] == TOO_FEW:
        return f" ({gain})" if row["pairs"] else ""
    return f" ({gain} {limits})"


def _listed(words: list[str]) -> str:
    if all(word.startswith("is ") for word in words):
        words = [words[0], *(word.removeprefix("is ") for word in words[1:])]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
