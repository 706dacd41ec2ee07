"""Who reads a data folder: in flow folders and names of readers, out flow the names of live ones.

A reader has a file of its own beside the folder, ``.<name>.in_use.<random>``, which holds its name
and is locked for as long as it reads. The lock ends with the process, however that ends; a file
without a lock is what a killed process left, and is removed when somebody looks. Loader workers
inherit the lock, as they read too. Both functions want the folder's own lock held by the caller.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourierkd.locks import is_held, take


@contextmanager
def registered(place: Path, reader: str) -> Iterator[None]:
    """Within: ``readers(place)`` names ``reader``."""
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=_prefix(place))
    with os.fdopen(handle, "w") as file:
        take(file.fileno(), Path(name))
        os.fchmod(file.fileno(), 0o644)
        file.write(reader)
        file.flush()
        try:
            yield
        finally:
            Path(name).unlink(missing_ok=True)


def readers(place: Path) -> list[str]:
    """Names of those who read ``place`` now, in no order."""
    live = []
    for path in place.parent.glob(f"{_prefix(place)}*"):
        with open(path) as file:
            if is_held(file.fileno(), path):
                live.append(file.read())
            else:
                path.unlink(missing_ok=True)
    return live


def _prefix(place: Path) -> str:
    return f".{place.name}.in_use."
