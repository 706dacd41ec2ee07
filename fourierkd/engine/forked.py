"""Processes forked from a run, such as a data loader's workers and a metric's pool: in flow signals
and deaths, out flows who obeys, and an error that names a lost worker.

A stop that reaches all processes at once (a terminal's Ctrl-C, a job manager's SIGTERM) is for the
run alone, which wants its workers while it saves. They end when their parent tells them to.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from functools import cache
from typing import Any

from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from fourierkd.errors import RunError

STOPPING = (signal.SIGTERM, signal.SIGINT)
_LOST = re.compile(r"DataLoader worker \(pid")
_FETCH = _MultiProcessingDataLoaderIter._try_get_data.__name__


class LostWorkerError(RunError):
    """A worker's process died under a run that could go on."""


@cache
def keep_children_for_their_parent() -> None:
    """From now on forked processes are deaf to SIGINT, and to a SIGTERM that is not their parent's.

    Both are blocked while a child is set up, as Python forgets what arrives before. SIGTERM stays
    blocked in it, since only who waits for a signal is told its sender.
    """
    before = threading.local()

    def block() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        before.parent = os.getpid()

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_obey, args=(before.parent,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask | {signal.SIGTERM})

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=child)
    # A lost worker is noticed when its batch is missing. PyTorch would raise within whatever runs
    # when the signal of its death arrives, the writing of the result included.
    handling: Any = signal_handling
    handling._SIGCHLD_handler_set = True


def _obey(parent: int) -> None:
    """End by the SIGTERM of ``parent``, or by anybody's once that is gone."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent or os.getppid() != parent:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.kill(os.getpid(), signal.SIGTERM)


def lost_worker(error: BaseException) -> LostWorkerError | None:
    """``error`` in words where it comes from the death of a loader's worker, else None."""
    if not any(_tells_of_a_death(cause) for cause in _chain(error)):
        return None
    return LostWorkerError(
        "a data loader's worker died (out of memory, or of shared memory?)",
        fix="the run can go on from its last checkpoint; lower num_workers if it comes again",
    )


def _tells_of_a_death(error: BaseException) -> bool:
    """PyTorch's own words, or a worker's socket that is closed a moment before it counts as dead;
    what fails within a worker is raised elsewhere.
    """
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError):
        return any(step.name == _FETCH for step in traceback.extract_tb(error.__traceback__))
    return _LOST.search(str(error)) is not None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
