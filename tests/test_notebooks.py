"""Every notebook is stored without outputs, defines nothing long, and runs on the stored study.

``tests/data/study`` holds the results table of a real default study with a few of its run folders'
scalars and pictures; ``FOURIERKD_STUDY`` names another work dir to run on. ``shapes_low`` beside it
and ``shapes_det`` are small comparisons of each task, with what 03 and 04 read: spectral ledgers,
arrays of classes, pictures of predictions.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from fourierkd.analysis import classes, compare, compare_pairs, load_results, sentences
from fourierkd.analysis.results import results_table, write_results
from fourierkd.analysis.study_tables import found_classes, study_tables
from fourierkd.analysis.view import StudyView, view_of
from fourierkd.records import MAXIMIZE, class_score
from fourierkd.tracking import past_runs
from fourierkd.tracking.past_runs import PastRun
from sweeps.imported import import_runs
from tests.pages import numbers

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDY = Path(os.environ.get("FOURIERKD_STUDY", ROOT / "tests" / "data" / "study")).absolute()
TASKS = [ROOT / "tests" / "data" / name for name in ("shapes_low", "shapes_det")]
MAX_LINES = 5
PATIENCE = 900  # seconds a cell, on a busy machine

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
def test_runs_on_the_stored_studies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """01 on one study, 02 to 04 on those of all tasks, side by side."""
    assert STUDY.is_dir(), f"{STUDY} must hold a study's results table and pictures"
    alone = path.stem == "01_study"
    outputs = _outputs(path, STUDY if alone else os.pathsep.join(map(str, TASKS)), monkeypatch)
    checks = {"01_study": _check_study, "03_spectra": _check_spectra}
    checks["04_predictions_and_classes"] = _check_classes
    if path.stem in checks:
        checks[path.stem](outputs)


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
    client = NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=resources)
    client.execute()
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


def _check_spectra(outputs: list[Any]) -> None:
    """The numbers of the ledgers of each study, a picture a level, and one minus another."""
    text, tables = _streams(outputs), _tables(outputs)
    for study in TASKS:
        assert re.search(rf"{study.name}: (\d+) of \1 runs have a spectral ledger", text)
    levels = 0
    for study in TASKS:
        table = load_results(study)
        runs = table[(table["phase"] == "final") & (table["method"] == "pkd")]
        ends = [sorted((study / run / "spectra").glob("*"))[-1] for run in runs["run_dir"]]
        last = pd.concat([pd.read_parquet(path) for path in ends])
        assert last["iter"].nunique() == 1
        for layer, own in last.groupby("layer"):
            levels += 1
            means = own.groupby(["low", "high"], sort=False)["share_error"].mean()
            shown = tables[f"{study.name}, {layer}: share_error"]["pkd"]
            assert list(shown) == ["–" if np.isnan(v) else f"{v:+.3f}" for v in means]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert levels == 2 + 3
    assert len(pictures) == 2 * levels + len(TASKS)


def _check_classes(outputs: list[Any]) -> None:
    """What the first plot, the tables and the curves have is what the report says."""
    figures = [o.data["application/vnd.plotly.v1+json"] for o in outputs if _is_figure(o)]
    tables, text = _tables(outputs), _streams(outputs)
    for study, first in zip(TASKS, figures, strict=False):
        view = view_of(load_results(study), study, {})
        report = study_tables(view)["classes"]
        methods = [head.text for head in report.heads[1:]]
        said = {row[0].text: [cell.text for cell in row[1:]] for row in report.rows}
        shown = tables[f"{study.name}: {class_score(view.metric.name)} (test)"]
        assert {name: list(shown.loc[name, methods]) for name in said} == said
        found = found_classes(view)
        assert classes.sentence(found, methods[1], methods[0], _score(view)) in text
        drawn = first["data"][0]  # the best method's differences, with their intervals
        own = found[found["method"] == methods[1]]
        assert (drawn["name"], numbers(drawn["x"])) == (methods[1], list(own["difference"]))
        assert first["layout"]["xaxis"]["title"]["text"].startswith(f"{study.name}: ")
    kinds = [{trace["type"] for trace in figure["data"]} for figure in figures]
    assert kinds.count({"heatmap"}) == 2  # of segmentation: methods, and minus the baseline
    matrices = next(figure for figure in figures if figure["data"][0]["type"] == "heatmap")
    seeds = [np.load(p) for p in sorted(TASKS[0].glob("runs/final_pkd_*/classes_test.npz"))]
    counts = sum(seed["confusion"] for seed in seeds)
    pkd = next(i for i, a in enumerate(matrices["layout"]["annotations"]) if "pkd" in a["text"])
    diagonal = np.diag(100 * counts / counts.sum(1, keepdims=True))
    assert np.allclose(np.diag(_array(matrices["data"][pkd]["z"])), diagonal)
    sizes = [f for f in figures if f["layout"]["xaxis"].get("ticktext", [""])[0] == "small"]
    assert len(sizes) == 1
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2 * len(TASKS)  # an image, and the worst of each method


def _score(view: StudyView) -> str:
    return f"{class_score(view.metric.name)} ({view.split})"


def _array(values: Any) -> np.ndarray:
    """A table of numbers as plotly writes it."""
    if not isinstance(values, dict):
        return np.array(values, dtype=float)
    shape = [int(part) for part in values["shape"].split(",")]
    return np.array(numbers(values)).reshape(shape)


def _streams(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def _tables(outputs: list[Any]) -> dict[str, pd.DataFrame]:
    """Caption -> the texts of a table that is shown."""
    pages = "".join(o.data.get("text/html", "") for o in outputs if "data" in o)
    found = {}
    for table in re.findall(r"<table.*?</table>", pages, flags=re.DOTALL):
        caption = re.search(r"<caption>(.*?)</caption>", table)
        head, body = (_rows(part) for part in table.split("<tbody>"))
        if caption is not None:
            index = [row[0] for row in body]
            found[caption[1]] = pd.DataFrame(
                [row[1:] for row in body], index=index, columns=head[0][1:]
            )
    return found


def _rows(part: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", part, flags=re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return [[unescape(cell).strip() for cell in row] for row in cells]


def _is_figure(output: Any) -> bool:
    return "application/vnd.plotly.v1+json" in output.get("data", {})
