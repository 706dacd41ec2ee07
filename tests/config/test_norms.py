"""GroupNorm in place of BatchNorm."""

from __future__ import annotations

import pytest
from mmengine.registry import DefaultScope
from torch import nn

from fourierkd.config.load import load_config
from fourierkd.config.norms import with_student_norm
from fourierkd.distill.model_config import build_model, student_config
from fourierkd.engine.run import run
from fourierkd.errors import ConfigError
from fourierkd.literals import config_text
from tests.engine.conftest import HERE
from tests.engine.test_run import last_state

TOY = HERE / "toy_config.py"
PSPNET = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"
GROUPS = {"type": "GN", "num_groups": 8}


def test_group_norm_replaces_batch_norm_also_in_the_exported_config(tmp_path):
    from mmengine.config import Config
    from mmseg.registry import MODELS

    overrides = {"pretrained": None}
    options = {"model.student": {"config": PSPNET, "overrides": overrides}, "student_norm": GROUPS}
    config = load_config(TOY, options)
    text = config_text(student_config(config.to_dict()))
    path = tmp_path / "student.py"
    path.write_text(text)
    plain = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(plain.model)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.GroupNorm) > 20
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)
    groups = {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {8}
    # a saved config is read again, as by `fourierkd export`
    saved = tmp_path / "config.py"
    saved.write_text(config.pretty_text)
    assert load_config(saved).model.student == config.model.student


def test_group_norm_trains(make_run):
    norm = {"model.student": {"type": "ToyModel", "norm_cfg": {"type": "BN"}}}
    run_dir = make_run(options={**norm, "student_norm": {"type": "GN", "num_groups": 2}})
    assert run(run_dir, resume=False).state == "complete"
    state = last_state(run_dir)["state_dict"]
    assert "student.norm.weight" in state
    assert "student.norm.running_mean" not in state


def test_group_norm_that_cannot_be_is_refused(make_run):
    with pytest.raises(ConfigError, match="it has none with BN"):
        with_student_norm({"type": "ToyModel"}, GROUPS)
    with pytest.raises(ConfigError, match="student_norm is a norm_cfg, got 'GN'"):
        with_student_norm({"type": "ToyModel"}, "GN")
    bn = {"type": "ToyModel", "norm_cfg": {"type": "SyncBN", "requires_grad": True}}
    assert with_student_norm(bn, GROUPS)["norm_cfg"] == GROUPS
    odd = {"type": "GN", "num_groups": 3}
    with pytest.raises(ConfigError, match="student cannot be built.*divisible"):
        run(make_run("odd", {"model.student": bn, "student_norm": odd}), resume=False)


def test_batch_norm_that_no_config_asks_for_is_named(make_run):
    from toy import ToyModel

    assert isinstance(build_model({"type": "ToyModel"}, role="student"), ToyModel)
    student = {"type": "ToyModel", "init_cfg": [{"norm_cfg": {"type": "BN"}}]}  # not the layer's
    options = {"model.student": student, "student_norm": GROUPS}
    with pytest.raises(ConfigError, match="leaves 1 BatchNorm layers.*got 'norm'"):
        run(make_run(options=options), resume=False)
