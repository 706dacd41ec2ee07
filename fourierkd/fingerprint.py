"""What identifies values, files and data: in flow values and paths, out flow SHA-256 digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# annotations and lists of images: an edit may leave them as long as they were
CONTENT = (".csv", ".json", ".txt")
BLOCK = 1 << 20  # bytes read at once


def sha256(data: bytes) -> str:
    """sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """sha256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode())


def file_sha256(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()


def changed_since(path: str | os.PathLike[str], known: str | None) -> str | None:
    """What became of a file that was kept in mind by its sha256: ``is gone`` or ``has <the first 16
    digits> now``; None where it is that file.

    Args:
        path: where it was.
        known: None: its bytes are not known, and it has to be there.
    """
    if not os.path.isfile(path):
        return "is gone"
    now = file_sha256(path)
    return None if known in (None, now) else f"has {now[:16]} now"


def is_path(value: object) -> bool:
    """Whether a value names a place: it may move, and what lies there is compared by content."""
    return isinstance(value, str) and value.startswith("/")


def data_fingerprint(folder: str | os.PathLike[str]) -> str:
    """Of the files of a data set: names and sizes of all, the content of annotation files.

    Hidden files and folders do not count; images and masks are not read, which would take as long
    as an epoch. A folder that is not there has the fingerprint of an empty one.
    """
    root, files = Path(folder), []
    for parent, names, leaves in os.walk(root, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for leaf in sorted(leaf for leaf in leaves if not leaf.startswith(".")):
            path = Path(parent, leaf)
            if path.is_file():  # no broken link
                content = file_sha256(path) if path.suffix.lower() in CONTENT else None
                files.append((str(path.relative_to(root)), path.stat().st_size, content))
    return digest(files)


def different_keys(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Dotted keys in which two nested values differ; paths do not count, as folders move."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {*old, *new}:
            inner = f"{key}.{name}" if key else str(name)
            if name in old and name in new:
                yield from different_keys(old[name], new[name], inner)
            else:
                yield inner
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from different_keys(one, other, f"{key}.{index}")
    elif repr(old) != repr(new) and not (is_path(old) and is_path(new)):  # nan is nan
        yield key
