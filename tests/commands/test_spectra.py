"""``fourierkd spectra``: both tasks, two methods, the student alone, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fourierkd.analysis.ledger import read_ledger
from fourierkd.analysis.ledger_difference import ledger_difference
from fourierkd.analysis.ledger_figure import ledger_figure
from fourierkd.cli import main
from fourierkd.engine.run import run
from fourierkd.errors import DataError
from fourierkd.ledger_file import ledger_bytes
from fourierkd.records import Request, single_request
from fourierkd.run_dir import RunDir

CONFIGS = Path(__file__).parents[2] / "configs" / "shapes"
TINY = {
    "train_cfg.max_iters": 4,
    "train_cfg.val_interval": 2,
    "param_scheduler.total_steps": 4,
    "train_dataloader.batch_size": 2,
    "prepare_data.size": 8,
    "prepare_data.val_size": 3,
    "prepare_data.test_size": 2,
}

pytestmark = pytest.mark.usefixtures("few_threads", "own_scope")


def train(folder: Path, config: str, options: dict) -> RunDir:
    root = {"data_root": str(folder.parent / "data")}
    request = single_request(
        CONFIGS / f"{config}.py", {**TINY, **root, **options}, wandb_mode="disabled"
    )
    run_dir = RunDir(folder).create(request)
    run(run_dir, resume=False)
    return run_dir


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["spectra", *map(str, arguments)])
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.mark.parametrize(
    ("pair", "layers"),
    [
        ("pspnet", ["backbone.layer4", "decode_head.conv_seg"]),
        ("retinanet", ["neck, stride 4", "neck, stride 8", "neck, stride 16"]),
    ],
)
def test_two_methods_and_the_student_alone(tmp_path, capsys, pair, layers):
    teacher = train(tmp_path / "teacher", f"{pair}_teacher", {})
    weights = {"model.teacher.checkpoint": str(teacher.best_checkpoint())}
    runs = {
        method: train(tmp_path / method, f"{pair}_fourier", {**weights, "method": method})
        for method in ("published", "pkd", "student_alone")
    }
    tables = {name: read_ledger(run_dir) for name, run_dir in runs.items()}
    for name, table in tables.items():
        assert list(table["layer"].unique()) == layers
        assert list(table["iter"].unique()) == [2, 4]
        assert table["share_error"].notna().any()
        compared = table[table["layer"] == layers[0]]["coherence"].notna().any()
        assert compared == (name != "student_alone")
    # one teacher on one set of images
    teachers = [
        t.groupby(["layer", "low", "high"])["teacher_power"].first() for t in tables.values()
    ]
    for other in teachers[1:]:
        pd.testing.assert_series_equal(teachers[0], other)

    code, out, err = call(capsys, runs["published"].path)
    assert (code, err) == (0, "")
    assert layers[-1] in out
    for word in ("amplitude", "coherence", "0.125-0.25", "published, iteration 4"):
        assert word in out
    picture = cv2.imread(str(runs["published"].pictures / "ledger.png"))
    assert picture.std() > 10
    assert picture.shape[1] > 1000
    code, out, err = call(capsys, runs["pkd"].path, runs["student_alone"].path)
    assert (code, err) == (0, "")
    assert "pkd minus student_alone" in out
    assert (runs["pkd"].pictures / "ledger_minus_student_alone.png").exists()
    found = ledger_difference(tables["pkd"], tables["student_alone"])
    row = found[(found["layer"] == layers[0]) & (found["iter"] == 4)].iloc[-1]
    ours, theirs = (
        t[(t["layer"] == layers[0]) & (t["iter"] == 4)].iloc[-1]
        for t in (tables["pkd"], tables["student_alone"])
    )
    assert row["share_error"] == ours["share_error"] - theirs["share_error"]
    assert np.isnan(row["coherence"])


def made(folder: Path, **columns: object) -> RunDir:
    """A run folder with a ledger of two validations of a student alone."""
    run_dir = RunDir(folder).create(Request(config="config.py", seed=0))
    for iteration in (10, 20):
        rows = []
        for low in (0.0, 0.5):
            row = {
                "iter": iteration, "epoch": 0, "layer": "neck", "teacher_layer": None,
                "loss": None, "compared": "student neck", "height": 8, "width": 8,
                "channels": 4, "teacher_channels": None, "images": 8, "images_digest": "a",
                "teacher_sha256": None, "low": low, "high": low + 0.5, "frequencies": 10,
                "student_power": 1.0, "student_share": 0.5, **columns,
            }  # fmt: skip
            rows.append(row)
        run_dir.spectra.mkdir(exist_ok=True)
        run_dir.ledger_file(iteration).write_bytes(ledger_bytes(rows))
    return run_dir


def test_without_a_teacher_two_runs_are_compared_by_their_shares(tmp_path, capsys):
    one, other = made(tmp_path / "one", student_share=0.5), made(tmp_path / "other")
    table = read_ledger(one)
    assert list(table["coherence"].isna()) == [True] * 4
    third = made(tmp_path / "third", student_share=0.125)
    found = ledger_difference(table, read_ledger(third))
    assert list(found["share_change"]) == [1.0] * 4
    assert list(ledger_difference(table, read_ledger(other))["share_change"]) == [0.0] * 4
    code, out, _ = call(capsys, one.path, third.path, "--out", tmp_path / "a" / "b.png")
    assert code == 0
    assert "+1.000" in out
    assert (tmp_path / "a/b.png").stat().st_size > 10_000


def test_one_colour_range_for_every_run(tmp_path):
    """Whatever the values are."""
    ranges = set()
    for value in (0.01, 5.0):
        run_dir = made(tmp_path / str(value), share_error=value, teacher_share=0.5)
        figure = ledger_figure(read_ledger(run_dir), name="run")
        for ax in figure.axes:
            ranges |= {image.get_clim() for image in ax.images}
    assert ranges == {(-1, 1)}


def test_bad_input_is_one_line(tmp_path, capsys):
    run_dir = made(tmp_path / "run")
    empty = RunDir(tmp_path / "empty").create(Request(config="config.py", seed=0))
    damaged = made(tmp_path / "damaged")
    damaged.ledger_file(20).write_bytes(b"PAR1 and no more")
    of_other_images = made(tmp_path / "images", images_digest="b")
    of_other_layers = made(tmp_path / "layers", layer="backbone")
    for arguments, words in (
        ([tmp_path], "holds request.json"),
        ([empty.path], "has a spectral ledger"),
        ([damaged.path], "000020.parquet is not a readable Parquet file"),
        ([run_dir.path] * 3, "name one or two run folders"),
        ([run_dir.path, of_other_images.path], "have the same images"),
        ([run_dir.path, of_other_layers.path], "at layers that both runs have"),
        ([run_dir.path, "--out", tmp_path], "must be writable"),
    ):
        code, out, err = call(capsys, *arguments)
        assert (code, out) == (2, ""), words
        (line,) = err.splitlines()
        assert line.startswith("fourierkd: error: ")
        assert words in line
    with pytest.raises(DataError, match="maps have one size"):
        ledger_difference(read_ledger(run_dir), read_ledger(made(tmp_path / "s", height=9)))
