"""Scores and distributions of real heads are those that MMDetection's own losses look at."""

from __future__ import annotations

import math

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.head_samples import head_samples
from fourierkd.distill.heads import head_calls, pair_heads
from fourierkd.distill.registry import MODELS
from fourierkd.errors import ConfigError
from fourierkd.losses.binary_kd import BinaryKDLoss
from fourierkd.losses.iou_aware import IoUAwareLoss
from fourierkd.losses.ld import LDLoss
from fourierkd.losses.samples import BoxSamples, DistributionSamples, HeadLoss, ScoreSamples
from tests.distill.test_heads import (
    BBOX_HEAD,
    CLASSES,
    PAIRS,
    STRIDES,
    TRUTH,
    anchors,
    build,
    features,
    metas,
    narrow,
    perturbed,
    points_head,
    retina_head,
    rpn_head,
    step,
    truth,
)

GFL = narrow(
    "gfl/gfl_r50_fpn_1x_coco.py",
    **BBOX_HEAD,
    **{"bbox_head.norm_cfg": {"type": "GN", "num_groups": 2}, "bbox_head.stacked_convs": 1},
)


def gfl_head(strides=STRIDES, classes=CLASSES, reg_max=4, kind="GFLHead", **config):
    train = {"assigner": {"type": "ATSSAssigner", "topk": 9}, "allowed_border": -1}
    base = {
        "type": f"mmdet.{kind}",
        "num_classes": classes,
        "in_channels": 4,
        "feat_channels": 4,
        "stacked_convs": 1,
        "norm_cfg": {"type": "GN", "num_groups": 2},
        "anchor_generator": anchors(strides, (2.0,)),
        "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
        "reg_max": reg_max,
        "train_cfg": {**train, "pos_weight": -1},
    }
    return build(**{**base, **config})


def ld_head():
    """MMDetection's own, which distils in its loss."""
    loss = {"type": "KnowledgeDistillationKLDivLoss", "loss_weight": 0.25, "T": 10}
    return gfl_head(kind="LDHead", loss_ld=loss)


def compared(loss, student, teacher, seeds=(3, 4), instances=TRUTH):
    """Loss of two heads, the student's outputs, and the teacher's."""
    paths = ("bbox_head", "bbox_head")
    indices = pair_heads("loss", loss.samples, student, teacher, paths).indices
    outputs = student.bbox_head(features(seeds[0]))
    with torch.no_grad():
        answer = teacher.bbox_head(features(seeds[1]))
    torch.manual_seed(0)  # an RPN draws its samples
    with head_calls(student, ["bbox_head"]) as calls:
        student.bbox_head.loss_by_feat(*outputs, instances, metas(len(instances), 32))
    maps = [m for part in answer for m in part]
    heads = student.bbox_head, teacher.bbox_head
    samples = head_samples(loss.samples, *heads, calls["bbox_head"], maps, indices)
    return loss(*samples), samples, outputs, answer


@pytest.mark.parametrize(
    ("make", "classes"),
    [(retina_head, CLASSES), (rpn_head, 1), (points_head, CLASSES), (gfl_head, 2)],
)
def test_scores_are_those_of_the_same_anchor_or_point(make, classes):
    student, teacher = perturbed(make(), 1, 0.2), perturbed(make(), 2, 0.2).eval()
    instances = [truth(*t.bboxes.tolist()) for t in TRUTH] if classes == 1 else TRUTH
    loss, (levels, avg_factor), outputs, answer = compared(
        BinaryKDLoss(2.0), student, teacher, instances=instances
    )
    total = 0.0
    for level, ours, theirs in zip(levels, outputs[0], answer[0], strict=True):
        weights = level.weights.view(2, *ours.shape[-2:], -1).movedim(-1, 1)  # (N, A, H, W)
        for c in range(classes):
            p, q = (scores[:, c::classes].sigmoid() for scores in (ours, theirs))
            entropy = -(q * p.log() + (1 - q) * (1 - p).log())
            total += (weights * (p - q).abs() * entropy).sum()
    torch.testing.assert_close(loss, 2 * total / avg_factor)
    loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in student.parameters() if p.grad is not None)
    assert all(p.grad is None for p in teacher.parameters())


def test_boxes_of_distributions_are_decoded_from_the_mean_distances():
    student, teacher = perturbed(gfl_head(), 1), perturbed(gfl_head(reg_max=6), 2).eval()
    loss, (levels, _), outputs, answer = compared(IoUAwareLoss(), student, teacher)
    assert sum(len(level.positives) for level in levels) > 3
    for level, stride, ours, theirs in zip(levels, STRIDES, outputs[1], answer[1], strict=True):
        for boxes, maps in ((level.boxes, ours), (level.teacher_boxes, theirs)):
            height, width = maps.shape[2:]
            bins = maps.shape[1] // 4
            for box, place in zip(boxes.tolist(), level.positives.tolist(), strict=True):
                image, cell = divmod(place, height * width)
                y, x = divmod(cell, width)
                sides = maps[image, :, y, x].detach().view(4, bins).softmax(1)
                left, top, right, bottom = (
                    stride * sum(k * float(p) for k, p in enumerate(side)) for side in sides
                )
                x, y = x * stride, y * stride
                expected = [x - left, y - top, x + right, y + bottom]
                assert box == pytest.approx(expected, abs=1e-3)
    loss.backward()
    assert student.bbox_head.gfl_cls.weight.grad.abs().sum() > 0


