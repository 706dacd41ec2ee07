"""Ledgers of several runs: means and differences by hand, what does not go together, figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.figures import styles
from fourierkd.analysis.ledger_methods import (
    last_of_runs,
    levels,
    mean_ledger,
    read_ledgers,
    two_runs,
)
from fourierkd.analysis.ledger_methods_figure import bands_figure, methods_figure
from fourierkd.analysis.results import results_table
from fourierkd.errors import DataError
from fourierkd.ledger_file import ledger_bytes
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
BANDS = [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0)]


def with_ledger(
    run: RunDir, error: float, *, iters: tuple[int, ...] = (10, 20), **columns: Any
) -> RunDir:
    """Levels "neck" and "head"; an amplitude error that falls with iterations and rises in bands;
    no error where ``loss`` is None, as of a student alone."""
    run.spectra.mkdir()
    for iteration in iters:
        rows = []
        for layer in ("neck", "head"):
            for place, (low, high) in enumerate(BANDS):
                row = {
                    "iter": iteration, "epoch": 0, "layer": layer, "teacher_layer": f"t.{layer}",
                    "loss": "l2", "compared": f"student {layer} after ReLU, teacher t.{layer}",
                    "height": 8, "width": 8, "channels": 4, "teacher_channels": 4, "images": 8,
                    "images_digest": "a", "teacher_sha256": "t", "low": low, "high": high,
                    "frequencies": 10, "student_power": 1.0, "student_share": 0.5,
                    "teacher_power": 2.0, "teacher_share": 0.5, "cross_power": 1.0 - error,
                    "share_error": error, "coherence": 0.5, "phase_coherence": 0.25,
                    "amplitude_error": error * (place + 1) * 10 / iteration, **columns,
                }  # fmt: skip
                if row["loss"] is None:
                    row |= dict.fromkeys(
                        ("amplitude_error", "coherence", "phase_coherence", "cross_power")
                    )
                rows.append(row)
        run.ledger_file(iteration).write_bytes(ledger_bytes(rows))
    return run


@pytest.fixture
def study(build_run: Build, tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    def final(method: str, seed: int, **known: Any) -> RunDir:
        return build_run(f"{method}_{seed}", phase="final", method=method, seed=seed, **known)

    runs = [
        with_ledger(final("student_alone", 7), 0.3, loss=None),
        with_ledger(final("pkd", 0), 0.1),
        with_ledger(final("pkd", 7), 0.3),
        with_ledger(final("pkd", 8, state=None), -0.2, iters=(10,)),  # it still trains
        with_ledger(final("pkd", 9, state="failed", value=None, reason="x"), 0.9),
        final("cwd", 7),
    ]
    return results_table(runs), tmp_path


def test_means_over_the_runs_that_have_a_validation(study: tuple[pd.DataFrame, Path]) -> None:
    ledgers = read_ledgers(*study)
    assert set(ledgers["run_dir"]) == {
        f"runs/{n}" for n in ("student_alone_7", "pkd_0", "pkd_7", "pkd_8")
    }
    means = mean_ledger(ledgers).set_index(["method", "iter", "layer", "high"])
    first, last = means.loc[("pkd", 10, "neck", 1.0)], means.loc[("pkd", 20, "neck", 1.0)]
    assert (first["n"], last["n"]) == (3, 2)
    assert first["amplitude_error"] == pytest.approx((0.1 + 0.3 - 0.2) / 3 * 3)
    assert last["amplitude_error"] == pytest.approx((0.1 + 0.3) / 2 * 3 / 2)
    assert last["cross_gain"] == pytest.approx((0.9 + 0.7) / 2 / 2)
    alone = means.loc[("student_alone", 20, "neck", 1.0)]
    assert np.isnan(alone["amplitude_error"])
    assert alone["share_error"] == pytest.approx(0.3)
    ends = last_of_runs(ledgers).groupby("run_dir")["iter"].unique().map(list).to_dict()
    assert ends["runs/pkd_7"] == [20]
    assert ends["runs/pkd_8"] == [10]
    assert [key for key, _ in levels(ledgers)] == [("neck", "t.neck"), ("head", "t.head")]


def test_without_ledgers_there_is_nothing(build_run: Build, tmp_path: Path) -> None:
    found = read_ledgers(results_table([build_run("a", phase="final", method="pkd")]), tmp_path)
    assert found.empty
    assert mean_ledger(found).empty
    assert list(levels(last_of_runs(found))) == []
    assert two_runs(found, ["pkd"]) is None


def test_other_images_do_not_stand_beside_each_other(build_run: Build, tmp_path: Path) -> None:
    runs = [
        with_ledger(build_run(name, phase="final", method=name), 0.1, images_digest=name)
        for name in ("pkd", "cwd")
    ]
    with pytest.raises(DataError, match=r"the same images.*runs/"):
        read_ledgers(results_table(runs), tmp_path)


def test_two_runs_have_a_seed_in_common(study: tuple[pd.DataFrame, Path]) -> None:
    ledgers = read_ledgers(*study)
    assert two_runs(ledgers, ["cwd", "pkd", "student_alone"]) == (
        "runs/pkd_7",
        "runs/student_alone_7",
    )
    assert two_runs(ledgers, ["pkd", "cwd"]) is None
    apart = ledgers[ledgers["run_dir"].isin(["runs/pkd_0", "runs/student_alone_7"])]
    assert two_runs(apart, ["pkd", "student_alone"]) is None


def test_methods_have_one_range_and_their_words(study: tuple[pd.DataFrame, Path]) -> None:
    means = mean_ledger(read_ledgers(*study))
    rows = means[means["layer"] == "neck"]
    figure = methods_figure(rows, methods=["cwd", "student_alone", "pkd"], title="my study")
    images = [image for ax in figure.axes for image in ax.get_images()]
    assert len(images) == 2 * 5
    assert {image.get_clim() for image in images} == {(-1, 1)}
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == [
        "student_alone (1 run): student neck after ReLU, teacher t.neck; maps of 8x8",
        "pkd (mean of 3 runs): student neck after ReLU, teacher t.neck; maps of 8x8",
    ]
    assert "my study: student neck, teacher t.neck" in figure.get_suptitle()
    said = " ".join(figure.get_suptitle().split())
    for word in ("mean over 8 fixed val images", "fractions of Nyquist", "grey: no value"):
        assert word in said
    pkd = next(ax for ax in figure.subfigs[1].axes if ax.get_title().startswith("amplitude error"))
    drawn = pkd.get_images()[0].get_array()
    assert drawn[2].tolist() == pytest.approx([0.2, 0.3])  # the upper band over iterations
    alone = figure.subfigs[0].axes[1].get_images()[0].get_array()
    assert alone.mask.all()


def test_lines_are_means_and_runs_over_frequency(study: tuple[pd.DataFrame, Path]) -> None:
    last = last_of_runs(read_ledgers(*study))
    palette = styles(["pkd"], "student_alone")
    figure = bands_figure(last[last["layer"] == "neck"], palette=palette, title="my study")
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["pkd"].get_xdata()) == [0.25, 0.75]  # frequency 0 is no band of these
    assert list(lines["pkd"].get_ydata()) == pytest.approx([0.2 / 3] * 2)
    assert lines["student_alone"].get_color() == palette["student_alone"].colour
    thin = [line for line in figure.axes[0].get_lines() if line.get_linewidth() < 0.7]
    assert len(thin) == 4
    assert "last validation" in figure.get_suptitle()
