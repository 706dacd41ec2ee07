"""The IoU-aware loss on tensors: by hand, against loops and MMDetection; gradients and rules."""

from __future__ import annotations

import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.iou_aware import (
    IoUAwareLoss,
    aligned_iou,
    iou_aware_target,
    varifocal_loss,
)
from fourierkd.losses.samples import BoxSamples


def boxes(n, generator, dtype=torch.float32):
    corner = torch.rand(n, 2, generator=generator, dtype=dtype) * 20
    size = torch.rand(n, 2, generator=generator, dtype=dtype) * 20 + 1
    return torch.cat([corner, corner + size], dim=1)


def random_level(seed, m=12, c=3, p=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(m, generator=generator, dtype=dtype)
    weights[0] = 0
    return BoxSamples(
        logits=torch.randn(m, c, generator=generator, dtype=dtype),
        weights=weights,
        positives=torch.randperm(m, generator=generator)[:p],
        boxes=boxes(p, generator, dtype),
        teacher_boxes=boxes(p, generator, dtype),
        teacher_logits=torch.randn(p, c, generator=generator, dtype=dtype),
    )


def looped(levels, avg_factor, weight=1.5):
    """The formulas of the method, number by number."""
    total = 0.0
    for level in levels:
        logits, weights = level.logits.tolist(), level.weights.tolist()
        for i, row in enumerate(logits):
            for c, z in enumerate(row):
                p, q = 1 / (1 + math.exp(-z)), 0.0
                if i in level.positives.tolist():
                    k = level.positives.tolist().index(i)
                    a, b = level.boxes[k].tolist(), level.teacher_boxes[k].tolist()
                    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                    both = max(w, 0) * max(h, 0)
                    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
                    q = both / (sum(areas) - both) / (1 + math.exp(-level.teacher_logits[k, c]))
                if q > 0:
                    loss = q * -(q * math.log(p) + (1 - q) * math.log(1 - p))
                else:
                    loss = 0.75 * p**2 * -math.log(1 - p)
                total += weights[i] * loss
    return weight * total / avg_factor


def test_two_boxes_by_hand():
    # student (0, 0, 2, 2), teacher (1, 0, 3, 2): IoU 1/3; teacher's score 1/2: q = 1/6
    level = BoxSamples(
        logits=torch.zeros(2, 1),
        weights=torch.ones(2),
        positives=torch.tensor([1]),
        boxes=torch.tensor([[0.0, 0, 2, 2]]),
        teacher_boxes=torch.tensor([[1.0, 0, 3, 2]]),
        teacher_logits=torch.zeros(1, 1),
    )
    assert iou_aware_target(*level[3:]).item() == pytest.approx(1 / 6)
    by_hand = math.log(2) / 6 + 0.75 * 0.25 * math.log(2)  # at p = 1/2 every BCE is ln 2
    assert IoUAwareLoss(1.5)([level], 2).item() == pytest.approx(1.5 * by_hand / 2)


def test_equals_a_loop_over_samples_and_classes():
    levels = [random_level(1), random_level(2, m=5, p=0), random_level(3, m=7, p=7)]
    torch.testing.assert_close(IoUAwareLoss()(levels, 9).item(), looped(levels, 9))


def test_boxes_apart_leave_a_negative_sample():
    level = random_level(4)._replace(teacher_boxes=torch.tensor([[90.0, 90, 95, 95]]).expand(4, 4))
    as_negative = level._replace(positives=level.positives[:0], boxes=torch.empty(0, 4))
    as_negative = as_negative._replace(
        teacher_boxes=torch.empty(0, 4), teacher_logits=torch.empty(0, 3)
    )
    torch.testing.assert_close(IoUAwareLoss()([level], 4), IoUAwareLoss()([as_negative], 4))


@pytest.mark.parametrize("iou_weighted", [True, False])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (0.3, 1.5), (1.0, 0.0)])
def test_value_and_gradient_are_mmdetections_with_a_dense_target(alpha, gamma, iou_weighted):
    from mmdet.models.losses.varifocal_loss import varifocal_loss as reference

    arguments = {"alpha": alpha, "gamma": gamma, "iou_weighted": iou_weighted}
    level = random_level(5)
    target = iou_aware_target(*level[3:])
    target[0, 0] = 0  # a positive sample without overlap
    dense = torch.zeros_like(level.logits).index_copy(0, level.positives, target)
    logits = [level.logits.clone().requires_grad_() for _ in range(2)]
    ours = varifocal_loss(logits[0], level.positives, target, level.weights, **arguments)
    theirs = reference(logits[1], dense, level.weights[:, None], reduction="sum", **arguments)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(logits[0].grad, logits[1].grad)


def test_iou_is_mmdetections():
    from mmdet.structures.bbox import bbox_overlaps

    generator = torch.Generator().manual_seed(6)
    first, second = boxes(50, generator), boxes(50, generator)
    second[0] = second[0, [0, 1, 0, 1]]  # no area
    first[1] = second[1] = torch.tensor([3.0, 3, 3, 3])
    torch.testing.assert_close(
        aligned_iou(first, second), bbox_overlaps(first, second, is_aligned=True)
    )


def test_gradcheck_and_no_gradient_to_boxes_or_teacher():
    level = random_level(7, dtype=torch.float64)
    leaves = [level.boxes, level.teacher_boxes, level.teacher_logits]
    for leaf in leaves:
        leaf.requires_grad_()
    logits = level.logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: IoUAwareLoss()([level._replace(logits=z)], 3), logits)
    IoUAwareLoss()([level], 3).backward()
    assert logits.grad.abs().sum() > 0
    assert all(leaf.grad is None for leaf in leaves)
    assert torch.equal(logits.grad[0], torch.zeros(3, dtype=torch.float64))  # label weight 0


def test_half_precision_is_lifted_and_autocast_is_left():
    level = random_level(8)
    half = BoxSamples(*(x.bfloat16() if x.is_floating_point() else x for x in level))
    lifted = BoxSamples(*(x.float() if x.is_floating_point() else x for x in half))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = IoUAwareLoss()([half], torch.tensor(4.0))
    assert value.dtype == torch.float32
    assert torch.equal(value, IoUAwareLoss()([lifted], 4))


def test_no_parameters_and_named_errors():
    assert not list(IoUAwareLoss().parameters())
    assert not IoUAwareLoss().state_dict()
    for wrong in ({"loss_weight": -1}, {"alpha": math.inf}, {"gamma": "2"}, {"iou_weighted": 1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            IoUAwareLoss(**wrong)
    with pytest.raises(ConfigError, match="at least one level"):
        IoUAwareLoss()([], 1)
