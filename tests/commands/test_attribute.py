"""Band attribution of finished runs: both tasks, the run's own score, and what is refused."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fourierkd.cli import main
from fourierkd.commands.attribute import attribute
from fourierkd.engine.run import run
from fourierkd.fingerprint import file_sha256
from fourierkd.records import State, single_request
from fourierkd.run_dir import RunDir
from tests.engine.conftest import TEACHER

CONFIGS = Path(__file__).parents[2] / "configs" / "shapes"
LOGITS = {"student_tap": "head", "teacher_tap": "head", "loss": {"type": "LogitsKL"}}


pytestmark = pytest.mark.usefixtures("own_scope")


@pytest.fixture
def teacher(tmp_path) -> dict:
    """Options of a toy pair whose teacher has a file."""
    import toy

    file = tmp_path / "teacher.pth"
    if not file.exists():
        torch.manual_seed(5)
        torch.save({"state_dict": toy.ToyModel(width=6).state_dict()}, file)
    return {**TEACHER, "model.teacher": {**TEACHER["model.teacher"], "checkpoint": str(file)}}


@pytest.fixture
def trained(make_run, teacher):
    """A finished toy run; keyword arguments are entries of its request."""

    def make(name: str = "run", options: dict | None = None, **request) -> RunDir:
        run_dir = make_run(name, {**teacher, **(options or {})}, **request)
        run(run_dir, resume=False)
        return run_dir

    return make


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    capsys.readouterr()  # of the runs before
    with pytest.raises(SystemExit) as end:
        main(["attribute", *map(str, arguments)])
    out, err = capsys.readouterr()
    return end.value.code, out, err


def refused(answer: tuple[int, str, str]) -> str:
    code, out, err = answer
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("fourierkd: error: ")
    return line


def test_a_run_gets_its_bands(trained, capsys):
    run_dir = trained(test_split="test", seed=3)
    code, out, err = call(capsys, run_dir.path, "--bands", 2)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(run_dir.attribution.read_text().splitlines()))
    score = run_dir.read_result().metrics["test/acc"]
    first = rows[0]
    assert (first["run"], first["method"], first["seed"], first["split"]) == (
        "run",
        "run",
        "3",
        "test",
    )
    assert (first["kind"], first["tap"], first["low"]) == ("unchanged", "", "")
    assert float(first["value"]) == score  # to the last bit
    assert float(first["change"]) == 0
    bands = [("0.0", "0.5"), ("0.5", "1.0"), ("0.0", "1.0")]
    assert [(r["kind"], r["low"], r["high"]) for r in rows[1:]] == [
        (kind, *band) for kind in ("replaced", "other_image", "removed") for band in bands
    ]
    for row in rows[1:]:
        assert (row["tap"], row["unit"], row["metric"]) == ("features", "Nyquist", "acc")
        assert row["level"] == ""
        assert float(row["value"]) == pytest.approx(score + float(row["change"]))
        assert bool(row["explained"]) == (row["kind"] == "replaced")
    assert all(0 <= float(row["explained"]) <= 1 for row in rows[1:4])
    energy = [float(row["energy"]) for row in rows[1:4]]
    assert energy[0] + energy[1] == pytest.approx(energy[2]) == 1
    # half of the pixels are on: a student that sees nothing of the image says one class
    assert float(rows[-1]["value"]) == pytest.approx(50, abs=3)
    assert score > 60
    for text in ("acc on test, bands of features", "unchanged", "removed 0.5 up", "explained all"):
        assert text in out
    assert "other_image 0.5 up" in out
    # told of another image the student knows no better than chance
    assert float(rows[6]["value"]) == pytest.approx(50, abs=12)

    before = run_dir.attribution.read_text()
    assert call(capsys, run_dir.path, "--bands", 2)[1] == out
    assert run_dir.attribution.read_text() == before


def test_runs_side_by_side(trained, capsys):
    runs = [
        trained(f"{method}_seed{seed}", method=method, seed=seed)
        for method, seed in (("mine", 1), ("mine", 2), ("run", 3))
    ]
    code, out, _ = call(capsys, *(r.path for r in runs), "--bands", 1)
    assert code == 0
    assert "mine (2 runs)" in out
    assert "±" in out
    assert "run_seed3" not in out  # it names no method: its folder's name without the seed
    assert all(r.attribution.read_text().count("\n") == 5 for r in runs)


@pytest.mark.parametrize(("pair", "tap"), [("pspnet", "backbone.layer4"), ("retinanet", "neck")])
def test_both_tasks(pair, tap, tmp_path):
    sizes = {"size": 8, "val_size": 2, "test_size": 2}
    options = {
        "data_root": str(tmp_path / "data"),
        **{f"prepare_data.{key}": value for key, value in sizes.items()},
        "train_cfg.max_iters": 2,
        "train_cfg.val_interval": 2,
        "param_scheduler.total_steps": 2,
        "train_dataloader.batch_size": 2,
        "model.teacher.checkpoint": "random",
        "method": "pkd",
    }
    request = single_request(CONFIGS / f"{pair}_fourier.py", options, wandb_mode="disabled")
    run_dir = RunDir(tmp_path / "run").create(replace(request, method="pkd"))
    run(run_dir, resume=False)
    told: list[str] = []
    first, *rows = attribute([run_dir.path], bands=2, levels=True, progress=told.append)
    assert first.value == run_dir.read_result().value
    assert first.change == 0
    levels = dict.fromkeys(row.level for row in rows)
    assert list(levels) == ([None] if pair == "pspnet" else [None, *range(len(levels) - 1)])
    assert len(rows) == 9 * len(levels)
    assert {row.tap for row in rows} == {tap}
    assert all(math.isfinite(row.value) for row in rows)
    assert all(0 <= row.explained <= 1 for row in rows[:3])
    assert told[0] == "run 1 of 1: fit of the maps"


def test_runs_that_have_no_bands_are_refused(trained, make_run, tmp_path, capsys):
    assert "request.json" in refused(call(capsys, tmp_path / "none"))
    unfinished = make_run("unfinished")
    assert "complete run, got '" in refused(call(capsys, unfinished.path))
    alone = make_run("alone")
    run(alone, resume=False)
    assert "a teacher's, and this run has none" in refused(call(capsys, alone.path))
    logits = trained("logits", {"model.losses": {"kl": LOGITS}})
    line = refused(call(capsys, logits.path))
    assert "no loss of " in line
    assert "compares any, got ['kl']; name a run of another method" in line
    fine = trained()
    line = refused(call(capsys, fine.path, trained("other", test_split="test").path))
    assert "the same metric on the same split" in line
    assert "from 1 on, got 0" in refused(call(capsys, fine.path, "--bands", 0))
    result = fine.read_result()
    fine.write_result(replace(result, state=State.STOPPED))
    assert "(stopped)'; let it end" in refused(call(capsys, fine.path))
    assert not fine.attribution.exists()


def test_weights_that_are_gone_or_others_are_refused(trained, teacher, capsys):
    run_dir = trained()
    file = Path(teacher["model.teacher"]["checkpoint"])
    weights = torch.load(file, weights_only=True)
    weights["state_dict"]["features.bias"] += 1
    torch.save(weights, file)
    line = refused(call(capsys, run_dir.path))
    known = run_dir.read_result().conditions.teacher_sha256
    words = (
        f"those that the run had (sha256 {known[:16]}), and the file has {file_sha256(file)[:16]}"
    )
    assert f"{words} now, got '{file}'; restore that file" in line
    file.unlink()
    assert "and the file is gone, got '" in refused(call(capsys, run_dir.path))
    run_dir.best_checkpoint().unlink()
    assert "the run was scored with must be there" in refused(call(capsys, run_dir.path))


def test_another_score_than_the_runs_is_said(trained, capsys):
    run_dir = trained()
    result = run_dir.read_result()
    run_dir.write_result(replace(result, metrics={**result.metrics, "val/acc": 12.5}))
    code, out, _ = call(capsys, run_dir.path, "--bands", 1)
    assert code == 0
    assert "unchanged, 12.5 in the run (other machine, threads, versions or data)" in out
