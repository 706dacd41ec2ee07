"""What goes into a paper is what the page shows."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fourierkd.analysis.paper_study import write_figures
from fourierkd.analysis.paper_tables import latex, markdown, write_tables
from fourierkd.analysis.report import write_report
from fourierkd.analysis.results import results_table
from fourierkd.analysis.study_tables import study_tables
from fourierkd.analysis.text_tables import Cell, Head, TextTable, name
from fourierkd.analysis.view import StudyView, view_of
from fourierkd.run_dir import RunDir
from tests.pages import figures_of, page_of, text_of


@pytest.fixture(scope="module")
def view(study_dir: Path, study_runs: list[RunDir]) -> StudyView:
    return view_of(results_table(study_runs), study_dir, {"time": {"training": 9.0, "total": 9.0}})


def test_every_table_has_the_cells_of_the_page(view: StudyView, tmp_path: Path) -> None:
    tables = study_tables(view)
    assert set(tables) >= {"result", "beside", "cost", "pairs", "choice", "runs", "phases", "time"}
    written = write_tables(tables.values(), tmp_path)
    assert {path.name for path in written} == {f"{n}{s}" for n in tables for s in (".md", ".tex")}
    page = page_of(write_report(view.work_dir, view.table, None, view.facts))
    text = text_of(page)
    for table in tables.values():
        assert f'id="table-{table.name}"' in page
        lines = (tmp_path / f"{table.name}.md").read_text().splitlines()
        assert len(lines) == 4 + len(table.rows)
        for line, row in zip(lines[4:], table.rows, strict=True):
            assert [cell.strip() for cell in line.strip("| ").split(" | ")] == [
                cell.plain for cell in row
            ]
            for cell in row:
                assert " ".join(cell.text.split()) in text


def test_latex_is_escaped_and_its_rows_are_whole() -> None:
    rows = [
        [Cell("a_b & 50 %", note="set by hand"), Cell("[+1.0, +2.0]")],
        [Cell("–"), Cell("3|4")],
    ]
    table = TextTable("odd", "share in %", [name("what"), Head("95 % interval")], rows)
    text = latex(table)
    assert r"\caption{share in \%}" in text
    assert r"\label{tab:odd}" in text
    assert r"\begin{tabular}{lr}" in text
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert body[0] == r"a\_b \& 50 \% (set by hand) & {}[+1.0, +2.0] \\"
    assert body[1] == r"-- & 3\textbar{}4 \\"
    assert r"3\|4" in markdown(table)


def test_latex_takes_every_character_of_a_methods_name() -> None:
    odd = r"a_b & 50% <c> ± ~^\ {x} #1 $y |v| –"
    row = [Cell(odd, badge="= tuned"), Cell("1.0")]
    table = TextTable("odd", "x", [name("method"), Head(odd)], [row])
    lines = latex(table).splitlines()
    safe = (
        r"a\_b \& 50\% \textless{}c\textgreater{} $\pm$ \textasciitilde{}\textasciicircum{}"
        r"\textbackslash{} \{x\} \#1 \$y \textbar{}v\textbar{} --"
    )
    assert lines[lines.index(r"\toprule") + 1] == rf"method & {safe} \\"
    assert lines[lines.index(r"\midrule") + 1] == rf"{safe} (= tuned) & 1.0 \\"


def test_every_figure_of_the_page_is_drawn(view: StudyView, tmp_path: Path) -> None:
    names = {path.stem for path in write_figures(view, {}, tmp_path)}
    page = page_of(write_report(view.work_dir, view.table, None, view.facts))
    of_page = {re.sub(r"-\d+$", "", figure) for figure in figures_of(page)}
    assert {figure.partition("-")[0] for figure in names} == of_page
    for figure in names:
        assert (tmp_path / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        ElementTree.parse(tmp_path / f"{figure}.svg")
    words = (tmp_path / "result.svg").read_text()
    for method in view.comparison["method"]:
        assert f">{method}<" in words
    assert ">mIoU (test)<" in words
    assert ">no" not in words
    before = (tmp_path / "curves.svg").read_bytes()
    write_figures(view, {}, tmp_path)
    assert (tmp_path / "curves.svg").read_bytes() == before
