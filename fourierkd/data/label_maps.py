"""In flow JSON or CSV files, out flow class colours or index maps; errors name file and line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from fourierkd.errors import DataError

Colour = tuple[int, int, int]
Entry = tuple[int, str, list[Any]]  # line, key, values
HEADERS = (["r", "g", "b"], ["red", "green", "blue"], ["to"])  # after the key


def read_colours(path: str | Path) -> dict[str, Colour]:
    """Class name -> RGB colour, in label order.

    JSON: ``{"Sky": [128, 128, 128], ...}``. CSV: lines ``Sky,128,128,128``, with or without a
    header ``name,r,g,b``.

    Raises:
        DataError: missing or malformed file, channel outside 0..255, name or colour given twice.
    """
    file = Path(path)
    colours: dict[str, Colour] = {}
    for line, name, values in _entries(file, width=3):
        channels = [_whole(value, 255) for value in values]
        if len(channels) != 3 or None in channels:
            raise DataError(
                f"{file}:{line}: a colour must be three whole numbers from 0 to 255",
                value=values,
                fix=f"correct the colour of {name!r}",
            )
        colour: Colour = (channels[0] or 0, channels[1] or 0, channels[2] or 0)
        if name in colours or colour in colours.values():
            what = name if name in colours else colour
            raise DataError(f"{file}:{line}: a name and a colour must be given once", value=what)
        colours[name] = colour
    return colours


def read_remap(path: str | Path) -> dict[int, int]:
    """Old index (0..65535) -> new index (0..255, of which 255 is ignored).

    JSON: ``{"11": 255, ...}``. CSV: lines ``11,255``, with or without a header ``from,to``.

    Raises:
        DataError: missing or malformed file, index outside its range, old index given twice.
    """
    file = Path(path)
    remap: dict[int, int] = {}
    for line, key, values in _entries(file, width=1):
        old, new = _whole(key, 65535), _whole(values[0], 255) if len(values) == 1 else None
        if old is None or new is None:
            raise DataError(
                f"{file}:{line}: an index map must have whole numbers, old 0..65535 and new 0..255",
                value=f"{key}: {values}",
                fix="correct the line",
            )
        if old in remap:
            raise DataError(f"{file}:{line}: an old index must be given once", value=old)
        remap[old] = new
    return remap


def _whole(value: Any, high: int) -> int | None:
    """``value`` as a whole number from 0 to ``high``, None where it is none."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        return None
    return value


def _entries(file: Path, width: int) -> list[Entry]:
    """The entries of a JSON object or of CSV lines with ``width`` values after the key."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("a map file must exist", value=str(file), fix="check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: a map file must be UTF-8 text ({error.reason})") from error
    if file.suffix.lower() == ".json":
        entries = _json_entries(file, text)
    elif file.suffix.lower() == ".csv":
        entries = _csv_entries(file, text, width)
    else:
        raise DataError(
            "a map file must be .json or .csv", value=str(file), fix="rename or convert it"
        )
    if not entries:
        raise DataError(
            "a map file must hold entries", value=str(file), fix="add one line per class"
        )
    return entries


def _json_entries(file: Path, text: str) -> list[Entry]:
    try:
        # pairs keep a key given twice, which a dict would hide
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}:{error.lineno}: the file must be JSON ({error.msg}, column {error.colno})",
            fix="correct the file",
        ) from error
    if not text.lstrip().startswith("{"):
        raise DataError(f"{file}:1: the file must be a JSON object", fix='use {"name": value, ...}')
    entries: list[Entry] = []
    position = 0
    for key, value in pairs:
        found = text.find(json.dumps(key, ensure_ascii=False), position)
        position = found + 1 if found >= 0 else position  # an escaped key keeps the line before it
        line = text.count("\n", 0, position) + 1
        entries.append((line, key, value if isinstance(value, list) else [value]))
    return entries


def _csv_entries(file: Path, text: str, width: int) -> list[Entry]:
    entries: list[Entry] = []
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        cells = [cell.strip() for cell in row]
        header = not entries and [cell.lower() for cell in cells[1:]] in HEADERS
        if header or not any(cells):
            continue
        if len(cells) != width + 1:
            raise DataError(
                f"{file}:{line}: a line must have {width + 1} cells",
                value=",".join(row),
                fix="use name,r,g,b" if width == 3 else "use from,to",
            )
        entries.append((line, cells[0], list(cells[1:])))
    return entries
