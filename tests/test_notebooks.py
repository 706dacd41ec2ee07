"""Every notebook is stored without outputs, defines nothing long, and runs on the stored study.

``tests/data/study`` holds the results table of a real default study with a few of its run folders'
scalars and pictures; ``FOURIERKD_STUDY`` names another work dir to run on.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from fourierkd.analysis import compare, compare_pairs, load_results, sentences
from fourierkd.analysis.results import results_table, write_results
from fourierkd.records import MAXIMIZE
from fourierkd.tracking import past_runs
from fourierkd.tracking.past_runs import PastRun
from sweeps.imported import import_runs

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDY = Path(os.environ.get("FOURIERKD_STUDY", ROOT / "tests" / "data" / "study")).absolute()
MAX_LINES = 5

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_the_notebooks_that_the_readme_names() -> None:
    named = re.findall(r"notebooks/(\w+)\.ipynb", (ROOT / "README.md").read_text())
    assert named == [path.stem for path in NOTEBOOKS]


@by_name
def test_stored_without_outputs(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@by_name
def test_defines_nothing_long(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < MAX_LINES


@by_name
def test_runs_on_the_stored_study(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STUDY.is_dir(), f"{STUDY} must hold a study's results table and pictures"
    outputs = _outputs(path, STUDY, monkeypatch)
    if path.stem == "01_study":
        _check_study(outputs)


def test_the_margin_and_the_intervals_are_those_of_the_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(STUDY, tmp_path / "study"))
    (study / "study.json").write_text('{"report": {"looked": true, "margin": 20.0}}')
    outputs = _outputs(ROOT / "notebooks" / "01_study.ipynb", study, monkeypatch)
    text = "".join(o.text for o in outputs if o.output_type == "stream")
    found = compare(load_results(study), baseline="student_alone", margin=20.0, looked=True)
    assert all(line in text for line in sentences(found, "mIoU"))


@by_name
def test_runs_on_a_study_that_was_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_results(results_table([], work_dir=tmp_path), tmp_path)
    assert _outputs(path, tmp_path, monkeypatch)


def test_several_studies_stand_side_by_side(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each with its own verdicts, and one whose runs have no table entry beside them."""
    studies = [Path(shutil.copytree(STUDY, tmp_path / name)) for name in ("a", "b")]
    (studies[1] / "study.json").write_text('{"report": {"margin": 20.0}}')
    write_results(results_table([], work_dir=tmp_path / "c"), tmp_path / "c")
    named = os.pathsep.join(map(str, [*studies, tmp_path / "c"]))
    outputs = _outputs(ROOT / "notebooks" / "02_compare.ipynb", named, monkeypatch)
    pages = "".join(o.data.get("text/html", "") for o in outputs if "data" in o)
    first, second = re.findall(r"<caption>(\w)</caption>.*?</table>", pages, flags=re.DOTALL)
    assert (first, second) == ("a", "b")
    for name, margin in (("a", None), ("b", 20.0)):
        found = compare_pairs(load_results(STUDY), margin=margin).query("method < against")
        shown = re.search(rf"<caption>{name}</caption>.*?</table>", pages, flags=re.DOTALL)
        assert shown is not None
        words = re.findall(r">(better|worse|equivalent|undecided)</td>", shown[0])
        assert words == list(found["verdict"])


def test_older_runs_of_wandb_stand_beside_a_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With verdicts of their own, and no score of theirs tested against one of the study."""
    scores = {"cwd": (70.0, 71.0, 72.5), "plain": (60.0, 61.2, 62.0)}
    runs = [
        PastRun(
            id=f"{method}{seed}",
            name=method,
            project="old",
            place=f"{method}{seed}.wandb",
            state="finished",
            config={"method": method, "seed": seed},
            summary={"test/mIoU": score},
        )
        for method, own in scores.items()
        for seed, score in enumerate(own)
    ]
    monkeypatch.setattr(past_runs, "runs_in_files", lambda _: runs)
    old = tmp_path / "old"
    import_runs(["wandb"], old, metric="test/mIoU", direction=MAXIMIZE)
    named = os.pathsep.join(map(str, [STUDY, old]))
    outputs = _outputs(ROOT / "notebooks" / "02_compare.ipynb", named, monkeypatch)
    pages = "".join(o.data.get("text/html", "") for o in outputs if "data" in o)
    assert "71.17 ± 1.3 (3)" in pages
    shown = re.search(r"<caption>old</caption>.*?</table>", pages, flags=re.DOTALL)
    assert shown is not None
    assert re.findall(r">(better|worse|equivalent|undecided)</td>", shown[0]) == ["better"]


def _outputs(path: Path, study: Path | str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook shows of a study, or of several."""
    monkeypatch.setenv("FOURIERKD_STUDY", str(study))
    monkeypatch.setenv("FOURIERKD_STUDIES", str(study))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    return outputs


def _check_study(outputs: list[Any]) -> None:
    """The comparison in words, a figure per section, and the spectra of at least one run."""
    text = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert "student_alone" in text
    assert "Best method by mean: " in text
    assert "paired seed" in text
    assert "was chosen by" in text
    assert "trials (" in text
    shown = [o.data["application/vnd.plotly.v1+json"] for o in outputs if _is_figure(o)]
    kinds = [trace["type"] for figure in shown for trace in figure["data"]]
    assert "bar" in kinds  # importance
    assert "heatmap" in kinds  # a spectrum
    titles = [figure["layout"].get("xaxis", {}).get("title", {}).get("text") for figure in shown]
    assert "frequency (fraction of Nyquist)" in titles


def _is_figure(output: Any) -> bool:
    return "application/vnd.plotly.v1+json" in output.get("data", {})
