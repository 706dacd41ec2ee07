"""Tables as a reader sees them: cells of text, from which HTML, Markdown and LaTeX are made.

So a number has the same digits wherever it is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fourierkd.analysis.figures import Style

# What a symbol of a figure looks like in text, beside the name of a method.
GLYPHS = {
    "circle": "●",
    "circle-open": "○",
    "diamond": "◆",
    "square": "■",
    "cross": "✚",
    "triangle-up": "▲",
    "x": "✖",
    "star": "★",
    "star-open": "☆",
}


@dataclass(frozen=True)
class Cell:
    """One cell: ``text``, and what stands with it.

    Attributes:
        tag: kind of a text that is shown as a label (a verdict, a state): also its CSS class.
        badge: a label behind the text.
        note: a smaller line below it; ``note_tag``: of that kind, shown as a label.
        style: of the method that the text names.
        code: the text is a path or a value, shown in a fixed width.
    """

    text: str
    tag: str = ""
    badge: str = ""
    note: str = ""
    note_tag: str = ""
    style: Style | None = None
    code: bool = False

    @property
    def glyph(self) -> str:
        """The symbol that the method has in the figures."""
        return GLYPHS[self.style.symbol] if self.style else ""

    @property
    def plain(self) -> str:
        """All of it as one text."""
        badge = f" ({self.badge})" if self.badge else ""
        if not self.note:
            return f"{self.text}{badge}"
        bare = self.note_tag or self.note.startswith("[")  # an interval has brackets of its own
        note = f" {self.note}" if bare else f" ({self.note})"
        return f"{self.text}{badge}{note}"


@dataclass(frozen=True)
class Head:
    """Of a column; ``number``: its cells are numbers, and sorted as such."""

    text: str
    number: bool = True


@dataclass(frozen=True)
class TextTable:
    """A table of a report.

    Attributes:
        name: of its file and its place on the page, such as ``result``.
        caption: what it shows, in a few words, with the unit.
        heads, rows: the columns, and as many cells in each row.
        marked: numbers of the rows that are shaded.
    """

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[int] = field(default_factory=frozenset)


def name(text: str) -> Head:
    """Head of a column of names."""
    return Head(text, number=False)


def texts(values: Sequence[str]) -> list[Cell]:
    """Cells without anything beside their text."""
    return [Cell(value) for value in values]
