"""The spectral ledger: what it holds, with and without a teacher, and what it leaves alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseDataPreprocessor
from torch.utils.data import DataLoader

from fourierkd.analysis.ledger import read_ledger
from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.engine.hooks.ledger import LedgerHook, fixed_images
from fourierkd.engine.run import run
from fourierkd.errors import RunError
from fourierkd.ledger_file import COLUMNS
from tests.engine.conftest import TEACHER, assert_same, without_the_hook
from tests.engine.test_run import Killed, act_at, kill

TAPS = {"taps": {"feature": "features", "logits": "head"}}
ALONE = {"method": "student_alone"}


@pytest.fixture
def distilled(tmp_path) -> dict:
    """Options of a toy pair whose teacher has a file."""
    import toy

    torch.manual_seed(5)
    file = tmp_path / "teacher.pth"
    torch.save({"state_dict": toy.ToyModel(width=6).state_dict()}, file)
    teacher = {**TEACHER["model.teacher"], "checkpoint": str(file)}
    return {**TEACHER, **TAPS, "model.teacher": teacher}


def alone(distilled: dict) -> dict:
    """The same pair, its student alone."""
    return {**{k: v for k, v in distilled.items() if k != "model.losses"}, **ALONE}


def test_every_validation_has_every_level_and_band(make_run, distilled):
    run_dir = make_run(options=distilled)
    result = run(run_dir, resume=False)
    table = read_ledger(run_dir)
    assert list(table) == list(COLUMNS)
    assert list(table["iter"].unique()) == [5, 10, 15, 20]
    assert len(table) == 4 * 2 * 9
    first = table[table["layer"] == "features"]
    assert set(first["loss"]) == {"l2"}
    words = "student features after 1x1 convolution, teacher features"
    assert set(first["compared"]) == {words}
    assert set(table["images"]) == {8}
    assert set(table["teacher_sha256"]) == {result.conditions.teacher_sha256}
    assert (set(first["channels"]), set(first["teacher_channels"])) == ({4}, {6})
    assert (set(first["height"]), set(first["width"])) == ({12}, {12})
    there = first[first["frequencies"] > 0]
    values = there[["amplitude_error", "coherence", "phase_coherence", "cross_power"]]
    assert values.notna().all(None)
    assert there["coherence"].abs().max() <= 1
    logits = table[(table["layer"] == "head") & (table["frequencies"] > 0)]
    assert logits["loss"].isna().all()
    assert logits["coherence"].notna().all()  # class scores mean the same on both sides
    row = next(r for r in run_dir.rows() if "ledger/features/coherence_0.5-1" in r)
    assert row["iter"] == 5
    assert -1 <= row["ledger/features/coherence_0.5-1"] <= 1
    assert 0 < result.seconds["ledger"] < result.seconds["total"]


def test_a_student_that_is_its_teacher(make_run, distilled):
    """No training: the student inherits all of the teacher's weights."""
    same = {
        "model.student": {"type": "ToyModel", "width": 6},
        "model.inherit": ("features", "norm", "head"),
        "optim_wrapper.optimizer.lr": 0.0,
        "param_scheduler": None,
        "model.losses.l2.connector": None,
    }
    run_dir = make_run(options={**distilled, **same})
    run(run_dir, resume=False)
    table = read_ledger(run_dir)
    features = table[(table["layer"] == "features") & (table["frequencies"] > 0)]
    assert features["amplitude_error"].abs().max() < 1e-6
    assert (features["coherence"] - 1).abs().max() < 1e-6
    assert (features["phase_coherence"] - 1).abs().max() < 1e-6
    # the head stands behind a normalisation, whose statistics the student has of its own images
    assert table[table["layer"] == "head"]["coherence"].min() < 1 - 1e-6


