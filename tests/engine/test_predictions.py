"""Pictures of predictions in the folders of runs: real pairs of both tasks on a few images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fourierkd.engine import predictions
from fourierkd.engine.predictions import FIXED_IMAGES, choose
from fourierkd.engine.run import run
from fourierkd.records import Phase, single_request
from fourierkd.run_dir import Row, RunDir
from fourierkd.tracking import figures
from tests.engine.test_run import Killed

SHAPES = Path(__file__).resolve().parents[2] / "configs" / "shapes"
SHORT = {
    "train_cfg.max_iters": 4,
    "train_cfg.val_interval": 2,
    "param_scheduler.total_steps": 4,
    "train_dataloader.batch_size": 2,
    "prepare_data.size": 8,
    "prepare_data.val_size": 8,
    "prepare_data.test_size": 2,
}
TEACHER = {"model.teacher.checkpoint": "random"}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """``train(config, options, seed=...)``: the folder of a run; each is trained once."""
    folder, done = tmp_path_factory.mktemp("runs"), {}

    def of(name: str, options: dict | None = None, **request) -> RunDir:
        key = repr((name, options, request))
        if key not in done:
            options = {**SHORT, "data_root": str(folder / name.split("_")[0]), **(options or {})}
            asked = single_request(
                SHAPES / f"{name}.py", options, wandb_mode="disabled", seed=request.get("seed", 0)
            )
            done[key] = RunDir(folder / str(len(done))).create(asked)
            run(done[key], resume=False)
        return done[key]

    return of


@pytest.fixture(scope="module", autouse=True)
def _scope():
    """Of MMEngine, which each run sets."""
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


def panel(run_dir: RunDir, row: Row, name: str) -> np.ndarray:
    """A panel of a saved picture, RGB."""
    x, y, width, height = row["panels"][name]
    page = cv2.imread(str(run_dir.path / row["picture"]))[..., ::-1]
    return page[y : y + height, x : x + width]


def colours(run_dir: RunDir, row: Row, name: str, labels: np.ndarray) -> float:
    """Share of a panel's pixels that have the colour of their label, by the index's legend."""
    shown = panel(run_dir, row, name)
    of_label = {k: tuple(bytes.fromhex(colour[1:])) for k, _, colour in row["legend"]}
    wanted = np.array([[of_label[k] for k in line] for line in labels.tolist()])
    return float((shown == wanted).all(-1).mean())


def test_segmentation_shows_truth_teacher_and_student_as_they_are(train):
    run_dir = train("pspnet_fourier", TEACHER)
    rows = run_dir.prediction_rows()
    assert [(row["name"], row["rule"]) for row in rows] == [
        *((str(i), "fixed") for i in range(1, FIXED_IMAGES + 1)),
        ("worst", "worst"),
        ("best", "best"),
    ]
    data = run_dir.path.parent / "pspnet"
    best = run_dir.read_result().best.iter
    with np.load(run_dir.prediction_arrays, allow_pickle=False) as file:
        arrays = dict(file)
    for row in rows:
        assert list(row["panels"]) == ["input", "truth", "teacher", "student"]
        assert (row["iter"], row["split"], row["measure"]) == (best, "val", "mIoU")
        image = cv2.imread(str(data / "images" / "val" / row["image"]))[..., ::-1]
        np.testing.assert_array_equal(panel(run_dir, row, "input")[1::3, 1::3], image)
        mask = np.asarray(Image.open(data / "masks" / "val" / f"{Path(row['image']).stem}.png"))
        np.testing.assert_array_equal(arrays[f"{row['name']}_truth"][1::3, 1::3], mask)
        for who in ("truth", "teacher", "student"):
            share = colours(run_dir, row, who, arrays[f"{row['name']}_{who}"])
            assert 0.9 < share <= 1  # the rest are the numbers of the classes
        answer = arrays[f"{row['name']}_student"][1::3, 1::3]
        there = np.unique(mask[mask != 255])
        ious = [
            ((mask == k) & (answer == k)).sum() / ((mask == k) | (answer == k)).sum() for k in there
        ]
        assert row["score"] == pytest.approx(100 * np.mean(ious))
    fixed = [row["score"] for row in rows[:FIXED_IMAGES]]
    assert rows[-2]["score"] <= min(fixed) <= max(fixed) <= rows[-1]["score"]


def test_two_runs_show_the_same_images_and_one_alone_no_teacher(train):
    distilled, alone = train("pspnet_fourier", TEACHER), train("pspnet_student", seed=7)
    ours, theirs = (
        [(row["name"], row["image"]) for row in own.prediction_rows() if row["rule"] == "fixed"]
        for own in (distilled, alone)
    )
    assert ours == theirs
    for row in alone.prediction_rows():
        assert list(row["panels"]) == ["input", "truth", "student"]
        assert row["teacher_score"] is None
    with np.load(alone.prediction_arrays) as arrays:
        assert {key.split("_")[1] for key in arrays} == {"truth", "student"}


def test_detection_shows_boxes(train):
    sure_of_nothing = {"model.student.test_cfg.score_thr": 0.0}  # in four iterations
    run_dir = train("retinanet_fourier", {**TEACHER, **sure_of_nothing})
    truths = json.loads((run_dir.path.parent / "retinanet/annotations/val.json").read_text())
    ids = {image["file_name"]: image["id"] for image in truths["images"]}
    rows = run_dir.prediction_rows()
    assert len(rows) == FIXED_IMAGES + 2
    with np.load(run_dir.prediction_arrays, allow_pickle=False) as file:
        arrays = dict(file)
    for row in rows:
        assert row["measure"] == "AP50"
        assert 0 <= row["score"] <= 1
        own = [a["bbox"] for a in truths["annotations"] if a["image_id"] == ids[row["image"]]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in own]
        np.testing.assert_allclose(
            arrays[f"{row['name']}_truth_bboxes"], 3 * np.array(corners), atol=1e-3
        )
        inside, drawn = panel(run_dir, row, "input"), panel(run_dir, row, "truth")
        assert (inside != drawn).any()  # boxes
        assert arrays[f"{row['name']}_student_scores"].shape[0] > 0
        assert {"truth", "teacher", "student"} <= set(row["panels"])


def test_runs_of_a_search_have_none(make_run, train, monkeypatch):
    monkeypatch.setattr("fourierkd.engine.run.write_predictions", _refuse)
    for phase in (Phase.TRIAL, Phase.RUNG, Phase.BASELINE):
        run_dir = make_run(phase.value, phase=phase)
        run(run_dir, resume=False)
        assert run_dir.prediction_rows() == []


def _refuse(*_):
    raise AssertionError


def test_killed_between_two_files_it_has_no_index_and_goes_on_to_a_whole_one(
    train, tmp_path, monkeypatch
):
    whole = train("pspnet_student", seed=7)
    cut = RunDir(tmp_path / "cut").create(whole.read_request())
    write, calls = predictions.write_atomic, []

    def die(path, data):
        calls.append(path)
        if len(calls) == 3:
            raise Killed
        write(path, data)

    for module in (predictions, figures):  # the latter writes the pictures
        monkeypatch.setattr(module, "write_atomic", die)
    with pytest.raises(Killed):
        run(cut, resume=False)
    assert len(list(cut.pictures.glob("predictions_*.png"))) == 2
    assert cut.prediction_rows() == []
    monkeypatch.undo()
    run(cut, resume=True)
    assert cut.prediction_rows() == whole.prediction_rows()
    for row in whole.prediction_rows():
        assert (cut.path / row["picture"]).read_bytes() == (
            whole.path / row["picture"]
        ).read_bytes()


def test_what_has_no_image_file_costs_a_line(make_run, capfd):
    run_dir = make_run()
    assert run(run_dir, resume=False).state == "complete"
    assert not run_dir.predictions.exists()
    said = "".join(capfd.readouterr())
    line = "no pictures of predictions: predictions are drawn of semantic segmentation"
    assert said.count(line) + said.count("no pictures of predictions: a picture needs") == 1


def test_the_choice_follows_from_names_and_scores_alone():
    scores = {f"{i:03d}.png": float(i) for i in range(50)}
    chosen = choose(scores)
    images = [c.image for c in chosen if c.rule == "fixed"]
    assert images == sorted(images)
    assert len(set(images)) == FIXED_IMAGES
    assert [c.image for c in chosen[-2:]] == ["000.png", "049.png"]
    other = choose({name: -scores[name] for name in reversed(scores)})
    assert [c.image for c in other if c.rule == "fixed"] == images
    assert [c.image for c in other[-2:]] == ["049.png", "000.png"]
    # an image more moves at most one other out
    more = {c.image for c in choose({**scores, "new.png": 1.0}) if c.rule == "fixed"}
    assert len(more & set(images)) >= FIXED_IMAGES - 1
    nothing = choose({"a": float("nan"), "b": float("nan")})
    assert [c.rule for c in nothing] == ["fixed", "fixed"]
