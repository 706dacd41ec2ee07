"""The newest spectra of a run are found by name, and damaged arrays are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fourierkd.analysis.spectra import last_spectra
from fourierkd.errors import DataError
from fourierkd.run_dir import RunDir

Build = Callable[..., RunDir]
Draw = Callable[..., None]


def test_newest_of_every_loss_and_level(build_run: Build, draw_spectra: Draw) -> None:
    run = build_run("a")
    for iteration in (40, 200, 100):
        draw_spectra(run, iteration, tilt=3.0)
    draw_spectra(run, 80, tilt=1.0, name="feature_l2_1")
    (run.pictures / "notes.txt").write_text("not a picture")
    first, second = last_spectra(run)
    assert (first.name, first.iteration) == ("feature_l2_1", 80)
    assert (second.name, second.iteration) == ("fourier_0", 200)
    assert second.png == run.picture(200, "fourier_0")
    assert second.npz == run.picture(200, "fourier_0", ".npz")
    arrays = second.arrays()
    assert arrays["radius"].shape == arrays["student_profile"].shape == (8,)
    assert (arrays["student_profile"] < arrays["teacher_profile"]).all()


def test_a_run_without_pictures_has_none(build_run: Build) -> None:
    assert last_spectra(build_run("a")) == []


def test_a_picture_without_arrays(build_run: Build, draw_spectra: Draw) -> None:
    run = build_run("a")
    draw_spectra(run, 40, tilt=3.0)
    run.picture(40, "fourier_0", ".npz").unlink()
    (only,) = last_spectra(run)
    assert only.npz is None
    assert only.arrays() == {}


def test_damaged_and_foreign_arrays_are_refused(build_run: Build, draw_spectra: Draw) -> None:
    run = build_run("a")
    draw_spectra(run, 40, tilt=3.0)
    path = run.picture(40, "fourier_0", ".npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"spectra_000040_fourier_0\.npz is not a readable"):
        last_spectra(run)[0].arrays()
    np.savez(path, radius=np.zeros(3))
    with pytest.raises(DataError, match="lacks the arrays student_profile, teacher_profile"):
        last_spectra(run)[0].arrays()
    np.savez(path, frequency=np.array([print], dtype=object))
    with pytest.raises(DataError, match="not a readable"):  # pickled objects are not loaded
        last_spectra(run)[0].arrays()
