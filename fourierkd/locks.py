"""Locks on files: in flow paths, out flows that this process alone holds one, or who does.

A lock ends with its process, however that ends. Forked children (workers of a data loader) let go
of it: one that hangs would otherwise keep a run locked that is dead.

No other module of the package calls ``flock``. ``filelock`` is not used: here a lock's file names
its holder and the person is told whom to wait for, its age is a sign of life, a link in its place
is refused, and a reader of generated data hands its lock down to the workers that read.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fourierkd.errors import RunError

_HOLDER = re.compile(r"process (?P<pid>\d+) on (?P<host>.+)")
_CLOCK = 2.0  # seconds by which a file system's clock may lag behind
_descriptors: set[int] = set()


class Held(Exception):  # noqa: N818 - the caller says what it means
    """Another process holds the lock: ``holder`` names it, as far as it could write its name."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of ``path``, a file that names its holder; made where it does not exist.

    Args:
        path: of the lock.
        wait: for whoever holds it, and write no name: others wait too, and ask for none.

    Raises:
        Held: another process has it, and this one does not wait.
        RunError: the file system gives no lock, for another reason.
        OSError: the file cannot be opened, or is a link: what that leads to is somebody's file.
    """
    descriptor = _open(path, readable_alone=wait)
    _descriptors.add(descriptor)
    try:
        if wait:
            take(descriptor, path)
        elif is_held(descriptor, path):
            holder = os.pread(descriptor, 400, 0).decode(errors="replace").strip()
            raise Held(holder or "another process")
        else:
            with suppress(OSError):  # a full disk: the lock holds without a name
                name = f"process {os.getpid()} on {socket.gethostname()}"
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, name.encode(), 0)
        yield
    finally:
        if descriptor in _descriptors:
            _descriptors.remove(descriptor)
            os.close(descriptor)


def take(descriptor: int, path: Path) -> None:
    """Lock an open file, and wait for it; its children hold it too.

    Raises:
        RunError: as ``locked``.
    """
    with _named(path):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_held(descriptor: int, path: Path) -> bool:
    """Whether somebody else has locked a file; where nobody has, it is locked from here on.

    Raises:
        RunError: as ``locked``.
    """
    with _named(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(path: Path) -> tuple[str, bool | None] | None:
    """Who holds the lock of ``path``, by its file alone: nobody who asks for it is in the way.

    Returns:
        Its name and whether its process lives; None for a process of another machine, of which a
        file tells nothing. None alone where nobody has held it.
    """
    import psutil

    try:
        name = path.read_text(errors="replace").strip()
        taken = path.stat().st_mtime
    except OSError:
        return None
    found = _HOLDER.fullmatch(name)
    if found is None:
        return None
    if found["host"] != socket.gethostname():
        return name, None
    try:  # a number may have been given to another process since
        return name, psutil.Process(int(found["pid"])).create_time() < taken + _CLOCK
    except (psutil.Error, OverflowError):
        return name, False


def _open(path: Path, *, readable_alone: bool) -> int:
    """Descriptor of a lock's file, made where there is none, its content kept."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # another user made it
        if not readable_alone:
            raise
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A file system that gives no locks is named."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the file system must give a lock ({error.strerror})",
            value=str(path),
            fix="nobody holds it; use a local disk, or mount this one with locks",
        ) from error


def _let_go() -> None:
    """In a forked child: the parent's locks are the parent's."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go)
