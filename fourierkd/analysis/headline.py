"""The first sentence of a study's end: a results table flows in, one sentence flows out.

It names the best method, whichever that is, and says how the tuned one compares with the published
settings, with the best simple baseline, with plain L2 and with the student alone, in the words of
the verdicts of ``comparison.compare``. Each is a claim against another method, and so of another
family; of sentences about a tuned method that equals the others at most 5 % have a false one all
the same, since every family holds the equal methods (``tests/analysis/test_error_rates.py``).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from fourierkd.analysis.comparison import TOO_FEW, compare
from fourierkd.analysis.results import metric_direction
from fourierkd.analysis.selection import TUNED, trials, tuned_method
from fourierkd.analysis.words import claim, decimals, gain_cells, margin_words
from fourierkd.records import MINIMIZE, Phase

PUBLISHED = "published"  # also what names of its other forms begin with
PLAIN = "feature_l2"  # every map, every frequency: what a way to distil has to beat


def headline(
    table: pd.DataFrame,
    *,
    metric: str,
    direction: str | None = None,
    baseline: str = "student_alone",
    margin: float | None = None,
) -> str:
    """Best method of the final runs, and the tuned one against the others, paired by seed.

    A simple baseline is every method of the final runs but the tuned one, ``baseline`` and those
    whose names begin with ``published``; the best of them is the one with the best mean.

    Args:
        table: a results table.
        metric: what the final runs are compared by.
        direction: ``maximize`` or ``minimize``; None: the table's own.
        baseline: the student alone.
        margin: the smallest difference that matters (see ``compare``).

    Returns:
        One sentence; an empty text where there is no final run.

    Raises:
        DataError: the final runs were scored on different splits.
    """
    finals = table[table["phase"] == Phase.FINAL].dropna(subset=["method"])
    if finals.empty:
        return ""
    direction = metric_direction(table, direction)
    first = str(finals["method"].iloc[0])
    measure: dict[str, Any] = {"metric": metric, "direction": direction, "margin": margin}
    found = compare(table, baseline=first, **measure).set_index("method")
    means = found["mean"].dropna().sort_values(ascending=direction == MINIMIZE)
    if means.empty:
        return "No method is best: no final run has a value."
    best, digits = str(means.index[0]), decimals(means)
    seeds = _count(int(found.loc[best, "n"]), "seed")
    text = (
        f"Best method by mean: {best} with {means[best]:.{digits}f} {metric} on "
        f"{finals['split'].iloc[0]} ({seeds})"
    )
    tuned = tuned_method(table, metric=metric, direction=direction)
    if tuned is None:
        return text + ("; nothing is tuned: no trial was chosen." if len(trials(table)) else ".")
    if tuned != TUNED:
        text += f"; the search chose {tuned} itself, so {TUNED} is {tuned}"
    if tuned not in means:
        return f"{text}; no final run of {tuned} has a value."
    claims, pairs = [], set()
    for other, name in _others(list(means.index), best, tuned, baseline).items():
        row = compare(table, baseline=other, **measure)
        (own,) = row[row["method"] == tuned].to_dict("records")
        claims.append(f"{claim(own['verdict'])} {name}{_gain(own, digits)}")
        pairs.add(int(own["pairs"]))
    if not claims:
        return f"{text}; it is compared with nothing."
    subject = "it" if tuned == best else tuned
    fewest = "" if len(pairs) == 1 else f"{min(pairs)} to "
    paired = f"{fewest}{_count(max(pairs), 'paired seed')}"
    limits = f"95 % intervals, {paired}; {margin_words(found, metric)}"
    return f"{text}; {subject} {_listed(claims)} ({limits})."


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


def _gain(row: dict[str, object], digits: int) -> str:
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
