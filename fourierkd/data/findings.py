"""What ``fourierkd data check`` finds: in flow examples of a fault, out flow counted findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One kind of fault: how often, one example, what to do; a note is no fault."""

    what: str
    count: int = 1
    example: str = ""
    fix: str = ""
    fault: bool = True


@dataclass
class Checked:
    """What became of one data set."""

    split: str
    kind: str
    images: int = 0
    opened: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, what: str, examples: Sequence[object] = ("",), fix: str = "", fault: bool = True
    ) -> None:
        """Record a finding, unless there is no example of it."""
        if len(examples):
            finding = Finding(what, len(examples), str(examples[0]), fix, fault)
            if finding not in self.findings:  # val and test share an evaluator's file
                self.findings.append(finding)

    @property
    def faults(self) -> int:
        """Kinds of faults; notes do not count."""
        return sum(finding.fault for finding in self.findings)


class Data(NamedTuple):
    """One data set of a config, with its class's defaults filled in."""

    kind: str
    root: str
    ann_file: str | None
    prefix: Mapping[str, str]
    classes: Sequence[str] | None
    labels: int | None  # how many labels the masks may have; more than classes where some are cut
    config: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """``name`` under the data root; an absolute one as it is."""
        return Path(self.root, name)


def sample(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` positions out of ``count``, evenly spaced, the first and last included."""
    positions = np.linspace(0, max(count - 1, 0), min(count, wanted)).round().astype(int)
    return sorted({int(p) for p in positions})
