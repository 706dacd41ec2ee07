"""Which teachers the compared runs had: a results table flows in, what its intervals cover out.

Seeds of weights and data order vary in every comparison. Its runs have one teacher, and an interval
is for that teacher; or each seed has a teacher of its own, the same in every method, and pairs are
independent draws of seed and teacher, so that every interval and rate of this package covers
teachers too. Anything between is refused: differences that share one of several teachers are not
independent, and an interval that takes them to be covers too rarely (``docs/design.md``).
"""

from __future__ import annotations

import pandas as pd

from fourierkd.errors import DataError
from fourierkd.records import Phase, State

COLUMN = "teacher_sha256"
SEEDS = "over seeds of weights and data order"


def check_teachers(runs: pd.DataFrame) -> None:
    """Refuse runs of a method with several teachers and fewer of them than seeds.

    Args:
        runs: rows of a results table, all of which are compared.

    Raises:
        DataError: of the first such method.
    """
    for method, own in _known(runs).groupby("method"):
        teachers, seeds = own[COLUMN].nunique(), own["seed"].nunique()
        if 1 < teachers < seeds:
            raise DataError(
                "runs that are compared have one teacher, or a teacher for each seed, as "
                "differences that share one of several are not independent",
                value=f"{method}: {teachers} teachers, {seeds} seeds",
                fix="compare the runs of one teacher, or train one for each seed",
            )


def teachers(table: pd.DataFrame) -> int:
    """How many teachers the final runs of a method had; 0 where none is known.

    A method may have a teacher of its own for all seeds, which is one.
    """
    finals = table[(table["phase"] == Phase.FINAL) & (table["state"] == State.COMPLETE)]
    counts = _known(finals).groupby("method")[COLUMN].nunique()
    return int(counts.max()) if len(counts) else 0


def covered(table: pd.DataFrame) -> str:
    """What the intervals of the final runs cover."""
    count = teachers(table)
    if count > 1:
        return f"{SEEDS} and {count} teachers, one a seed"
    return f"{SEEDS}, one teacher" if count else SEEDS


def beside_seeds(table: pd.DataFrame) -> str:
    """The same in short, for what follows a number of paired seeds."""
    return ("", ", one teacher", ", each with its own teacher")[min(teachers(table), 2)]


def _known(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that name a teacher; a table that was made by hand may lack the column."""
    return runs.reindex(columns=["method", "seed", COLUMN]).dropna()
