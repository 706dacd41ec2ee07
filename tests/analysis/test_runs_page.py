"""The page of runs made by hand says what their folders say, finished or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourierkd.analysis.runs_page import page_of_runs, write_runs_page
from fourierkd.errors import ConfigError, RunError
from fourierkd.run_dir import RunDir
from tests.pages import figures_of, numbers, page_of, text_of

Build = Callable[..., RunDir]


def lines_of(figure: dict[str, Any]) -> dict[str, int]:
    """Name of a line -> number of its points."""
    return {line["name"]: len(numbers(line["x"])) for line in figure["data"] if "name" in line}


def logged(metric: str, losses: dict[str, float], values: list[float]) -> list[dict[str, Any]]:
    """A training row and a validation every 40 iterations; the training runs 20 further."""
    rows: list[dict[str, Any]] = []
    for i, value in enumerate(values, start=1):
        head = {"iter": 40 * i, "epoch": 0, "seconds": 4.0 * i}
        terms = {f"train/{name}": start / i for name, start in losses.items()}
        rows.append(head | terms | {"train/lr": 0.01 / i, "train/loss": sum(losses.values()) / i})
        rows.append(head | {f"val/{metric}": value, "val/other": 1.0})
    return [*rows, {"iter": 40 * len(values) + 20, "epoch": 0, "train/loss": 0.1}]


def test_one_finished_run_of_segmentation(build_run: Build, draw_spectra: Any) -> None:
    rows = logged("mIoU", {"decode.loss_ce": 2.0, "distill.pkd.loss": 9.0}, [50.0, 64.125, 61.5])
    rows[0]["train/decode.acc_seg"] = 80.0  # stands beside the losses and is none
    run = build_run("pkd_seed3", value=64.125, test=62.5, rows=rows, method="pkd", seed=3)
    of = {"classes": ["road", "<b>sky"], "scores": {"IoU": [70.25, None], "Acc": [1.0, 2.0]}}
    run.append_classes({"iter": 80, "epoch": 0, "split": "val", **of})
    run.append_classes(
        {"iter": 120, "epoch": 0, "split": "val", **of | {"scores": {"IoU": [1, 2]}}}
    )
    draw_spectra(run, 200, tilt=2.0)

    path = page_of_runs([run.path])
    assert path == run.report
    assert write_runs_page([run.path], path) == [path, path.with_suffix(".png")]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    page = page_of(path)
    text = text_of(page)
    best = "64.12 mIoU on val at iteration 80, the best of 3 validations (the newest, at 120, has "
    assert f"pkd_seed3 {best}61.50); 62.50 on test. The run is complete." in text
    assert "pkd_seed3 pkd 3 complete 64.12 80 61.50 62.50 200 40.5 30.2" in text
    assert "IoU of each class (val), at each run's best validation class pkd_seed3" in text
    assert "road 70.25 <b>sky –" in text
    assert "mIoU, maximized" in text
    drawn = figures_of(page)
    assert lines_of(drawn["curve-mIoU"]) == {"pkd_seed3": 3}
    assert numbers(drawn["curve-mIoU"]["data"][0]["y"]) == [50.0, 64.125, 61.5]
    terms = lines_of(drawn["curve-loss"])
    assert list(terms) == ["loss", "decode.loss_ce", "distill.pkd.loss"]
    assert lines_of(drawn["curve-lr"]) == {"pkd_seed3": 3}
    assert "profile-0" in drawn
    assert page.count("data:image/png") == 1
    assert "://" not in page

    write_runs_page([run.path], path)  # again, over its own


def test_several_runs_of_detection_finished_or_not(build_run: Build, tmp_path: Path) -> None:
    losses = {"loss_cls": 1.5, "loss_bbox": 0.5}
    known: dict[str, Any] = {"metric": "bbox_mAP", "value": 0.3125}
    runs = [
        build_run("alone", rows=logged("bbox_mAP", losses, [0.1, 0.3125]), **known),
        build_run("live", rows=logged("bbox_mAP", losses, [0.2, 0.35]), state=None),
        build_run("new", rows=[], state=None),
        build_run("broken", rows=[], state="failed", value=None, reason="loss is NaN at 12"),
    ]
    config = "metric = 'bbox_mAP'\ntrain_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 400}\n"
    runs[1].config.write_text(config)
    write_runs_page([run.path for run in runs], path := tmp_path / "four.html")
    page = page_of(path)
    text = text_of(page)
    assert "4 runs unfinished Best on val: live with 0.350 bbox_mAP. A difference of single" in text
    assert "live run 0 unfinished 0.350 80 0.350 – 100 of 400 – –" in text
    assert "new run 0 unfinished – – – – – – –" in text
    assert "broken is failed: loss is NaN at 12" in text
    drawn = figures_of(page)
    assert set(drawn) == {f"curve-{n}" for n in ("bbox_mAP", "loss", "loss_cls", "loss_bbox", "lr")}
    assert lines_of(drawn["curve-loss_cls"]) == {"alone": 2, "live": 2}
    assert drawn["curve-loss_cls"]["layout"]["yaxis"]["type"] == "log"
    looks = {
        (line["line"]["dash"], line["marker"]["symbol"]) for line in drawn["curve-loss"]["data"]
    }
    assert len(looks) == 2


def test_a_long_curve_is_thinned_to_means(build_run: Build) -> None:
    rows = [{"iter": i, "epoch": 0, "train/loss": float(i % 4)} for i in range(1, 1601)]
    run = build_run("long", rows=rows)
    write_runs_page([run.path], run.report)
    page = page_of(run.report)
    (line,) = figures_of(page)["curve-loss"]["data"]
    assert numbers(line["x"])[:2] == [2.5, 6.5]
    assert set(numbers(line["y"])) == {1.5}
    assert "Each point is the mean of 4 logged rows." in page


def test_what_is_refused(build_run: Build, tmp_path: Path) -> None:
    one, two = build_run("a").path, build_run("b").path
    with pytest.raises(ConfigError, match="several runs needs a name; add --out"):
        page_of_runs([one, two])
    with pytest.raises(ConfigError, match=r"name ends with \.html, got 'x.png'"):
        page_of_runs([one], "x.png")
    with pytest.raises(ConfigError, match="each run is named once"):
        write_runs_page([one, two, one], tmp_path / "page.html")
    with pytest.raises(RunError, match=r"holds request\.json"):
        write_runs_page([tmp_path], tmp_path / "page.html")
    for mine in ("page.html", "page.png"):
        (tmp_path / mine).write_text("mine")
        with pytest.raises(ConfigError, match=f"is not replaced, got '.*{mine}'"):
            write_runs_page([one], tmp_path / "page.html")
        assert (tmp_path / mine).read_text() == "mine"
        (tmp_path / mine).unlink()
