"""Run configs: bases from packages, options, and one clear line for what is mistyped."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from mmengine.config import Config

from fourierkd.config.load import load_config
from fourierkd.engine.prepare import complete_config
from fourierkd.errors import ConfigError
from fourierkd.literals import config_text
from tests.engine.conftest import HERE

TOY = HERE / "toy_config.py"

SMALL = """
metric = "mIoU"
data_root = "data/x"
_size = (64, 64)
crop_size = _size
model = dict(type="Distiller", student=dict(type="mmseg.EncoderDecoder", backbone=dict(type="A")))
train_dataloader = dict(
    dataset=dict(
        type="mmseg.X",
        root="{data_root}/train",
        pipeline=[dict(type="L", n=1), dict(type="M", size=_size)],
    )
)
train_cfg = dict(max_iters=10)
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "config.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_values_helpers_and_scope(write):
    config = load_config(write(SMALL))
    assert config.metric == "mIoU"
    assert config.default_scope == "fourierkd"
    assert "_size" not in config
    assert "crop_size" not in config
    assert config.train_dataloader.dataset.root == "data/x/train"
    # what is inside is built in mmseg's scope without prefixes of its own
    assert config.train_dataloader.dataset._scope_ == "mmseg"
    assert config.model.student._scope_ == "mmseg"
    assert "_scope_" not in config.model


