"""Published numbers beside one's own: in flows a results table, out flow lines.

``published.csv`` is the ledger: a number, what it is of, under which protocol, and who says so. A
score stands beside a number of its pair only where both are of one protocol, else the line says
what differs: PSPNet-R18 alone has 69.85, 72.55 and 74.87 mIoU on Cityscapes by crop, schedule and
images a step alone. A published number is one run without a spread, so there is no verdict.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fourierkd import methods
from fourierkd.analysis.protocol import Protocol, protocol
from fourierkd.analysis.results import metric_values
from fourierkd.analysis.words import decimals
from fourierkd.errors import FourierKDError
from fourierkd.literals import read_literals
from fourierkd.records import Phase, State
from fourierkd.run_dir import RunDir, read_json

LEDGER = Path(__file__).with_name("published.csv")
UNNAMED = "run"  # the method of a run that was not told one
_PARTS = {  # of a protocol -> in words
    "teacher_schedule": "the teacher's schedule",
    "starts_from": "what the student takes over from the teacher",
    "schedule": "the schedule",
    "batch": "the number of images a step",
    "size": "the size",
    "trained_on": "what is trained on",
    "split": "what is scored",
    "scored_at": "the size of scored images",
    "metric": "the metric",
}


class Published(NamedTuple):
    """One number of the ledger.

    Attributes:
        protocol: what it was made under; an empty part is not known, and not judged.
        method: as its authors call it.
        ours: the method of ``configs/methods`` that it is; empty where there is none.
        value: in the unit that runs have: mIoU in percent, AP as a fraction.
        source: who says so.
    """

    protocol: Protocol
    method: str
    ours: str
    value: float
    source: str

    def differences(self, own: Protocol) -> list[str]:
        """In which parts ``own`` is another protocol, in words; none: the numbers compare."""
        found = []
        for part, words in _PARTS.items():
            there, here = getattr(self.protocol, part), getattr(own, part)
            if there != here and there:
                found.append(f"{words} is {here or 'not known'}, there {there}")
        return found + ([own.changes] if own.changes else [])

    @property
    def unknown(self) -> list[str]:
        """The parts of its protocol that its authors do not say, in words."""
        needless = () if self.protocol.teacher else ("teacher_schedule",)
        return [
            words
            for part, words in _PARTS.items()
            if not getattr(self.protocol, part) and part not in needless
        ]


@functools.cache
def ledger() -> tuple[Published, ...]:
    """All published numbers."""
    with open(LEDGER, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Published(
            Protocol(**{part: row[part] for part in Protocol._fields if part in row}),
            row["method"],
            row["ours"],
            float(row["value"]),
            row["source"],
        )
        for row in rows
    )


def of_pair(own: Protocol) -> list[Published]:
    """The published numbers of a run's pair on its data, whatever their protocol."""
    pair = (own.student, own.teacher, _family(own.split))
    return [
        row
        for row in ledger()
        if (row.protocol.student, row.protocol.teacher, _family(row.protocol.split)) == pair
    ]


def beside_published(
    table: pd.DataFrame, work_dir: str | Path, *, metric: str, phase: str = Phase.FINAL
) -> list[str]:
    """A line for each method whose pair has a published number; none for other pairs.

    The number is that of the method itself, else the highest of the pair whose protocol is known
    whole; of several protocols it is of the one that differs least. Methods that differ from one
    number in the same share a line.

    Args:
        table: a results table; complete runs of ``phase`` count.
        work_dir: what a relative ``run_dir`` of the table is relative to.
        metric: what the runs are compared by.
    """
    runs = table[(table["phase"] == phase) & (table["state"] == State.COMPLETE)]
    lines, apart = [], dict[str, list[str]]()
    for method, own in runs.groupby("method", sort=False):
        configs = [_read(RunDir(Path(work_dir) / name)) for name in own["run_dir"]]
        facts = [
            protocol(config, split=split, metric=metric, ranks=ranks)
            for (config, ranks), split in zip(configs, own["split"], strict=True)
        ]
        scores = metric_values(own, metric).dropna()
        rows, name = of_pair(facts[0]), str(method)
        if rows and len(scores):
            known = _known(rows, configs[0][0]) if name == UNNAMED else name
            row, different = _nearest(rows, known, facts)
            if different:
                apart.setdefault(f"{_number(row)}: {'; '.join(different)}", []).append(name)
            else:
                lines.append(_beside(name, scores, row))
    for what, names in apart.items():
        verb = "is" if len(names) == 1 else "are"
        lines.append(f"{', '.join(names)} {verb} not compared with {what}")
    return lines


def _family(data: str) -> str:
    return data.partition(" ")[0]


def _read(run: RunDir) -> tuple[Mapping[str, Any], int]:
    """A run's resolved config and its number of processes; empty where it cannot be read."""
    try:
        return read_literals(run.config), int((read_json(run.environment) or {}).get("ranks") or 1)
    except FourierKDError:
        return {}, 1


def _known(rows: Iterable[Published], config: Mapping[str, Any]) -> str:
    """Which of the methods of ``rows`` a config has, by the settings of its losses."""
    losses = config["model"].get("losses") or {}
    for name in dict.fromkeys(row.ours for row in rows if row.ours):
        if name == methods.STUDENT_ALONE or _has(losses, methods.read_method(name)):
            return name
    return UNNAMED


def _has(losses: Mapping[str, Any], method: methods.Method) -> bool:
    """Whether each loss stands so in the method's file."""
    return all(
        any(
            name in entries
            and entries[name]["loss"] == entry["loss"]
            and entries[name].get("connector", "auto") == entry.get("connector", "auto")
            for entries in method.losses.values()
        )
        for name, entry in losses.items()
    )


def _nearest(
    rows: Sequence[Published], method: str, facts: Sequence[Protocol]
) -> tuple[Published, list[str]]:
    """The number that a method's score stands beside, and in what it differs."""
    whole = [row for row in rows if not row.unknown]
    own = [row for row in rows if row.ours == method] or whole or rows
    found = [
        (row, next((d for own in facts if (d := row.differences(own))), []))  # runs by hand may
        for row in own  # differ in their number of processes
    ]
    return min(found, key=_distance)


def _distance(found: tuple[Published, list[str]]) -> tuple[bool, int, float]:
    """Of equally distant numbers the highest is the nearest; what is not known may differ."""
    row, different = found
    return bool(different), len(different) + len(row.unknown), -row.value


def _number(row: Published) -> str:
    digits = decimals(pd.Series([row.value]))
    number = f"{row.value:.{digits}f} {row.protocol.metric} of {row.method}"
    return f"{number} as published ({row.source})"


def _beside(method: str, scores: pd.Series, row: Published) -> str:
    digits = decimals(pd.Series([row.value]))
    seeds = f"{len(scores)} seed{'' if len(scores) == 1 else 's'}"
    unknown = f" as far as it is published (not: {', '.join(row.unknown)})" if row.unknown else ""
    own = f"{method} has {scores.mean():.{digits}f} ({seeds})"
    return f"{own} beside {_number(row)}, of one protocol{unknown}"