def test_distributions_are_what_mmdetections_own_distilling_head_compares():
    """The same weights, as an LDHead of MMDetection: its loss_ld of all levels."""
    student, teacher = perturbed(gfl_head(), 1), perturbed(gfl_head(), 2).eval()
    reference = ld_head()
    reference.load_state_dict(student.state_dict())
    loss, (levels, avg_factor), _, answer = compared(
        LDLoss(0.25, temperature=10.0), student, teacher
    )
    theirs = reference.bbox_head.loss_by_feat(
        *reference.bbox_head(features(3)), TRUTH, metas(2, 32), answer[1]
    )
    assert sum(len(level.weights) for level in levels) > 3
    assert avg_factor == 1
    expected = float(sum(theirs["loss_ld"]).detach())
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["ld", "binary_kd"])
def test_a_whole_step_of_a_gfl_pair(kind, det_batch):
    entry = {"ld": {"type": "LDLoss"}, "binary_kd": {"type": "BinaryKDLoss"}}[kind]
    heads = {"student_head": "bbox_head", "teacher_head": "bbox_head"}
    torch.manual_seed(5)
    model = Distiller(
        GFL, {"model": GFL, "checkpoint": "random"}, {kind: {**heads, "loss": entry}}
    ).train()
    perturbed(model.student, 1, 0.1)
    model.keep_gradients = True
    losses, total = step(model, det_batch())
    assert math.isfinite(total.detach())
    assert losses[f"distill.{kind}.loss"] > 0
    total.backward()
    assert 0 < model.gradient_shares()[kind] < 1
    assert model.student.backbone.conv1.weight.grad.abs().sum() > 0
    batch = det_batch()
    for sample in batch["data_samples"]:
        sample.gt_instances = truth()
    losses, total = step(model, batch)
    assert math.isfinite(total.detach())
    total.backward()
    # without objects there are no distributions to compare; scores of the background remain
    assert (losses[f"distill.{kind}.loss"] == 0) == (kind == "ld")


def test_a_retinanet_pair_mimics_its_scores(det_batch):
    model = PAIRS["retina"][0]
    entry = {"student_head": "bbox_head", "teacher_head": "bbox_head"}
    losses = {"binary_kd": {**entry, "loss": {"type": "BinaryKDLoss", "loss_weight": 1.0}}}
    built = Distiller(model, {"model": model, "checkpoint": "random"}, losses).train()
    found, total = step(built, det_batch())
    assert found["distill.binary_kd.loss"] > 0
    total.backward()
    assert built.student.bbox_head.retina_cls.weight.grad.abs().sum() > 0


REFUSED = [
    (LDLoss, retina_head, retina_head, r"distributions of the sides.*loss of GFL, got.*RetinaHead"),
    (LDLoss, gfl_head, retina_head, r"the loss of GFL, got 'teacher RetinaHead'.*maps alone"),
    (LDLoss, gfl_head, lambda: gfl_head(reg_max=8), r"same distances \(reg_max\), got \[4, 8\]"),
    (LDLoss, gfl_head, lambda: gfl_head([32]), "equal strides"),
    (BinaryKDLoss, gfl_head, ld_head, "or of GFL, got 'teacher LDHead'"),
    (BinaryKDLoss, gfl_head, lambda: gfl_head(classes=3), r"same classes, got \[2, 3\]"),
    (BinaryKDLoss, gfl_head, retina_head, r"heterogeneous.*GFLHead \(distributions of sides\)"),
    (
        BinaryKDLoss,
        retina_head,
        lambda: retina_head(anchor_generator=anchors(STRIDES)),
        "same anch",
    ),
]


@pytest.mark.parametrize(("loss", "student", "teacher", "message"), REFUSED)
def test_heads_of_another_layout_are_refused(loss, student, teacher, message):
    with pytest.raises(ConfigError, match=message):
        pair_heads("loss", loss.samples, student(), teacher(), ("bbox_head", "bbox_head"))


@MODELS.register_module(force=True)
class Undeclared(HeadLoss):
    """A loss of a user's own that does not say what it compares."""


@MODELS.register_module(force=True)
class LargestScore(HeadLoss[ScoreSamples]):
    """One that does."""

    samples = ScoreSamples

    def level(self, level):
        return (level.logits - level.teacher_logits).square().amax()


def test_a_loss_of_ones_own_says_which_samples_it_takes(det_batch):
    model = PAIRS["retina"][0]
    heads = {"student_head": "bbox_head", "teacher_head": "bbox_head"}

    def make(kind):
        loss = {"type": kind, "loss_weight": 2.0}
        teacher = {"model": model, "checkpoint": "random"}
        return Distiller(model, teacher, {"own": {**heads, "loss": loss}}).train()

    with pytest.raises(ConfigError, match="'Undeclared'; set samples to BoxSamples or ScoreSam"):
        make("Undeclared")
    step(make("LargestScore"), det_batch())[0]["distill.own.loss"].backward()


def test_scores_need_no_equal_distances():
    paths = ("bbox_head", "bbox_head")
    other = gfl_head(reg_max=8)
    assert pair_heads("loss", ScoreSamples, gfl_head(), other, paths).indices == [(0, 0), (1, 1)]


def test_each_loss_says_which_samples_it_takes():
    kinds = {IoUAwareLoss: BoxSamples, BinaryKDLoss: ScoreSamples, LDLoss: DistributionSamples}
    for loss, samples in kinds.items():
        assert loss.samples is samples
