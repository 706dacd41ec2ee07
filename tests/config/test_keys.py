"""Wrong types at every key of a run config: a line of ours, or accepted as meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourierkd.config.keys import KNOWN_KEYS
from fourierkd.config.load import load_config
from fourierkd.config.schedules import check_schedules
from fourierkd.engine.class_counts import check_class_counts
from fourierkd.engine.console import console_to
from fourierkd.engine.prepare import complete_config
from fourierkd.engine.run import run
from fourierkd.engine.switches import check_switches
from fourierkd.errors import ConfigError, FourierKDError
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from tests.engine.conftest import HERE, TEACHER

CONFIG = HERE / "toy_config.py"
CONFIGS = Path(__file__).parents[2] / "configs"
OPTIONS: dict[str, Any] = {
    **TEACHER,
    "train_cfg.max_iters": 2,
    "train_cfg.val_interval": 1,
    "param_scheduler.0.end": 2,
    "custom_hooks": [{"type": "Slow", "seconds": 0.0}],
    "default_hooks": {
        "checkpoint": {"type": "RunCheckpointHook", "interval": 1},
        "spectra": {"type": "SpectraHook", "every": 1},
    },
    "env_cfg": {"cudnn_benchmark": False},
    "log_level": "INFO",
    "visualizer": {"type": "Visualizer", "vis_backends": []},
    "auto_scale_lr": {"enable": False, "base_batch_size": 3},
}
SEGMENTOR = {"metric": "mIoU", "val_evaluator": {"type": "mmseg.IoUMetric"}}
DETECTOR = {"metric": "bbox_mAP", "val_evaluator": {"type": "mmdet.CocoMetric", "ann_file": "x"}}
WRONG = [None, 5, -1, 0, True, float("nan"), float("inf"), "x", "", [], [5], {}, {"a": 1}]
WRONG.append({"type": "x"})


def paths(node: Any, before: tuple[str, ...] = ()) -> Iterator[str]:
    """Every dotted key at and below ``node``."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield ".".join((*before, str(key)))
        if isinstance(value, dict | list | tuple):
            yield from paths(value, (*before, str(key)))


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Of a whole run config, and those that it could have."""
    values = load_config(CONFIG, OPTIONS).to_dict()
    return [key for key in paths(values) if "_scope_" not in key] + sorted(KNOWN_KEYS - set(values))


# all 1 526 pairs take two minutes, these ten seconds
@settings(max_examples=120, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_wrong_value_anywhere_is_a_line_of_ours_or_meant(keys, tmp_path_factory, data):
    key, value = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(WRONG))
    options = {**OPTIONS, key: value}
    folder = tmp_path_factory.mktemp("run")
    try:
        config = load_config(CONFIG, options)
        complete_config(config, None)
        check_switches(config)
        check_schedules(config)
        run_dir = RunDir(folder).create(single_request(CONFIG, options, wandb_mode="disabled"))
        with console_to(run_dir.log):
            assert run(run_dir, resume=False).state == "complete"
    except FourierKDError:
        pass  # anything else fails the test


SHAPES = [CONFIGS / "shapes" / f"{name}.py" for name in ("pspnet_fourier", "retinanet_fourier")]
SHAPES_KEYS = [(path, key) for path in SHAPES for key in paths(load_config(path).to_dict())]


# what a class finds when it is built is put in words for all configs alike (engine/run.py)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.sampled_from(SHAPES_KEYS), value=st.sampled_from(WRONG))
def test_a_wrong_value_in_a_config_of_shapes_is_a_line_of_ours_or_meant(place, value):
    path, key = place
    with suppress(FourierKDError):  # anything else fails the test
        config = load_config(path, {key: value})
        complete_config(config, "test")
        check_switches(config)
        check_schedules(config)
        check_class_counts(config)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"optim_wrapper.optimizer": None}, "optim_wrapper.optimizer is a dict with a type"),
        ({"optim_wrapper.optimizer.lr": "fast"}, "lr is a number from 0 to 10000, got 'fast'"),
        ({"optim_wrapper.optimizer.lr": 1e30}, r"lr is a number from 0 to 10000, got 1e\+30"),
        ({"train_dataloader.dataset": None}, "train_dataloader.dataset is a dict with a type"),
        ({"train_dataloader.num_worker": 1}, "unknown key of train_dataloader.*'num_workers'"),
        ({"data_root": 5}, "data_root is a path, got 5"),
        ({"default_hooks": 5}, "default_hooks is a dict"),
        ({"custom_hooks": [5]}, r"custom_hooks is a list of dicts with a type, got \[5\]"),
        ({"param_scheduler": "x"}, "param_scheduler is a dict with a type, or a list of them"),
        ({"param_scheduler.0.by_epoch": "no"}, "by_epoch is True or False, got 'no'"),
        ({"optim_wrapper.clip_grad": {"max_norm": -1}}, "max_norm is a number above 0, got -1"),
        ({"optim_wrapper.paramwise_cfg": {"custom_key": {}}}, "did you mean 'custom_keys'"),
        (
            {
                "optim_wrapper.constructor": "DefaultOptimWrapperConstructor",
                "optim_wrapper.paramwise_cfg": {"norm_decay_mul": 0.0},
            },
            "did you mean 'norm_decay_mult'",
        ),
        (
            {"optim_wrapper.paramwise_cfg": {"custom_keys": {"head": {"lr_mul": 1}}}},
            r"key of optim_wrapper.paramwise_cfg.custom_keys\['head'\].*did you mean 'lr_mult'",
        ),
        ({"optim_wrapper.paramwise_cfg": {"custom_keys": {"head": 10.0}}}, "is a dict, got 10.0"),
        (
            {"optim_wrapper.paramwise_cfg": {"custom_keys": {"head": {"lr_mult": -1}}}},
            r"\['head'\].lr_mult is a number from 0 on, got -1",
        ),
        ({"env_cfg": 5}, "env_cfg is a dict, got 5"),
        ({"env_cfg": {"cudnn_benchmrk": True}}, "unknown key of env_cfg.*'cudnn_benchmark'"),
        ({"activation_checkpointing": 5}, "activation_checkpointing is a module path or a list"),
        ({"randomness": 5}, "randomness is a dict, got 5"),
        ({"__import__": 1}, "a variable of the config's own file, got '__import__'"),
        ({"max_iters": 9}, "a variable of the config's own file, got 'max_iters'"),
        ({"custom_imports": {"imports": ["x"]}}, "imported while a file is read"),
        ({"model.student.width": float("inf")}, "the option .* is a finite number"),
        ({"val_evaluator": {"type": "ToyAccuracy", "a": [float("nan")]}}, "a.0 is a number, got n"),
        ({"val_evaluator": {"type": 5}}, "val_evaluator.type names a class, got 5"),
    ],
)
def test_wrong_types_and_options_that_nothing_reads_are_named(option, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(CONFIG, option)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"optim_wrapper.optimizer.type": "Adamm"}, "type of an optimizer.*'Adamm'; did you mean"),
        ({"randomness": {"seed": 3}}, "randomness is not read from a config.*--seed"),
        ({"resume": True}, "resume is not read from a config.*--resume"),
        ({"work_dir": "x"}, "work_dir is not read from a config, got 'x'; give it as --work-dir"),
        ({"launcher": "pytorch"}, "launcher is not read from a config.*--launcher"),
        (
            {"train_cfg": {"by_epoch": True, "max_epochs": 2}},
            "an epoch ends with its data, and train_dataloader.sampler never does",
        ),
        ({"train_cfg.val_begin": 21}, "a validation begins within the training .20., got 21"),
        ({"val_dataloader.sampler.type": "InfiniteSampler"}, "validation or test ends with"),
        (
            {**SEGMENTOR, "param_scheduler": [{"type": "ReduceOnPlateauLR", "by_epoch": True}]},
            "ReduceOnPlateauLR.monitor must be a metric that the evaluator gives, got 'val_loss'",
        ),
        (
            {**SEGMENTOR, "custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "miou"}]},
            "EarlyStoppingHook.monitor must be.*got 'miou'; known: aAcc, mAcc, mIoU",
        ),
        (
            {**DETECTOR, "custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "bbox_mAP"}]},
            "did you mean 'coco/bbox_mAP'",
        ),
        ({"model": {"student": {}}}, "model names its class"),
    ],
)
def test_what_a_whole_config_cannot_have(option, expected):
    with pytest.raises(ConfigError, match=expected):
        complete_config(load_config(CONFIG, option), None)


def test_what_mmengine_writes_out_of_its_own_defaults_is_accepted():
    options = {"launcher": "none", "load_from": None, "resume": False, "work_dir": None}
    complete_config(load_config(CONFIG, options), None)


def test_keys_of_the_optimizer_are_meant_for_its_groups():
    own = {"custom_keys": {"head": {"lr_mult": 0.5, "eps": 1e-3, "weight_decay": 0.0}}}
    load_config(CONFIG, {"optim_wrapper.paramwise_cfg": own})


def test_a_loop_and_a_wrapper_without_a_type_are_those_of_mmengine(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "model = dict(type='Distiller')\ntrain_dataloader = dict(dataset=dict(type='ToyDataset'))\n"
        "train_cfg = dict(by_epoch=True, max_epochs=3)\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
    )
    config = load_config(path)
    complete_config(config, None)
    assert config.train_cfg == {"type": "EpochBasedTrainLoop", "max_epochs": 3}
    assert config.optim_wrapper.type == "OptimWrapper"
