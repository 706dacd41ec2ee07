"""What cannot be trained is found without data, weights and training."""

from __future__ import annotations

import json

import pytest

from fourierkd.fingerprint import file_sha256
from fourierkd.records import single_request
from fourierkd.serving.dry_build import answer, answer_path
from tests.engine.conftest import HERE, TEACHER

NOWHERE = {"data_root": "/nowhere", "train_dataloader.dataset": {"type": "ToyDataset"}}

ONE_CYCLE = {"type": "OneCycleLR", "eta_max": 0.01, "by_epoch": False}


@pytest.fixture
def ask(tmp_path):
    """The answer to requests, by name the options of each."""

    def asked(test_split=None, **options):
        requests = {
            name: single_request(HERE / "toy_config.py", own, test_split=test_split).to_json()
            for name, own in options.items()
        }
        path = tmp_path / "requests.json"
        path.write_text(json.dumps(requests))
        answer(path)
        return json.loads(answer_path(path).read_text())

    return asked


def test_what_can_be_built_has_no_error(ask):
    told = ask(alone={}, distilled={**TEACHER, **NOWHERE}, test_split="test")
    assert told == {"name": None, "error": None, "teachers": {}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model.losses.l2.loss.loss_wieght": 1.0}, "did you mean 'loss_weight'"),
        ({"model.losses.l2.student_tap": "featurs"}, "did you mean 'features'"),
        ({"model.student.widht": 4}, "unknown key of ToyModel in the config, got 'widht'"),
        ({"optim_wrapper.optimizer.type": "Adamm"}, "Adamm"),
        ({"optim_wrapper.optimizer.lr": -1.0}, "optim_wrapper.optimizer.lr is a number"),
        ({"custom_hooks": [{"type": "EMAHok"}]}, "EMAHok"),
        ({"param_scheduler": [{"type": "PolyLRR", "end": 20}]}, "did you mean 'PolyLR'"),
        ({"param_scheduler.0.powr": 1.0}, "unknown key of PolyLR in the config, got 'powr'"),
        (
            {"param_scheduler": [ONE_CYCLE | {"total_steps": 20, "pct_start": 0.05}]},
            "ZeroDivisionError: float division by zero",
        ),
        ({"train_cfg.val_intervall": 5}, "IterBasedTrainLoop in the config, got 'val_intervall'"),
        ({"val_cfg": {"fp61": True}}, "unknown key of ValLoop in the config, got 'fp61'"),
        ({"val_evaluator.tpyo": True}, "unknown key of ToyAccuracy in the config, got 'tpyo'"),
        ({"val_evaluator.type": "ToyAcuracy"}, "did you mean 'ToyAccuracy'"),
        ({"model.teacher.model.type": "ToyModl"}, "ToyModl"),
        ({"model.teacher.checkpoint": "/nowhere/t.pth"}, "'/nowhere/t.pth'"),
        ({"model.teacher.checkpoint": None}, "a teacher needs its checkpoint"),
        ({"train_cfg.max_iters": 0}, "train_cfg.max_iters"),
    ],
)
def test_what_cannot_is_named(ask, options, words):
    told = ask(fine=TEACHER, wrong={**TEACHER, **options}, never={"model": 5})
    assert told["name"] == "wrong"
    assert words in told["error"]
    assert "\n" not in told["error"]


def test_weights_that_a_config_names_are_told_by_their_hash(ask, tmp_path):
    (tmp_path / "t.pth").write_bytes(b"weights")
    path = str(tmp_path / "t.pth")
    named = {**TEACHER, "model.teacher.checkpoint": path}
    assert ask(one=named, two=named)["teachers"] == {path: file_sha256(path)}
