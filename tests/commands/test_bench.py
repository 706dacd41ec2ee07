"""`fourierkd bench`: what it counts and measures, on tiny models of both tasks and on the toy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.cli import run_command
from fourierkd.commands.bench import STEP, STUDENT, TEACHER, bench, ratio
from fourierkd.errors import ConfigError
from tests.engine.conftest import HERE

CONFIGS = Path(__file__).parents[2] / "configs" / "shapes"
TOY = HERE / "toy_config.py"


pytestmark = pytest.mark.usefixtures("own_scope")


@pytest.mark.parametrize("name", ["pspnet_fourier", "retinanet_fourier"])
def test_the_parts_of_both_tasks(name):
    result = bench(CONFIGS / f"{name}.py", iters=2, warmup=1, shape=(64, 64), batch_size=2)
    assert result["batch"] == "batch of 2 x 64 x 64 of random pixels and labels"
    parts = result["parts"]
    assert list(parts) == [STUDENT, TEACHER, STEP]
    assert all(row["seconds_median"] > 0 for row in parts.values())
    gflop = {part: row["gflop"] for part, row in parts.items()}
    assert gflop[STEP] > gflop[STUDENT] + gflop[TEACHER] > gflop[STUDENT] > 0
    assert result["ratio"] > 0.5
    counts = result["parameters"]
    assert counts["teacher"] > counts["student"] > 0
    assert counts["losses"] > 3 * 64**2  # C is at least 64 in both teachers
    json.dumps(result)


def test_a_student_alone_has_one_part_and_its_own_data_is_used(capsys, tmp_path):
    file = tmp_path / "b.json"
    assert run_command(["bench", str(TOY), "--iters", "2", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "batch of 3 x 12 x 12 from the config's training data" in printed
    assert "student alone" in printed
    assert "student 130, teacher 0, losses 0" in printed
    result = json.loads(file.read_text())
    assert list(result["parts"]) == [STUDENT]
    assert result["ratio"] is None


def test_options_reach_the_model():
    option = {"model.student": {"type": "ToyModel", "width": 8}}
    result = bench(TOY, options=option, iters=1, warmup=0)
    assert result["parameters"]["student"] == 27 * 8 + 8 + 16 + 16 + 2


def test_where_the_data_is_missing_the_batch_is_random(tmp_path):
    option = {"data_root": str(tmp_path / "none"), "train_dataloader.batch_size": 2}
    result = bench(CONFIGS / "pspnet_student.py", options=option, iters=1, warmup=0)
    assert "of random pixels" in result["batch"]


def test_the_ratio_is_that_of_rounds():
    assert ratio({STUDENT: [2.0], TEACHER: [1.0], STEP: [3.3]}) == pytest.approx(1.1)
    clock = {STUDENT: [2.0, 4.0, 2.0], TEACHER: [1.0, 2.0, 2.0], STEP: [3.3, 6.6, 8.0]}
    assert ratio(clock) == pytest.approx(1.1)  # twice as slow in the second round


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="--iters is a whole number from 1 on, got 0"):
        bench(TOY, iters=0)
    with pytest.raises(ConfigError, match="random batches are made for mmdet and mmseg"):
        bench(TOY, iters=1, shape=(8, 8))
    with pytest.raises(ConfigError, match="--shape and --batch-size are from 1 on"):
        bench(TOY, iters=1, shape=(0, 8))
    with pytest.raises(ConfigError, match="--shape and --batch-size are from 1 on"):
        bench(TOY, iters=1, batch_size=0)
    with pytest.raises(ConfigError, match="must be a Distiller, got 'ToyModel'"):
        bench(TOY, iters=1, options={"model": {"type": "ToyModel"}})
    with pytest.raises(ConfigError, match="did you mean 'ToyModel'"):
        bench(TOY, iters=1, options={"model.student.type": "ToyModle"})
