"""Runs of a study: what is asked of them, and what their folders say: which are still to be done.

A result of another request is refused, that of a run whose process could not is written here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fourierkd.errors import StudyError
from fourierkd.fingerprint import is_path
from fourierkd.records import MAXIMIZE, Request, Result, State
from fourierkd.run_dir import Row, RunDir
from sweeps.executors.base import End
from sweeps.watch import Pulse


@dataclass
class Run:
    """One run to be done.

    Attributes:
        run_dir: its folder.
        request: what is asked of it.
        label: for the display.
        metric: the validation metric that is passed on; None: none is.
        report: called with (row, value) of each validation; a text asks for the run to be pruned.
        done: called once with the result of an ended run.
        counts: whether the display counts it.
    """

    run_dir: RunDir
    request: Request
    label: str
    done: Callable[[Result], None]
    metric: str | None = None
    report: Callable[[Row, float], str | None] = lambda *_: None
    counts: bool = True
    offset: int = 0
    started: float = 0.0
    stop: tuple[State, str] | None = None
    pulse: Pulse = field(init=False)
    begun: bool = False  # its process, for the server may have to load its packages first
    ended: tuple[End, float] | None = None  # its job, and when that was heard
    ended_for: str | None = None  # why the driver itself ended its process
    restarts: Counter[bool] = field(default_factory=Counter)  # preempted -> since ``checkpoint``
    checkpoint: Path | None = None  # the last one, when it was sent off again
    seen: dict[int, float] = field(default_factory=dict)


def forget_failure(run_dir: RunDir) -> None:
    """A failed run goes on from its last checkpoint."""
    result = run_dir.read_result()
    if result is not None and result.state == State.FAILED:
        run_dir.result.unlink()


def left_of(runs: list[Run]) -> Iterator[Run]:
    """Those without a result; all are looked at before the first is trained."""
    return iter([run for run in runs if to_do(run)])


def to_do(run: Run) -> bool:
    """Whether a run has no result yet; one that has must be of the same request.

    Raises:
        StudyError: the folder holds the run of another request.
    """
    result = run.run_dir.read_result()
    if result is None or result.state == State.STOPPED:
        return True
    check_same(run.run_dir, run.request)
    return False


def failed(run: Run, reason: str, wall: float) -> Result:
    """Write and return the result of a run whose process could not."""
    result = Result(
        state=State.FAILED,
        reason=reason,
        iters=list(run.seen)[-1] if run.seen else 0,
        seconds={"total": round(wall, 3)},
    )
    run.run_dir.write_result(result)
    return result


def failure_kind(result: Result) -> str:
    """The error's type, or how the process died, without what is said of that in brackets."""
    reason = result.reason or ""
    if reason.startswith(("Died:", "Stopped:", "Cancelled:")):
        return re.sub(r" \([^)]*\)", "", reason)
    return reason.partition(":")[0]


def check_same(run_dir: RunDir, request: Request) -> None:
    """Refuse to go on with a run that was started for another purpose.

    Raises:
        StudyError: seed, method, phase, split or options differ (paths apart: a checkout may have
            moved).
    """
    old = run_dir.read_request()
    for key in ("seed", "phase", "method", "trial", "parameters", "test_split"):
        if getattr(old, key) != getattr(request, key):
            raise StudyError(
                f"{run_dir.path} was started with another {key}",
                value=getattr(old, key),
                fix="delete this folder or choose another --work-dir",
            )
    # a request written before metrics had a direction means that larger is better
    ours, theirs = (
        {"direction": MAXIMIZE}
        | {key: value for key, value in asked.options.items() if not is_path(value)}
        for asked in (request, old)
    )
    if ours != theirs:
        changed = sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k))
        raise StudyError(
            f"{run_dir.path} was started with other options",
            value=changed,
            fix="delete this folder or choose another --work-dir",
        )
