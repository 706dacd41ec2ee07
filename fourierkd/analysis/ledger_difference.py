"""Two runs' spectral ledgers: in flow two tables, out flows one from the other."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fourierkd.analysis.ledger import BAND, LEVEL
from fourierkd.errors import DataError

# What is taken from each other; both are relative to the teacher or lie in [-1, 1].
COMPARED = ("share_error", "amplitude_error", "coherence", "phase_coherence")
_KEY = ["layer", "teacher_layer", *BAND]


def ledger_difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Levels and bands of ``ours`` minus those of ``theirs``.

    Validations go together by iteration; runs without one in common are compared at their last
    ones. A layer that several losses of a run compare counts for the first of them.

    Args:
        ours: what ``ledger.read_ledger`` gives of a run.
        theirs: of the run that is taken away.

    Returns:
        ``iter`` (of ours), ``layer, teacher_layer, low, high``; ``share_change``, sqrt(our share /
        their share) - 1, how much more amplitude our student has there, both of variance 1; and the
        differences of ``share_error, amplitude_error, coherence, phase_coherence``, NaN where one
        of the two has none.

    Raises:
        DataError: the runs looked at other images or teachers, at maps of other sizes, or have no
            level in common.
    """
    ours, theirs = one_loss_a_layer(ours), one_loss_a_layer(theirs)
    for column, what in (("images_digest", "images"), ("teacher_sha256", "teacher")):
        a, b = ours[column].iloc[0], theirs[column].iloc[0]
        if not _same(a, b):
            raise DataError(
                f"spectra are taken from each other where both runs have the same {what}",
                value=(a, b),
                fix="name runs of one pair on one data set",
            )
    common = set(ours["iter"]) & set(theirs["iter"])
    if common:
        ours, theirs = (table[table["iter"].isin(common)] for table in (ours, theirs))
        key = ["iter", *_KEY]
    else:
        ours, theirs = map(last_validation, (ours, theirs))
        key = _KEY
    both = ours.merge(theirs, on=key, suffixes=("", "_other"))
    if both.empty:
        raise DataError(
            "spectra are taken from each other at layers that both runs have",
            value=[sorted(set(table["layer"])) for table in (ours, theirs)],
            fix="name runs of one pair",
        )
    if (both[["height", "width"]] != both[["height_other", "width_other"]].to_numpy()).any(
        axis=None
    ):
        raise DataError(
            "spectra are taken from each other where maps have one size",
            value=[
                f"{table['height'].iloc[0]}x{table['width'].iloc[0]}" for table in (ours, theirs)
            ],
        )
    found = both[["iter", *_KEY]].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(both["student_share"] / both["student_share_other"]) - 1
    found["share_change"] = ratio.replace([np.inf, -np.inf], np.nan)
    for name in COMPARED:
        found[name] = both[name] - both[f"{name}_other"]
    return found


def last_validation(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ledger's last validation."""
    return table[table["iter"] == table["iter"].max()]


def one_loss_a_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Without the levels of a second loss at one layer; one a loss compares goes before others."""
    levels = table[LEVEL].drop_duplicates()
    first = levels.sort_values("loss", key=lambda loss: loss.isna(), kind="stable")
    return table.merge(first.drop_duplicates(LEVEL[:2]), on=LEVEL)


def _same(a: object, b: object) -> bool:
    return bool(a == b or (pd.isna(a) and pd.isna(b)))
