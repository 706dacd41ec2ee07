"""Tables for papers and notes: tables of text flow in, Markdown and LaTeX files flow out.

The cells are those of the page, so their digits agree with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fourierkd.analysis.text_tables import TextTable
from fourierkd.run_dir import write_atomic

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "±": r"$\pm$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


def write_tables(tables: Iterable[TextTable], folder: Path) -> list[Path]:
    """Write ``<name>.md`` and ``<name>.tex`` of each table; returns the paths."""
    written = []
    for table in tables:
        for suffix, text in ((".md", markdown(table)), (".tex", latex(table))):
            written.append(folder / f"{table.name}{suffix}")
            write_atomic(written[-1], text)
    return written


def markdown(table: TextTable) -> str:
    """A caption and a pipe table, numbers to the right."""
    rules = ["--:" if head.number else "---" for head in table.heads]
    lines = [
        _piped([head.text for head in table.heads]),
        f"| {' | '.join(rules)} |",
        *(_piped([cell.plain for cell in row]) for row in table.rows),
    ]
    return f"{table.caption}\n\n" + "\n".join(lines) + "\n"


def latex(table: TextTable) -> str:
    """A ``table`` of the package booktabs, labelled ``tab:<name>``."""
    columns = "".join("r" if head.number else "l" for head in table.heads)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _ended([head.text for head in table.heads]),
        r"\midrule",
        *(_ended([cell.plain for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _piped(cells: Sequence[str]) -> str:
    safe = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(safe)} |"


def _ended(cells: Sequence[str]) -> str:
    # braces: a cell that begins with "[" would else be an argument of the row above it
    cells = [f"{{}}{_escaped(c)}" if c.startswith("[") else _escaped(c) for c in cells]
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return " ".join(text.split()).translate(_LATEX)
