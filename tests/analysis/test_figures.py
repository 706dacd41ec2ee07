"""Figures show the numbers they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis import figures
from fourierkd.analysis.comparison import compare
from fourierkd.run_dir import RunDir

PALETTE = figures.styles(["a"], "b")


def curves(**known: object) -> pd.DataFrame:
    """Mean curves of two methods; only ``a`` has an interval."""
    return pd.DataFrame(
        {
            "method": ["a", "a", "b", "b"],
            "name": "val/mIoU",
            "iter": [20, 10, 10, 20],
            "mean": [2.0, 1.0, 5.0, 6.0],
            "low": [1.5, 0.5, np.nan, np.nan],
            "high": [2.5, 1.5, np.nan, np.nan],
        }
        | known
    )


def test_a_style_is_one_methods_own_and_says_it_without_colour_too() -> None:
    methods = [f"m{i}" for i in range(40)]  # more than there are colours
    found = figures.styles(["base", *methods, "m0"], "base")
    assert list(found) == [*methods, "base"]
    assert found["base"] == figures.BASELINE
    assert len(set(found.values())) == 41
    without = {(style.dash, style.symbol) for style in found.values()}
    assert len(without) == 36  # five lines and seven symbols, and the baseline's own


def test_curves_have_a_band_where_there_is_an_interval() -> None:
    figure = figures.curves_figure(curves(), label="mIoU", palette=PALETTE)
    band, line, single = figure.data
    assert list(line.x) == [10, 20]
    assert list(line.y) == [1.0, 2.0]
    assert list(band.x) == [10, 20, 20, 10]
    assert list(band.y) == [1.5, 2.5, 1.5, 0.5]
    assert single.name == "b"
    low, high = figure.layout.yaxis.range
    assert low < 1.0
    assert high > 6.0


def test_result_shows_every_seed_and_the_interval(study_runs: list[RunDir]) -> None:
    from fourierkd.analysis.results import results_table

    table = results_table(study_runs)
    comparison = compare(table, baseline="student_alone")
    finals = table[(table["phase"] == "final") & (table["state"] == "complete")]
    palette = figures.styles(comparison["method"], "student_alone")
    figure = figures.result_figure(finals, comparison, label="mIoU", palette=palette)
    dots = [t for t in figure.data if t.mode == "markers" and t.marker.color == "white"]
    assert sum(len(t.x) for t in dots) == len(finals) == 11
    diamonds = [t for t in figure.data if t.marker.symbol == "diamond"]
    assert [t.x[0] for t in diamonds] == list(comparison["mean"])
    assert diamonds[1].error_x.array[0] == pytest.approx(
        comparison["high"][1] - comparison["mean"][1]
    )
    assert list(figure.layout.yaxis.ticktext) == list(comparison["method"])


def test_profiles_share_one_teacher() -> None:
    arrays = {
        "radius": np.array([0.1, 0.2]),
        "teacher_profile": np.array([2.0, 1.0]),
        "student_profile": np.array([1.0, 0.5]),
        "band_edges": np.array([0.0, 0.2, 0.5]),
    }
    other = {**arrays, "student_profile": np.array([1.5, 0.7])}
    figure = figures.profile_figure({"a": arrays, "b": other}, palette=PALETTE)
    assert [t.name for t in figure.data] == ["teacher", "a", "b"]
    assert list(figure.data[2].y) == [1.5, 0.7]
    assert [s.x0 for s in figure.layout.shapes] == [0.2]
    assert figure.layout.xaxis.title.text == "frequency (fraction of Nyquist)"


def test_gap_has_one_panel_per_band() -> None:
    table = pd.concat([curves(name="spectra/f/gap_low"), curves(name="spectra/f/gap_high")])
    figure = figures.gap_figure(table.sort_values("iter", kind="stable"), palette=PALETTE)
    assert [a.text for a in figure.layout.annotations] == ["low Nyquist", "high Nyquist"]
    assert len(figure.data) == 4
    assert list(figure.data[0].x) == [10, 20]
    assert [t.showlegend for t in figure.data] == [True, True, False, False]


@pytest.mark.parametrize("masked", [True, False])
def test_spectrum_shares_one_scale_and_draws_the_mask(masked: bool) -> None:
    teacher = np.arange(12.0).reshape(3, 4)
    arrays = {"teacher_log_amplitude": teacher, "student_log_amplitude": teacher - 2}
    if masked:
        arrays["mask"] = (teacher > 5).astype(float)
    figure = figures.spectrum_figure(arrays)
    heat = [t for t in figure.data if t.type == "heatmap"]
    assert [(t.zmin, t.zmax) for t in heat] == [(-2, 11), (-2, 11), (-2, 2)]
    assert (heat[2].z == -2).all()
    assert sum(t.type == "contour" for t in figure.data) == (3 if masked else 0)
    for trace in figure.data:  # 4 columns and 3 rows, DC in the middle
        assert list(trace.x) == [-1, -0.5, 0, 0.5]
        assert list(trace.y) == pytest.approx([-2 / 3, 0, 2 / 3])