def test_options_replace_and_come_before_data_root(write):
    path = write(SMALL)
    config = load_config(
        path,
        {
            "data_root": "/other",
            "model.student": {"type": "B"},
            "train_dataloader.dataset.pipeline.0.n": 5,
            "train_dataloader.dataset.pipeline.1": {"type": "N"},
            "train_cfg.val_interval": 3,
            "val_cfg": {},
        },
    )
    assert config.train_dataloader.dataset.root == "/other/train"
    assert config.model.student == {"type": "B"}  # replaced, not merged
    assert config.train_dataloader.dataset.pipeline == [{"type": "L", "n": 5}, {"type": "N"}]
    assert config.train_cfg == {"max_iters": 10, "val_interval": 3}
    assert load_config(path).data_root == "data/x"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("train_cgf.max_iters", "train_cfg"),
        ("train_dataloader.dataset.pipeline.7.n", "7"),
        ("metric.inside", "metric"),
        ("metrik", "did you mean 'metric'"),
    ],
)
def test_options_that_lead_nowhere(write, key, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(write(SMALL), {key: 1})


def test_unknown_key_names_its_neighbours(write):
    with pytest.raises(ConfigError, match="unknown key.*'metrics'; did you mean 'metric'"):
        load_config(write(SMALL + "metrics = 1\n"))
    with pytest.raises(ConfigError, match="starts with '_'"):
        load_config(write(SMALL + "my_own_helper = 1\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metric = (", "cannot be read: .*SyntaxError"),
        ("metric = 1 / 0", "ZeroDivisionError"),
        ("_base_ = 'no.py'", "no.py"),
        ("_base_ = 'mmseg::no/such.py'", "has no such config"),
        ("_base_ = 'mmfoo::a.py'", "mmfoo"),
        ("train_cfg = dict(type='{data_root}')", "needs the key data_root"),
    ],
)
def test_a_file_that_cannot_be_read(write, text, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(write(text))


def test_a_dict_over_none_says_how(write):
    write("model = dict(teacher=None)", "base.py")
    text = "_base_ = 'base.py'\nmodel = dict(teacher=dict({}x=1))"
    with pytest.raises(ConfigError, match=r"write teacher=dict\(_delete_=True, \.\.\.\)"):
        load_config(write(text.format("")))
    assert load_config(write(text.format("_delete_=True, "))).model.teacher == {"x": 1}


def test_missing_file():
    with pytest.raises(ConfigError, match=r"must be a file, got 'no/such\.py'"):
        load_config("no/such.py")


def test_bases_of_installed_packages(write):
    before = Config._get_cfg_path
    path = write(
        '_base_ = ["mmseg::_base_/datasets/ade20k.py", "mmseg::_base_/schedules/schedule_20k.py"]\n'
        'metric = "mIoU"\ntrain_dataloader = dict(batch_size=2)\n'
    )
    config = load_config(path)
    assert config.train_dataloader.batch_size == 2
    assert config.train_dataloader.dataset.type == "ADE20KDataset"
    assert config.train_dataloader.dataset._scope_ == "mmseg"
    assert config.train_cfg.max_iters == 20000
    assert "tta_model" not in config
    assert Config._get_cfg_path is before
    # a whole config of the package: its own variables are no mistakes
    whole = load_config(
        write('_base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"\nmetric = "bbox_mAP"\n')
    )
    assert whole.model._scope_ == "mmdet"
    assert whole.default_scope == "fourierkd"


def test_text_reads_back_equal(write):
    values = load_config(write(SMALL)).to_dict()
    values["train_cfg"].update(a=math.inf, b=(1, -math.inf), c=Path("/x"), d=[None, True, "é'\""])
    again = load_config(write(config_text(values), "again.py")).to_dict()
    values["train_cfg"]["c"] = "/x"
    assert again == values
    ast.parse(load_config(write(SMALL)).pretty_text)


def test_pictures_of_the_task_packages_are_drawn_where_they_are_asked_for(write):
    hook = 'default_hooks = dict(visualization=dict(type="SegVisualizationHook"{}))\n'
    rest = "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
    silent = load_config(write(SMALL + rest + hook.format("")))
    complete_config(silent, None)
    assert "visualization" not in silent.default_hooks  # it would only warn that it draws nothing
    drawing = load_config(write(SMALL + rest + hook.format(", draw=True"), "drawing.py"))
    complete_config(drawing, None)
    assert drawing.default_hooks.visualization.type == "mmseg.SegVisualizationHook"


def test_a_loss_of_none_is_left_out(write):
    entry = '"{0}": dict(student_tap="a", teacher_tap="a", loss=dict(type="FeatureL2"))'
    losses = ", ".join(entry.format(name) for name in ("fourier", "iou"))
    path = write(SMALL + f"model['losses'] = {{{losses}}}\n")
    assert list(load_config(path).model.losses) == ["fourier", "iou"]
    assert list(load_config(path, {"model.losses.iou": None}).model.losses) == ["fourier"]


LAZY_MODEL = """
from mmseg.models import EncoderDecoder, FCNHead, ResNetV1c
model = dict(
    student=dict(
        type=EncoderDecoder, backbone=dict(type=ResNetV1c, depth=18), decode_head=dict(type=FCNHead)
    )
)
"""
LAZY = """
from mmengine.config import read_base
from mmengine.dataset import pseudo_collate
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmseg.evaluation import IoUMetric
from torch.optim import AdamW
from fourierkd.distill.distiller import Distiller

with read_base():
    from .base import *

metric = "mIoU"
model.update(type=Distiller)
train_dataloader = dict(dataset=dict(type="mmseg.X"), collate_fn=dict(type=pseudo_collate))
train_cfg = dict(max_iters=10)
val_dataloader = dict(dataset=dict(type="mmseg.X"))
val_evaluator = dict(type=IoUMetric)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1e-3))
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1))
"""


def test_a_config_of_classes_is_that_of_their_names(write):
    write(LAZY_MODEL, "base.py")
    config = load_config(write(LAZY))
    complete_config(config, None)
    assert config.model.type == "Distiller"
    assert config.model.student.type == "mmseg.EncoderDecoder"
    assert config.model.student.backbone.type == "mmseg.ResNetV1c"
    assert config.val_evaluator.type == "mmseg.IoUMetric"
    assert config.optim_wrapper.type == "OptimWrapper"
    assert config.optim_wrapper.optimizer.type == "AdamW"
    assert config.train_dataloader.collate_fn.type == "pseudo_collate"
    assert config.default_hooks.checkpoint.type == "RunCheckpointHook"  # MMEngine's is replaced
    assert load_config(write(config.pretty_text, "again.py")).model == config.model


@pytest.mark.parametrize(("key", "value"), [("metric", "aAcc"), ("direction", "minimize")])
def test_the_best_checkpoint_is_the_one_that_is_reported(key, value):
    own = {"type": "RunCheckpointHook", "interval": 1}
    complete_config(load_config(TOY, {"default_hooks": {"checkpoint": own}}), None)
    own[key] = value
    with pytest.raises(ConfigError, match=f"goes by the config's {key}, .*, got '{value}'; set"):
        complete_config(load_config(TOY, {"default_hooks": {"checkpoint": own}}), None)


def test_imports_and_numbers_of_a_config_are_no_keys(write):
    text = "import numpy as np\nfrom fractions import Fraction\ndef helper():\n    return 3\n"
    last = "train_cfg = dict(max_iters=helper(), a=np.float64(0.5), b=np.arange(2))\n"
    config = load_config(write(text + SMALL + last))
    assert config.train_cfg == {"max_iters": 3, "a": 0.5, "b": [0, 1]}
    assert repr(config.train_cfg.a) == "0.5"  # a run's config.py is read as literals


def test_a_class_that_a_run_folder_could_not_name_is_refused(write):
    with pytest.raises(ConfigError, match="can be imported, got 'Own'.*custom_imports"):
        load_config(write(SMALL + "class Own: pass\ncustom_hooks = [dict(type=Own)]\n"))
