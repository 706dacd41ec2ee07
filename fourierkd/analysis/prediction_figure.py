"""Pictures of predictions side by side: what ``predictions.predictions`` found flows in, figures
flow out, with the same panels and scores as the report.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fourierkd.analysis.ledger_figure import NO_VALUE
from fourierkd.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4  # panels in a row
SIZE = 2.3  # inches of a panel
LETTERS = 14  # an inch of the legend
Panel = tuple[str, Mapping[str, str] | None]  # its title, and the panel, if there is one


def images_of(found: Mapping[str, Any]) -> list[str]:
    """The names that ``image_figure`` knows; empty where no run has pictures."""
    return [own["image"] for own in found["images"]] if found else []


def image_figure(found: Mapping[str, Any], image: str | int = 0) -> Figure:
    """One image: input, truth, teacher, then the student of every method.

    Args:
        found: what ``predictions.predictions`` returns of runs with pictures.
        image: its name, or its place in ``images_of``.

    Raises:
        ConfigError: no such image.
    """
    names = images_of(found)
    place = image if isinstance(image, int) else names.index(image) if image in names else -1
    if not 0 <= place < len(names):
        raise ConfigError("no such image", value=image, fix=f"known: {', '.join(names)}")
    shown = found["images"][place]
    panels: list[Panel] = [(panel["name"], panel) for panel in shown["beside"]]
    panels += list(zip(found["methods"], shown["students"], strict=True))
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    return _drawn(rows, found, f"{shown['image']} (val), seed {found['seed']}")


def extremes_figure(found: Mapping[str, Any], rule: str) -> Figure:
    """A row a method: its own worst or best image.

    Args:
        found: as of ``image_figure``.
        rule: worst or best.

    Raises:
        ConfigError: no method has such an image.
    """
    rows: list[list[Panel]] = []
    for method, own in zip(found["methods"], found["extremes"], strict=True):
        for one in (one for one in own if one["rule"] == rule):
            titled = [(panel["name"], panel) for panel in one["panels"]]
            titled[0] = (f"{method}: {one['image']}", one["panels"][0])
            rows.append(titled)
    if not rows:
        raise ConfigError("no method has such an image", value=rule, fix="name worst or best")
    return _drawn(rows, found, f"The {rule} image of each method (val), seed {found['seed']}")


def _drawn(rows: Sequence[Sequence[Panel]], found: Mapping[str, Any], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = max(map(len, rows))
    figure = Figure(
        figsize=(SIZE * max(columns, 3), 0.9 + (SIZE + 0.3) * len(rows)), layout="constrained"
    )
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for row, own in zip(axes, rows, strict=True):
        for ax, (name, panel) in zip(row, own, strict=False):
            note = panel["note"] if panel else ""
            ax.set_title(f"{name}\n{note}" if note else name, fontsize=8)
            if panel is None:
                ax.text(0.5, 0.5, "no picture", ha="center", color="#5b6472", fontsize=8)
            else:
                ax.imshow(_pixels(panel), interpolation="nearest")
    handles = [
        Patch(
            facecolor=colour,
            edgecolor=NO_VALUE,
            label=name if name == "ignored" else f"{label} {name}",
        )
        for label, name, colour in found["legend"]
    ]
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles) + 6  # with its colour
        letters = int(LETTERS * figure.get_figwidth())
        figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=max(1, letters // longest),
            fontsize=8,
            frameon=False,
        )
    return figure


def _pixels(panel: Mapping[str, str]) -> Any:
    """(h, w, 3), uint8, of a panel's data address."""
    import numpy as np
    from PIL import Image

    data = base64.b64decode(panel["data"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
