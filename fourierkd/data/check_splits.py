"""Splits against each other: in flow checked data sets, out flow what they must not share, or must.

The training data are compared with those that are scored. Validation and test may be the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourierkd.data.findings import Checked

SHARED = "images that are trained on must not be scored"
APART = "split them anew, or choose with `indices`"


def check_splits(parts: Sequence[Checked]) -> None:
    """Add what is wrong to the data set that is scored."""
    _check_labels(parts)
    for part in parts:
        if "train" not in part.splits:
            for train in parts:
                if "train" in train.splits:
                    _check_shared(train, part)
        elif len(part.splits) > 1:
            part.add(SHARED, ["they have one data set"], fix=APART)


def _check_labels(parts: Sequence[Checked]) -> None:
    """Every data set must have the labels of the first, under the same names."""
    known = [part for part in parts if part.labels is not None]
    for part in known[1:]:
        first, labels = known[0].labels or [], part.labels or []
        if labels == first:
            continue
        pairs = enumerate(zip(first, labels, strict=False))
        differs = [i for i, (there, here) in pairs if there != here]
        if differs:
            i = differs[0]
            example = f"label {i} is {labels[i]!r}, in {known[0].split} {first[i]!r}"
        else:
            example = f"{len(labels)} labels, in {known[0].split} {len(first)}"
        part.add(
            f"labels must have the names that they have in {known[0].split}",
            [example],
            fix="bring `categories` of all files and `classes` into one order",
            refused=True,
        )


def _check_shared(train: Checked, part: Checked) -> None:
    if not part.files or not train.files:
        return
    part.looked.append("its labels and images against those of train")
    shared = sorted(train.files & part.files or train.entries & part.entries)
    part.add(SHARED, shared, fix=APART)
