"""Arrays of classes: sums and means by hand, what is left out, and the figures' numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.class_array_figures import confusion_figure, recall_figure, sizes_figure
from fourierkd.analysis.class_arrays import confusions, precision_recall, row_shares, sizes
from fourierkd.analysis.figures import styles
from fourierkd.analysis.results import results_table
from fourierkd.errors import DataError
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
PALETTE = styles(["pkd"], "student_alone")
NAMES = ["background", "a <b>"]
THRESHOLDS, RECALL = np.array([0.5, 0.75, 0.95]), np.linspace(0, 1, 101)


def with_arrays(run: RunDir, **arrays: np.ndarray) -> RunDir:
    np.savez_compressed(run.class_arrays("test"), iter=np.array(20), **arrays)
    return run


def segmentation(build: Build, method: str, seed: int, matrix: list, **known) -> RunDir:
    run = build(f"{method}_{seed}", phase="final", method=method, seed=seed, test=30.0, **known)
    return with_arrays(run, classes=np.array(NAMES), confusion=np.array(matrix))


def detection(build: Build, method: str, seed: int, level: float) -> RunDir:
    """Precision ``level`` up to a recall of one half; no object of the second class."""
    run = build(f"{method}_{seed}", phase="final", method=method, seed=seed, test=30.0)
    curve = np.where(RECALL <= 0.5, level, 0.0)
    precision = np.stack([np.stack([curve, curve / 2, curve / 4]), np.full((3, 101), np.nan)])
    arrays = {"bbox_precision": precision.astype(np.float32)}
    names = np.array(NAMES)
    return with_arrays(run, classes=names, thresholds=THRESHOLDS, recall=RECALL, **arrays)


def test_confusions_are_sums_of_complete_runs(build_run: Build, tmp_path: Path) -> None:
    runs = [
        segmentation(build_run, "student_alone", 0, [[6, 2], [0, 0]]),
        segmentation(build_run, "pkd", 0, [[7, 1], [2, 2]]),
        segmentation(build_run, "pkd", 1, [[5, 3], [0, 4]]),
        segmentation(build_run, "pkd", 2, [[9, 9], [9, 9]], state="failed", reason="x"),
        build_run("cwd_0", phase="final", method="cwd", seed=0, test=30.0),
    ]
    found = confusions(results_table(runs), tmp_path, split="test")
    assert {method: count for method, (_, count) in found.items()} == {
        "student_alone": 1,
        "pkd": 2,
    }
    matrix = found["pkd"][0]
    assert matrix.loc["background"].to_dict() == {"background": 12, "a <b>": 4}
    assert matrix.loc["a <b>"].to_dict() == {"background": 2, "a <b>": 6}
    assert confusions(results_table(runs), tmp_path, split="val") == {}

    figure = confusion_figure(found)
    assert [a.text for a in figure.layout.annotations] == ["student_alone (n=1)", "pkd (n=2)"]
    assert figure.data[1].z.tolist() == [[75, 25], [25, 75]]
    assert np.isnan(figure.data[0].z[1]).all()
    assert list(figure.data[0].x) == ["background", "a &lt;b&gt;"]
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 100)
    minus = confusion_figure(found, against="student_alone")
    assert len(minus.data) == 1
    assert minus.data[0].z[0].tolist() == [0, 0]  # 75 % of both; 6 of 8 and 12 of 16
    assert minus.layout.coloraxis.cmin == -minus.layout.coloraxis.cmax


def test_shares_are_of_the_truth() -> None:
    shares = row_shares(pd.DataFrame([[3, 1], [0, 0]]))
    assert shares.to_numpy()[0].tolist() == [75, 25]
    assert np.isnan(shares.to_numpy()[1]).all()


def test_other_classes_and_damage_are_told(build_run: Build, tmp_path: Path) -> None:
    runs = [segmentation(build_run, "pkd", seed, [[7, 1], [2, 2]]) for seed in (0, 1)]
    with_arrays(runs[1], classes=np.array(["x", "y"]), confusion=np.eye(2, dtype=int))
    with pytest.raises(DataError, match=r"classes are equal.*pkd_1"):
        confusions(results_table(runs), tmp_path, split="test")
    runs[1].class_arrays("test").write_bytes(b"PK broken")
    with pytest.raises(DataError, match=r"pkd_1.classes_test.npz is not a readable file"):
        confusions(results_table(runs), tmp_path, split="test")


def test_curves_are_means_over_runs(build_run: Build, tmp_path: Path) -> None:
    runs = [
        detection(build_run, "student_alone", 0, 0.4),
        detection(build_run, "pkd", 0, 0.8),
        detection(build_run, "pkd", 1, 0.6),
    ]
    found = precision_recall(results_table(runs), tmp_path, split="test")
    assert set(found["class"]) == {"background"}  # the other has no object
    assert set(found["kind"]) == {"bbox"}
    own = found[(found["method"] == "pkd") & (found["threshold"] == 0.75)]
    assert set(own["n"]) == {2}
    assert own[own["recall"] == 0.3]["precision"].item() == pytest.approx(0.35)
    assert own[own["recall"] == 0.6]["precision"].item() == 0
    ap = own["precision"].mean()
    assert ap == pytest.approx(0.35 * 51 / 101)

    figure = recall_figure(found, palette=PALETTE)
    assert [a.text for a in figure.layout.annotations] == [
        "mean over 1 classes, IoU 0.5",
        "mean over 1 classes, IoU 0.75",
    ]
    assert [trace.name for trace in figure.data] == ["pkd", "student_alone"] * 2
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    assert figure.data[2].y[10] == pytest.approx(0.35)
    of_class = recall_figure(found, palette=PALETTE, classes=["background"])
    assert [a.text for a in of_class.layout.annotations] == ["background, IoU 0.5"]
    assert of_class.data[0].y[10] == pytest.approx(0.7)
    without = precision_recall(results_table(runs[:0]), tmp_path, split="test")
    assert without.empty


def test_sizes_come_from_the_table_small_first() -> None:
    table = pd.DataFrame(
        {
            "method": ["pkd", "pkd", "student_alone"],
            "seed": [0, 1, 0],
            "state": ["complete", "complete", "complete"],
            "test_bbox_mAP": [0.5, 0.5, 0.5],
            "test_bbox_mAP_l": [0.7, 0.9, 0.6],
            "test_bbox_mAP_s": [0.1, 0.3, -1.0],
            "val_bbox_mAP_m": [0.1, 0.3, 0.2],
        }
    )
    found = sizes(table, split="test")
    assert list(found["size"]) == ["small", "small", "large", "large", "large"]
    assert set(found["metric"]) == {"bbox_mAP"}
    figure = sizes_figure(found, palette=PALETTE, label="AP")
    means = {trace.name: trace for trace in figure.data if trace.name}
    assert list(means["pkd"].y) == [0.8, 0.2]  # large, small
    assert list(means["student_alone"].y) == [0.6]
    assert list(figure.layout.xaxis.ticktext) == ["small", "large"]
    assert sizes(table, split="val")["size"].unique().tolist() == ["medium"]
    assert sizes(table.iloc[:0], split="test").empty
