"""Where pairs of real architectures are tapped."""

from __future__ import annotations

import functools

import pytest
import torch

from fourierkd.distill.model_config import build_model, resolve_model
from fourierkd.distill.pretrained import set_pretrained
from fourierkd.distill.roles import find_roles, last_feature
from fourierkd.distill.taps import Taps, probe

PSPNET = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"
DEEPLAB = "mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py"
SEGFORMER = "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"
RETINANET = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
FASTER = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
RTMDET = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
YOLOX = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
SCORES = "decode_head.conv_seg"

pytestmark = pytest.mark.usefixtures("few_threads", "own_scope")


@functools.cache
def built(name: str, role: str = "student"):
    return build_model(set_pretrained(resolve_model(name), False), role=role)


@pytest.mark.parametrize(
    ("student", "teacher", "taps"),
    [
        (PSPNET, DEEPLAB, {"feature": "backbone.layer4", "logits": SCORES}),
        (DEEPLAB, SEGFORMER, {"feature": "decode_head.fusion_conv", "logits": SCORES}),
        (RETINANET, RETINANET, {"pyramid": "neck", "head": "bbox_head"}),
        (FASTER, FASTER, {"pyramid": "neck", "head": "rpn_head"}),
        (RETINANET, FASTER, {"pyramid": "neck"}),
        (RTMDET, YOLOX, {"pyramid": "neck"}),
    ],
)
def test_a_pair_is_tapped_by_what_its_modules_give(student, teacher, taps):
    roles = find_roles(built(student), built(teacher))
    assert {role: paths[1] for role, paths in roles.taps.items()} == taps
    for side, name in enumerate((student, teacher)):
        for role, paths in roles.taps.items():
            if role == "head":
                continue
            levels = probe(built(name), Taps(built(name), [paths[side]], role="student"))
            strides = [level.stride for level in levels[paths[side]]]
            assert strides == roles.strides[role][side]
            assert role == "pyramid" or len(strides) == 1


def test_what_is_not_as_expected_is_said():
    said = find_roles(built(DEEPLAB), built(SEGFORMER)).said
    assert any("of the teacher is decode_head.fusion_conv" in text for text in said)
    assert "feature: stride 8 and, of the teacher, 4; the loss resizes" in said
    (pyramid, head) = find_roles(built(RETINANET), built(FASTER)).said
    assert pyramid.endswith("[4, 8, 16, 32, 64]; compared at [8, 16, 32, 64]")
    assert head.startswith("head left out: IoUAwareLoss: student and teacher need the same classes")


def test_a_module_that_is_called_for_several_maps_is_no_stage():
    """In a branch of HRNet the last ReLU is one module for all four."""
    name = "mmseg::hrnet/fcn_hr18s_4xb2-40k_cityscapes-512x1024.py"
    path, said = last_feature(built(name), "student")
    assert path.startswith("decode_head.")
    assert said


def test_a_model_is_left_as_it_was():
    model = built(RETINANET).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    find_roles(model, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert model.backbone.training
