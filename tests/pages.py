"""Pages of the package, read back: text, figures and their numbers."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs


def page_of(path: Path) -> str:
    """The page less plotly.js."""
    return path.read_text().replace(get_plotlyjs(), "")


def text_of(page: str) -> str:
    """What a reader sees: tags, scripts and styles removed."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare)))


def figures_of(page: str) -> dict[str, dict[str, Any]]:
    """Name of a figure -> its data and layout."""
    found = re.findall(
        r'id="plot-([^"]+)".*?<script type="application/json">(.*?)</script>', page, flags=re.S
    )
    return {name: json.loads(data) for name, data in found}


def numbers(values: Any) -> list[float]:
    """A list of numbers as plotly writes it: plain, or as base64."""
    if isinstance(values, dict):
        values = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return list(values)
