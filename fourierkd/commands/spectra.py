"""``fourierkd spectra``: in flow one or two run folders, out flow a figure and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fourierkd.analysis.ledger import LEVEL, band_name, read_ledger
from fourierkd.analysis.ledger_difference import last_validation, ledger_difference
from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir, require_writable, write_atomic

if TYPE_CHECKING:
    import rich.table

HEADS = {
    "student_share": "student\nshare",
    "teacher_share": "teacher\nshare",
    "share_change": "student\nchange",
    "share_error": "share\nerror",
    "amplitude_error": "amplitude\nerror",
    "coherence": "\ncoherence",
    "phase_coherence": "phase\ncoherence",
}
_ONE = (
    "errors: of the amplitude, relative to the teacher's, above 0 the student has more; share: of "
    "the map's variance. Where no loss stands between two maps they are compared by shares alone"
)
_DIFFERENCE = (
    "student change: of the amplitude, relative, maps of both students at variance 1; the rest: "
    "differences"
)


def show_spectra(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Draw and print the spectral ledger of a run, or of one run minus another.

    Args:
        folders: of one or two runs.
        out: the figure's file; by default ``pictures/ledger.png`` in the first run's folder, or
            ``pictures/ledger_minus_<other>.png``.

    Returns:
        The figure's file.

    Raises:
        ConfigError: more than two folders, or a file that cannot be written.
        RunError: a folder holds no run or no ledger.
        DataError: a ledger is damaged, or the two cannot be compared.
    """
    if len(folders) > 2:
        raise ConfigError(
            "spectra are those of one run, or of two that are taken from each other",
            value=len(folders),
            fix="name one or two run folders",
        )
    runs = [RunDir(folder) for folder in folders]
    tables = [read_ledger(run) for run in runs]
    names = [run.path.name for run in runs]
    beside = f"_minus_{names[1]}" if len(runs) > 1 else ""
    path = Path(out) if out is not None else runs[0].pictures / f"ledger{beside}.png"
    shown = tables[0] if len(runs) == 1 else ledger_difference(*tables)
    require_writable(path)
    from fourierkd.analysis.ledger_figure import difference_figure, ledger_figure, png

    if len(runs) == 1:
        figure = ledger_figure(shown, name=names[0])
    else:
        figure = difference_figure(shown, *tables, names=(names[0], names[1]))
    write_atomic(path, png(figure))
    _print(shown, " minus ".join(names), path)
    return path


def _print(table: pd.DataFrame, name: str, path: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    last = last_validation(table)
    for view in _views(last, f"{name}, iteration {last['iter'].iloc[0]}"):
        console.print(view)
    about = _DIFFERENCE if "share_change" in table else _ONE
    for line in (about, "bands: fractions of Nyquist; 0 is the map's mean", f"figure: {path}"):
        console.print(line, soft_wrap=True)


def _views(last: pd.DataFrame, name: str) -> Iterator[rich.table.Table]:
    """A table a level; columns that no level has are left out."""
    from rich import box
    from rich.table import Table

    heads = [column for column in HEADS if column in last and last[column].notna().any()]
    keys = [column for column in LEVEL if column in last]
    signed = heads if "share_change" in last else ("share_error", "amplitude_error")
    forms = dict.fromkeys(signed, "+.3f")
    for _, own in last.groupby(keys, dropna=False, sort=False):
        what = own["compared"].iloc[0] if "compared" in own else own["layer"].iloc[0]
        view = Table(title=f"{name}\n{what}", box=box.SIMPLE_HEAD, pad_edge=False)
        view.add_column("\nband", no_wrap=True)
        for head in heads:
            view.add_column(HEADS[head], justify="right")
        for row in own.to_dict("records"):
            cells = ("–" if pd.isna(row[c]) else f"{row[c]:{forms.get(c, '.3f')}}" for c in heads)
            view.add_row(band_name(row["low"], row["high"]), *cells)
        yield view