def test_the_student_alone_is_compared_with_the_pairs_teacher_where_it_is_there(
    make_run, distilled
):
    runs = {"distilled": make_run("distilled", distilled), "alone": make_run("alone")}
    runs["alone"] = make_run("alone", alone(distilled))
    gone = alone(distilled)
    gone["model.teacher"] = {**gone["model.teacher"], "checkpoint": "nowhere.pth"}
    runs["gone"] = make_run("gone", gone)
    tables = {}
    for name, run_dir in runs.items():
        result = run(run_dir, resume=False)
        assert result.state == "complete"
        assert (result.parameters["teacher"] > 0) == (name == "distilled")
        tables[name] = read_ledger(run_dir)
    known, own, without = tables.values()
    key = ["iter", "layer", "low", "high"]
    both = known.merge(own, on=key, suffixes=("", "_alone"))
    assert len(both) == len(known) == len(own)
    assert (both["images_digest"] == both["images_digest_alone"]).all()
    assert (both["teacher_sha256"] == both["teacher_sha256_alone"]).all()
    pd.testing.assert_series_equal(
        both["teacher_power"], both["teacher_power_alone"], check_names=False
    )
    features = own[own["layer"] == "features"]
    assert features["loss"].isna().all()
    assert features["share_error"].notna().any()
    lacking = ["connected_power", "amplitude_error", "coherence", "phase_coherence", "cross_power"]
    assert features[lacking].isna().all(None)
    assert own[own["layer"] == "head"]["coherence"].notna().any()
    # the same run without a teacher at hand: the same student
    teachers = [name for name in COLUMNS if "teacher" in name]
    assert without[[*teachers, *lacking, "share_error"]].isna().all(None)
    assert not np.isnan(without["student_power"]).all()
    np.testing.assert_array_equal(own["student_power"], without["student_power"])


@pytest.mark.parametrize("limit", [0, 1 << 28])
def test_the_teacher_runs_once_or_where_its_maps_are_large_each_time(
    make_run, distilled, limit, monkeypatch
):
    calls = []
    at = FrozenTeacher.at
    monkeypatch.setattr("fourierkd.distill.level_spectra.LIMIT", limit)
    monkeypatch.setattr(FrozenTeacher, "at", lambda *args: calls.append(1) or at(*args))
    control = {"model.teacher": {**distilled["model.teacher"], "control": "other_image"}}
    run_dir = make_run(options={**distilled, **control})
    run(run_dir, resume=False)
    batches = 3  # of 8 images, 3 at once
    assert len(calls) == batches * (1 if limit else 4)
    plain = make_run("plain", distilled)
    run(plain, resume=False)
    a, b = (read_ledger(own)["teacher_power"] for own in (run_dir, plain))
    pd.testing.assert_series_equal(a, b)  # the teacher's own maps, whatever its control does


def test_images_at_equal_distances_and_of_one_size_together():
    generator = torch.Generator().manual_seed(0)
    sizes = [(6, 8) if i % 3 else (7, 5) for i in range(40)]
    samples = [
        {"inputs": torch.rand(3, *size, generator=generator), "data_samples": i}
        for i, size in enumerate(sizes)
    ]
    model = SimpleNamespace(data_preprocessor=BaseDataPreprocessor())
    loader = DataLoader(samples, batch_size=4, collate_fn=pseudo_collate)
    batches, digest = fixed_images(loader, model)
    found = {tuple(inputs.shape): list(of) for inputs, of in batches}
    assert sorted(i for of in found.values() for i in of) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert max(map(len, found.values())) == 4
    assert {len({sizes[i] for i in of}) for of in found.values()} == {1}
    assert fixed_images(loader, model)[1] == digest
    samples[12]["inputs"][0, 0, 0] += 1
    assert fixed_images(loader, model)[1] != digest
    few = DataLoader(samples[:3], batch_size=4, collate_fn=pseudo_collate)
    assert sum(len(inputs) for inputs, _ in fixed_images(few, model)[0]) == 3


def test_a_student_alone_is_looked_at_again_where_it_is_trained_from_its_run_folder(
    make_run, distilled
):
    """A run's config.py keeps the taps, though a student alone has no loss that compares maps."""
    first = make_run("first", alone(distilled) | {"train_cfg.max_iters": 5})
    run(first, resume=False)
    again = make_run("again", config=str(first.config))
    assert run(again, resume=False).iters == 5
    table, before = read_ledger(again), read_ledger(first)
    keys = ["iter", "layer", "low", "high"]
    assert list(table["layer"].unique()) == ["features", "head"]
    assert table[keys].equals(before[keys])
    assert table["student_power"].equals(before["student_power"])  # NaN where a band is empty


