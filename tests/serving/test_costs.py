"""What an iteration of each run costs, as the run takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.records import single_request
from fourierkd.serving import costs
from fourierkd.serving.dry_build import answer_path
from tests.engine.conftest import HERE, TEACHER

pytestmark = pytest.mark.usefixtures("own_scope", "few_threads")

PAIR = Path(__file__).parents[2] / "configs/shapes_low/pspnet_fourier.py"


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """The answer to requests on a config, by name the options of each."""
    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(costs, "ROUNDS", 2)
    monkeypatch.setattr(costs, "WARM_UP", 1)

    def asked(config, **options):
        requests = {name: single_request(config, own).to_json() for name, own in options.items()}
        path = tmp_path / "measure.json"
        path.write_text(json.dumps(requests))
        costs.answer(path)
        return json.loads(answer_path(path).read_text())

    return asked


def test_every_method_has_its_cost_and_its_schedule(ask):
    distilled = {**TEACHER, "model.losses.l2.warmup_iters": 5}
    told = ask(HERE / "toy_config.py", alone={}, distilled=distilled)
    assert told["error"] is None
    alone, other = told["costs"]["alone"], told["costs"]["distilled"]
    assert other["gflop"] > alone["gflop"] > 0
    assert other["parameters"] > alone["parameters"] == 0
    assert all(own["seconds"] > 0 for own in (alone, other))
    assert told["environment"]["threads"] >= 1
    assert told["schedules"]["distilled"] == {
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 20, "val_interval": 5},
        "param_scheduler": [
            {"type": "PolyLR", "eta_min": 0, "power": 0.9, "begin": 0, "end": 20,
             "by_epoch": False}
        ],
        "warmups": {"l2": 5},
    }  # fmt: skip


def test_a_teacher_whose_maps_are_kept_costs_nothing(ask, tmp_path):
    data = {"data_root": str(tmp_path / "data"), "train_dataloader.dataset.indices": 8}
    data |= {"prepare_data.size": 8, "prepare_data.val_size": 1, "prepare_data.test_size": 1}
    pkd = {**data, "method": "pkd"}
    told = ask(
        PAIR,
        alone={**data, "method": "student_alone"},
        kept=pkd,
        live={**pkd, "default_hooks.teacher_maps": None},
        control={**pkd, "model.teacher.checkpoint": "random"},
    )
    assert told["error"] is None
    gflop = {name: own["gflop"] for name, own in told["costs"].items()}
    assert gflop["live"] == gflop["control"] > 1.2 * gflop["kept"]
    assert gflop["alone"] <= gflop["kept"] < 1.2 * gflop["alone"]
    assert not (tmp_path / "cache/maps").exists()  # nothing is left for a run


def test_what_cannot_be_measured_is_one_line(ask):
    told = ask(HERE / "toy_config.py", alone={"model.student.widht": 4})
    assert "unknown key of ToyModel in the config, got 'widht'" in told["error"]
