"""Configs in MMSegmentation's and MMDetection's own style as bases of a run config."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourierkd.config.load import load_config
from fourierkd.errors import ConfigError

OWN = """
_base_ = ["mmseg::_base_/default_runtime.py"]
default_scope = "mmseg"
interval, base_lr = 2, 0.01
dataset_type = "BaseSegDataset"
train_dataloader = dict(dataset=dict(type=dataset_type), sampler=dict(type="InfiniteSampler"))
val_evaluator = [dict(type="IoUMetric")]
optim_wrapper = dict(optimizer=dict(type="SGD", lr=base_lr))
train_cfg = dict(max_iters=4, val_interval=interval)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage"),
    dict(type="ScalarsHook"),
    dict(type="mmdet.PipelineSwitchHook", switch_pipeline=[dict(type="PackDetInputs")]),
]
"""


def load(folder: Path, own: str = OWN):
    (folder / "own.py").write_text(own)
    (folder / "run.py").write_text('_base_ = "own.py"\nmetric = "mIoU"\n')
    return load_config(folder / "run.py")


def test_types_of_a_config_with_a_default_scope_are_its_packages(tmp_path):
    config = load(tmp_path)
    assert config.train_dataloader.dataset["_scope_"] == "mmseg"
    assert config.val_evaluator[0]["_scope_"] == "mmseg"
    average, ours, switch = config.custom_hooks
    assert average.ema_type == "mmseg.ExponentialMovingAverage"  # built when training begins
    assert "_scope_" not in ours
    assert switch.switch_pipeline[0]["_scope_"] == "mmdet"  # built at a late epoch
    assert config.default_scope == "fourierkd"


def test_a_variable_that_its_file_reads_is_no_misspelt_key(tmp_path):
    assert "interval" not in load(tmp_path)
    with pytest.raises(
        ConfigError, match="unknown key.*'interval'"
    ):  # as an option it does nothing
        load_config(tmp_path / "run.py", {"interval": 3})
    with pytest.raises(ConfigError, match="unknown key.*'intervall'"):
        load(tmp_path, OWN.replace("interval, base_lr = 2", "intervall, interval, base_lr = 1, 2"))


def test_hooks_of_a_package_base_build_in_its_scope_later(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(
        '_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"\nmetric = "bbox_mAP"\n'
    )
    average, switch = load_config(path).custom_hooks
    assert average.ema_type == "mmdet.ExpMomentumEMA"
    assert {step["_scope_"] for step in switch.switch_pipeline} == {"mmdet"}
