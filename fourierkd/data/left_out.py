"""What a converter leaves out: in flow a folder and what was taken of it, out flow counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from PIL import Image

from fourierkd.data.images import StrPath


def left_out(folder: StrPath, taken: Iterable[Path], suffixes: Collection[str]) -> list[str]:
    """Files under ``folder`` of one of the suffixes (small letters) that were not taken.

    Returns:
        A count and an example for each suffix as it is written, and for sub-folders, such as
        ``2 *.webp (b.webp)``; empty where all was taken.
    """
    root, known = Path(folder), {Path(path) for path in taken}
    groups: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in suffixes and path not in known and path.is_file():
            kind = f"*{path.suffix}" if path.parent == root else "in sub-folders"
            groups.setdefault(kind, []).append(str(path.relative_to(root)))
    return [f"{len(files)} {kind} ({files[0]})" for kind, files in groups.items()]


def image_suffixes() -> Collection[str]:
    """All that Pillow knows, in small letters."""
    return Image.registered_extensions().keys()
