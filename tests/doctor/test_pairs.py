"""The shapes pairs of both packages on a few images: healthy, and with faults of such models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fourierkd.config.load import load_config
from fourierkd.distill.model_config import build_model
from fourierkd.distill.taps import isolated_random_state
from fourierkd.doctor.examine import Effort, diagnose
from fourierkd.methods import read_method
from tests.shapes_pairs import PAIRS_AND_METHODS, ROLES

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "shapes"
QUICK = Effort(images=2, steps=2)
# The teacher here is random, and its maps are of no size in particular.
KNOWS_NOTHING = {"teacher metric", "teacher loss"}
DRAWN = {"gradient share", "shortcut", "bands"}
PSP, RETINA = CONFIGS / "pspnet_fourier.py", CONFIGS / "retinanet_fourier.py"


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """Options that make a pair small: a few images, and a teacher whose norms have seen some."""
    root = tmp_path_factory.mktemp("shapes")

    def make(config: Path) -> dict:
        path = root / f"{config.stem}.pth"
        sizes = {"size": 4, "val_size": 2, "test_size": 2}
        options = {f"prepare_data.{key}": value for key, value in sizes.items()}
        options |= {
            "data_root": str(root / "data"),
            "train_dataloader.batch_size": 2,
            "train_dataloader.dataset.indices": 4,
            "val_dataloader.batch_size": 2,
            "model.teacher.checkpoint": str(path),
        }
        if not path.exists():
            with isolated_random_state():
                torch.manual_seed(0)
                model = build_model(load_config(config).model.teacher.model, role="teacher").train()
                with torch.no_grad():
                    for _ in range(3):
                        model(torch.randn(2, 3, 64, 64), mode="tensor")
            torch.save({"state_dict": model.state_dict()}, path)
        return options

    return make


def examined(config: Path, options: dict) -> dict:
    return {check.name: check for check in diagnose(config, options, effort=QUICK)}


def failed(checks: dict) -> set[str]:
    return {name for name, check in checks.items() if check.status == "fail"}


@pytest.mark.parametrize(
    ("config", "scope", "strides"), [(PSP, "mmseg", [4.0]), (RETINA, "mmdet", [4.0, 8.0, 16.0])]
)
def test_a_pair_of_each_package(few, config, scope, strides):
    checks = examined(config, few(config))
    # this teacher knows nothing, so its metric may be no better than that of random weights
    assert failed(checks) <= KNOWS_NOTHING, [checks[name] for name in failed(checks)]
    assert [pair["student"] for pair in checks["levels"].facts["fourier"]["strides"]] == strides
    assert checks["export"].facts["scope"] == scope
    assert "load strictly in" in checks["export"].value
    assert checks["unused parameters"].status == "ok"
    shares = checks["bands"].facts["fourier.0"]["shares"]
    assert sum(shares) == pytest.approx(1.0, rel=1e-3)
    assert checks["teacher metric"].facts["images"] == 2


# Every method is trained on every pair by tests/test_configs.py; a few are examined each time.
QUICKLY = (("pspnet", "dist"), ("retinanet", "fgd"), ("gfl", "ld"))
EXAMINED = [
    pytest.param(*case, marks=() if case in QUICKLY else pytest.mark.slow)
    for case in PAIRS_AND_METHODS
]


@pytest.mark.parametrize(("pair", "method"), EXAMINED)
def test_every_method_passes(few, pair, method):
    config = CONFIGS / f"{pair}_fourier.py"
    checks = examined(config, few(config) | {"method": method})
    assert failed(checks) <= KNOWS_NOTHING, [checks[name] for name in failed(checks)]
    losses = read_method(method).at(ROLES[pair])
    gradients = checks["gradients"].facts["student"]
    for name in losses:
        assert checks["losses"].facts[f"distill.{name}.loss"] > 0
        assert gradients[name] > 0
    assert checks["unused parameters"].status == "ok"


HEADS = {
    "student_head": "bbox_head",
    "teacher_head": "bbox_head",
    "loss": {"type": "IoUAwareLoss", "loss_weight": 1.5},
}


def test_a_loss_on_heads_beside_one_on_maps(few):
    checks = examined(RETINA, few(RETINA) | {"model.losses.iou": HEADS})
    assert failed(checks) <= KNOWS_NOTHING, [checks[name] for name in failed(checks)]
    assert checks["losses"].facts["distill.iou.loss"] > 0
    assert checks["gradients"].facts["student"]["iou"] > 0
    assert 0 < checks["gradient share"].facts["iou"]["share"] < 1
    assert "iou: " in checks["gradient share"].value
    assert set(checks["shortcut"].facts) == {"fourier"}


def test_heads_that_differ_in_classes_are_refused(few):
    more = {"model.losses.iou": HEADS, "model.student.bbox_head.num_classes": 5}
    checks = examined(RETINA, few(RETINA) | more)
    assert failed(checks) == {"taps"}
    assert "classes" in checks["taps"].value


def test_pixels_of_another_mean(few):
    config = PSP
    options = few(config) | {"model.teacher.model.data_preprocessor.mean": [0.0, 0.0, 0.0]}
    checks = examined(config, options)
    assert failed(checks) == {"same input"}
    assert "data_preprocessor.mean" in checks["same input"].value


def test_channels_in_another_order(few):
    checks = examined(PSP, few(PSP) | {"model.teacher.model.data_preprocessor.bgr_to_rgb": False})
    assert failed(checks) == {"same input"}


def test_a_tap_of_an_auxiliary_head(few):
    aux = {
        "type": "FCNHead",
        "in_channels": 32,
        "in_index": 2,
        "channels": 8,
        "num_convs": 1,
        "num_classes": 9,
        "norm_cfg": {"type": "BN"},
        "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 0.4},
    }
    options = few(PSP) | {
        "model.student.auxiliary_head": aux,
        "model.losses.fourier.student_tap": "auxiliary_head.convs",
    }
    checks = examined(PSP, options)
    assert failed(checks) == {"taps"}
    assert "never called" in checks["taps"].value


def test_a_tap_of_another_stage(few):
    taps = {"student_tap": "backbone.layer2", "teacher_tap": "backbone.layer4"}
    options = {f"model.losses.fourier.{side}": path for side, path in taps.items()}
    checks = examined(RETINA, few(RETINA) | options)
    assert failed(checks) - KNOWS_NOTHING == {"levels"}
    assert "stride 4 of the student against 16 of the teacher" in checks["levels"].value


def test_levels_that_only_one_side_has_are_named(few):
    options = few(RETINA) | {"model.losses.fourier.student_tap": "backbone.layer4"}
    checks = examined(RETINA, options)
    assert checks["levels"].status == "ok"
    assert "left out teacher neck stride 4" in checks["levels"].value


def test_a_student_frozen_up_to_its_tap(few):
    checks = examined(PSP, few(PSP) | {"model.student.backbone.frozen_stages": 4})
    assert failed(checks) == {"gradients"}
    assert "frozen up to its tap" in checks["gradients"].value


def test_a_teacher_of_other_classes_cannot_be_scored_as_the_student(few):
    options = few(RETINA) | {
        "model.teacher.model.bbox_head.num_classes": 80,
        "model.teacher.checkpoint": "random",
        "model.losses.iou": None,  # would refuse these heads
    }
    checks = examined(RETINA, options)
    assert failed(checks) >= {"teacher weights"}
    assert checks["teacher metric"].status in ("warn", "fail")


def test_a_student_tap_of_another_stage_of_the_same_stride(few):
    checks = examined(PSP, few(PSP) | {"model.losses.fourier.student_tap": "backbone.layer2"})
    assert checks["levels"].status == "ok"  # dilated: both maps have stride 4
    assert checks["taps"].status == "warn"
    assert "backbone.layer2 of the student against backbone.layer4" in checks["taps"].value


@pytest.mark.parametrize(("config", "key"), [(PSP, "data_prefix"), (RETINA, "ann_file")])
def test_a_split_that_is_trained_on(few, config, key):
    train = load_config(config).train_dataloader.dataset
    options = {f"test_dataloader.dataset.{k}": train[k] for k in ("data_prefix", key)}
    checks = examined(config, few(config) | options)
    assert "data" in failed(checks)
    assert checks["data"].value == (
        "val: 2 images, none trained on\ntest: 4 of 4 images are trained on"
    )


def test_a_teacher_that_says_one_class_everywhere(few, tmp_path):
    options = few(PSP)
    state = torch.load(options["model.teacher.checkpoint"], weights_only=True)
    state["state_dict"]["decode_head.conv_seg.weight"].zero_()
    state["state_dict"]["decode_head.conv_seg.bias"].zero_()[0] = 1.0
    torch.save(state, tmp_path / "teacher.pth")
    checks = examined(PSP, options | {"model.teacher.checkpoint": str(tmp_path / "teacher.pth")})
    check = checks["teacher metric"]
    assert check.status == "fail"
    assert check.facts["constant"] == {"name": "background", "value": check.facts["value"]}
    assert "no better than one class everywhere" in check.advice
    assert check.facts["value"] > max(check.facts["random"])


def test_a_training_that_does_not_reach_the_weights(few):
    faults = {
        "model.student.backbone.norm_eval": True,
        "model.student.backbone.frozen_stages": 2,
        "optim_wrapper.clip_grad.max_norm": 1e-8,
        "model.losses.fourier.warmup_iters": 1_000_000,
        "param_scheduler.total_steps": 6400,
    }
    checks = examined(PSP, few(PSP) | faults)
    assert checks["student frozen"].status == "fail"
    assert "backbone.stem.0.weight" in checks["student frozen"].value
    assert checks["optimizer step"].status == "warn"
    assert "clip_grad" in checks["optimizer step"].advice
    assert checks["schedule"].status == "fail"
    assert "OneCycleLR ends at iter 6400" in checks["schedule"].value
    assert "fourier warms up for 1000000 iterations" in checks["schedule"].value


def test_a_backbone_of_no_learning_rate(few):
    frozen = {"custom_keys": {"student.backbone": {"lr_mult": 0.0}}}
    linear = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 10}
    faults = {"optim_wrapper.paramwise_cfg": frozen, "param_scheduler": linear}
    check = examined(RETINA, few(RETINA) | faults)["optimizer step"]
    assert check.status == "fail"
    assert "tensors, student.backbone" in check.value
    assert "lr_mult above 0" in check.advice


def test_a_split_that_cannot_be_read(few):
    check = examined(PSP, few(PSP) | {"test_dataloader.dataset.data_root": "nowhere"})["data"]
    assert check.status == "warn"
    assert "the test data cannot be read" in check.value


def test_a_config_of_a_student_alone(few):
    config = CONFIGS / "pspnet_student.py"
    options = {k: v for k, v in few(PSP).items() if not k.startswith("model.teacher")}
    checks = examined(config, options)
    assert failed(checks) == {"losses"}
    assert "distils nothing" in checks["losses"].value
    for name in ("data", "schedule", "student frozen", "optimizer step"):
        assert checks[name].status == "ok", checks[name]
