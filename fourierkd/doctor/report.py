"""What the doctor found: in flow named checks, out flow a table, JSON and an exit code."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fourierkd.errors import ConfigError, near

if TYPE_CHECKING:
    import rich.table

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
COLOURS = {OK: "green", WARN: "yellow", FAIL: "bold red", SKIP: "dim"}
# In the order of the table. The names are what `--accept` takes and what JSON readers look up.
CHECKS = (
    "build",
    "data",
    "schedule",
    "teacher weights",
    "teacher metric",
    "teacher loss",
    "teacher frozen",
    "teacher repeats",
    "same input",
    "taps",
    "levels",
    "connectors",
    "losses",
    "gradients",
    "gradient share",
    "unused parameters",
    "student frozen",
    "optimizer step",
    "fft dtype",
    "shortcut",
    "bands",
    "export",
    "cost",
)


@dataclasses.dataclass(frozen=True)
class Check:
    """One answer.

    Attributes:
        name: one of CHECKS.
        status: ok, warn, fail, or skip (with the reason in ``value``).
        value: what was measured, in words and numbers; one line a loss or level.
        advice: what to do; empty where nothing is to be done.
        facts: the numbers behind ``value``, for JSON.
    """

    name: str
    status: str
    value: str
    advice: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def worst(statuses: Iterable[str]) -> str:
    """The status of several findings together: fail before warn before ok."""
    found = set(statuses)
    return next((status for status in (FAIL, WARN) if status in found), OK)


def accept(checks: Sequence[Check], names: Iterable[str]) -> list[Check]:
    """The same checks, where a failure of one that the user accepts is a warning.

    Raises:
        ConfigError: no check has such a name.
    """
    names = set(names)
    for name in names - set(CHECKS):
        raise ConfigError("no check has this name", value=name, fix=near(name, CHECKS))
    return [
        dataclasses.replace(check, status=WARN, advice=f"accepted; {check.advice}")
        if check.name in names and check.status == FAIL
        else check
        for check in checks
    ]


def exit_code(checks: Iterable[Check]) -> int:
    """1 where a check failed, else 0."""
    return int(any(check.status == FAIL for check in checks))


def as_json(checks: Sequence[Check], **about: Any) -> dict[str, Any]:
    """The whole report as plain JSON values: ``about``, ``passed``, ``counts`` and ``checks``."""
    statuses = [check.status for check in checks]
    report = {
        **about,
        "passed": exit_code(checks) == 0,
        "counts": {status: statuses.count(status) for status in COLOURS},
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    plain: dict[str, Any] = _finite(report)
    return plain


def _finite(node: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(node, dict):
        return {str(key): _finite(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def table(checks: Sequence[Check]) -> rich.table.Table:
    """A table for the terminal: check, status, what was measured and, by an arrow, what to do.

    Checks that are skipped for one common reason share the last row.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    drawn.add_column("check", no_wrap=True)
    drawn.add_column("status", no_wrap=True)
    drawn.add_column("measured, and what to do (->)", overflow="fold")
    skipped: dict[str, list[str]] = {}
    for check in checks:
        if check.status == SKIP:
            skipped.setdefault(check.value, []).append(check.name)
    for check in checks:
        names = skipped.get(check.value, []) if check.status == SKIP else []
        if len(names) > 2:
            continue
        text = Text(check.value)
        if check.advice:
            text.append(f"\n-> {check.advice}", style="cyan")
        drawn.add_row(check.name, Text(check.status, style=COLOURS[check.status]), text)
    for reason, names in skipped.items():
        if len(names) > 2:
            text = Text(f"{reason}: {', '.join(names)}")
            drawn.add_row("the others", Text(SKIP, style=COLOURS[SKIP]), text)
    return drawn


def summary(checks: Sequence[Check]) -> str:
    """One line: how many checks came out how, and which failed."""
    counts = [(status, [c.name for c in checks if c.status == status]) for status in COLOURS]
    line = ", ".join(f"{len(names)} {status}" for status, names in counts if names)
    failed = [check.name for check in checks if check.status == FAIL]
    return f"{line}; failed: {', '.join(failed)}" if failed else line


def counted(count: int, what: str) -> str:
    """``1 map``, ``3 maps``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def number(value: float) -> str:
    """Four digits, or as few as it needs."""
    return f"{value:.4g}"
