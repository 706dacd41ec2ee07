"""In flows a freshly built folder, out flows one that survives a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """fsync all files and folders under ``folder``, then itself."""
    for path in (*folder.rglob("*"), folder):
        flush(path)