def test_a_config_without_taps_has_none_and_says_why(make_run, capfd):
    run_dir = make_run()
    run(run_dir, resume=False)
    said = capfd.readouterr()
    assert (said.out + said.err).count("no spectral ledger: the config names no taps") == 1
    with pytest.raises(RunError, match=r"run\.log says why"):
        read_ledger(run_dir)


@pytest.mark.parametrize("kind", ["distilled", "alone"])
def test_weights_and_random_states_are_those_of_a_run_without_it(
    make_run, distilled, kind, monkeypatch
):
    """Bit by bit, with noise in the loss, augmentation and running statistics."""
    options = distilled if kind == "distilled" else alone(distilled)
    watched = make_run("watched", options)
    run(watched, resume=False)
    assert watched.ledger_files()
    monkeypatch.setattr(LedgerHook, "after_val_epoch", lambda *args, **kwargs: None)
    bare = make_run("bare", options)
    run(bare, resume=False)
    assert not bare.spectra.exists()
    states = [load_checkpoint(own.last_checkpoint()) for own in (watched, bare)]
    for state in states:
        state["meta"].pop("seconds")
    assert_same(*states)
    losses = [[r["train/loss"] for r in own.rows() if "train/loss" in r] for own in (watched, bare)]
    assert losses[0] == losses[1]


def test_validation_weights_are_the_averaged_ones(make_run, distilled):
    """With EMAHook the model holds the trained weights again when the hook of a mean is done."""
    ema = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.001}]}
    plain, averaged = make_run("plain", distilled), make_run("averaged", {**distilled, **ema})
    for run_dir in (plain, averaged):
        run(run_dir, resume=False)
    a, b = (read_ledger(own)["student_power"].dropna() for own in (plain, averaged))
    assert not np.allclose(a, b, rtol=1e-3)


@pytest.mark.parametrize("at", ["between", "before_its_file", "after_its_file"])
def test_a_killed_and_resumed_run_has_the_ledger_of_the_whole_one_once(
    make_run, distilled, at, monkeypatch
):
    whole = make_run("whole", distilled)
    run(whole, resume=False)
    cut = make_run("cut", {**distilled, **act_at(13, kill)} if at == "between" else distilled)
    if at != "between":
        monkeypatch.setattr("fourierkd.engine.hooks.ledger.write_atomic", _killed_at(3, at))
    with pytest.raises(Killed):
        run(cut, resume=False)
    monkeypatch.undo()
    if at == "between":
        without_the_hook(cut, distilled)
    (cut.spectra / ".000015.parquet.half").write_bytes(b"PAR1")  # what a kill leaves of a write
    cut.ledger_file(400).write_bytes(b"of what was trained past the checkpoint")
    run(cut, resume=True)
    pd.testing.assert_frame_equal(read_ledger(cut), read_ledger(whole))


def _killed_at(number: int, where: str):
    calls = []

    def die(path, data):
        calls.append(path)
        if len(calls) == number and where == "before_its_file":
            raise Killed
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        if len(calls) == number:
            raise Killed

    return die


def test_what_goes_wrong_costs_the_ledger_and_not_the_run(make_run, distilled, monkeypatch, capfd):
    def fail(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr("fourierkd.distill.level_spectra.LevelSpectra.__call__", fail)
    run_dir = make_run(options=distilled)
    assert run(run_dir, resume=False).state == "complete"
    said = capfd.readouterr()
    assert (said.out + said.err).count("no spectral ledger from here on: CUDA out of memory") == 1


def test_a_mistyped_role_is_left_out_and_said(make_run, distilled, capfd):
    taps = {"taps": {"feature": "features", "logits": "heda"}}
    run_dir = make_run(options={**distilled, **taps})
    run(run_dir, resume=False)
    said = capfd.readouterr()
    assert "spectral ledger: left out (unknown student tap, got 'heda'" in said.out + said.err
    table = read_ledger(run_dir)
    assert set(table["layer"]) == {"features"}
    assert math.isclose(table["student_share"].sum(), 4)
