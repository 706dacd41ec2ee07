"""Locks on files: in flow a path, out flows that this process alone holds it, or who does.

A lock ends with its process, however that ends. Forked children (workers of a data loader) let go
of it: one that hangs would otherwise keep a run locked that is dead.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fourierkd.errors import RunError

_descriptors: set[int] = set()


class Held(Exception):  # noqa: N818 - the caller says what it means
    """Another process holds the lock: ``holder`` names it, as far as it could write its name."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def open_lock(path: Path) -> int:
    """Descriptor of a lock's file, made where there is none, its content kept, for ``fcntl.flock``.

    Raises:
        OSError: it cannot be made, or it is a link: what that leads to is somebody's file.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, a file that names its holder; made where it does not exist.

    Raises:
        Held: another process has it.
        RunError: the file system gives no lock, for another reason.
        OSError: the file cannot be opened.
    """
    descriptor = open_lock(path)
    _descriptors.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 400, 0).decode(errors="replace").strip()
            raise Held(holder or "another process") from error
        except OSError as error:
            raise RunError(
                f"the file system must give a lock ({error.strerror})",
                value=str(path),
                fix="nobody holds it; use a local disk, or mount this one with locks",
            ) from error
        with suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        if descriptor in _descriptors:
            _descriptors.remove(descriptor)
            os.close(descriptor)


def _let_go() -> None:
    """In a forked child: the parent's locks are the parent's."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go)
