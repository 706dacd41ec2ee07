"""What ``fourierkd data check`` finds: in flow examples of a fault, out flow counted findings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One kind of fault: how often, one example, what to do; a note is no fault.

    ``refused``: nobody can mean it, so ``fourierkd train`` refuses it; it warns of other faults.
    """

    what: str
    count: int = 1
    example: str = ""
    fix: str = ""
    fault: bool = True
    refused: bool = False


@dataclass
class Checked:
    """What became of one data set.

    Attributes:
        split: the splits that read it, such as ``val, test``.
        kind: its type in the config.
        images: how many it gives.
        opened: of how many images the pixels were decoded.
        looked: at what, in words.
        labels: class names in the order of their labels; None where they are not known.
        files: absolute paths of its images.
        entries: where its annotations are: an image's entry in a file, or a mask.
    """

    split: str
    kind: str
    images: int = 0
    opened: int = 0
    findings: list[Finding] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    files: frozenset[str] = frozenset()
    entries: frozenset[str] = frozenset()

    def add(
        self,
        what: str,
        examples: Sequence[object] = ("",),
        fix: str = "",
        *,
        fault: bool = True,
        refused: bool = False,
    ) -> None:
        """Record a finding, unless there is no example of it."""
        if len(examples):
            finding = Finding(what, len(examples), str(examples[0]), fix, fault, refused)
            if finding not in self.findings:  # val and test share an evaluator's file
                self.findings.append(finding)

    @property
    def faults(self) -> int:
        """Kinds of faults; notes do not count."""
        return sum(finding.fault for finding in self.findings)

    @property
    def splits(self) -> list[str]:
        """The names in ``split``."""
        return self.split.split(", ")


class Depth(NamedTuple):
    """How far a check looks.

    Attributes:
        pixels: of how many images (and masks) of a data set.
        headers: of how many images the file's head is read; None: of all.
        files: whether every file is looked for.
    """

    pixels: int
    headers: int | None = None
    files: bool = True


class Data(NamedTuple):
    """One data set of a config, with its class's defaults filled in."""

    kind: str
    root: str
    ann_file: str | None
    prefix: Mapping[str, str]
    classes: Sequence[str] | None
    known: Sequence[str] | None  # classes of the annotations, of which ``classes`` may leave some
    config: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """``name`` under the data root; an absolute one as it is."""
        return Path(self.root, name)

    @property
    def loader(self) -> Mapping[str, Any]:
        """The pipeline's step that loads the image; empty where there is none."""
        loads = (step for step in self.steps if str(step["type"]).endswith("LoadImageFromFile"))
        return next(loads, {})

    @property
    def own_labels(self) -> bool:
        """Whether a step that is not MMSegmentation's makes labels of what the masks hold."""
        names = [str(step["type"]).rpartition(".")[2] for step in self.steps]
        return bool(names) and "LoadAnnotations" not in names

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """The pipeline."""
        steps = self.config.get("pipeline") or ()
        return [step for step in steps if isinstance(step, Mapping) and "type" in step]


def real(path: Path) -> str:
    """The file that ``path`` is a link to, or itself; its folder is resolved already."""
    return os.path.realpath(path) if os.path.islink(path) else str(path)


def sample(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` positions out of ``count``, evenly spaced, the first and last included."""
    positions = np.linspace(0, max(count - 1, 0), min(count, wanted)).round().astype(int)
    return sorted({int(p) for p in positions})


def subset(items: Sequence[Any], indices: int | Sequence[int] | None) -> list[Any]:
    """What ``indices`` of a data set's config leaves of it: the first n, the last -n, or those."""
    if indices is None:
        return list(items)
    if isinstance(indices, int):
        return list(items[:indices] if indices >= 0 else items[indices:])
    return [items[i] for i in indices]
