"""Localization distillation: by hand, against loops and MMDetection's loss, and its rules."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.ld import LDLoss, localization_distillation
from fourierkd.losses.samples import DistributionSamples


def level(seed, p=5, bins=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = (3 * torch.randn(p, 4, bins, generator=generator, dtype=dtype) for _ in range(2))
    return DistributionSamples(ours, theirs, torch.rand(p, generator=generator, dtype=dtype))


def softmax(values, temperature):
    powers = [math.exp(v / temperature) for v in values]
    return [power / sum(powers) for power in powers]


def looped(levels, avg_factor, weight, temperature):
    """From the formula, side by side."""
    total = 0.0
    for logits, teacher_logits, weights in levels:
        for box, other, w in zip(
            logits.tolist(), teacher_logits.tolist(), weights.tolist(), strict=True
        ):
            for side, its in zip(box, other, strict=True):
                ours, theirs = softmax(side, temperature), softmax(its, temperature)
                kl = sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True))
                total += w / 4 * temperature**2 / len(side) * kl
    return weight * total / avg_factor


def test_value_by_hand():
    # one side of four differs: student (1/2, 1/2), teacher (3/4, 1/4)
    teacher = torch.zeros(1, 4, 2)
    teacher[0, 2, 0] = math.log(3)
    samples = DistributionSamples(torch.zeros(1, 4, 2), teacher, torch.tensor([0.5]))
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value = LDLoss(2.0, temperature=1.0)([samples], 3).item()
    assert value == pytest.approx(2 * 0.5 / 4 * kl / 2 / 3)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_equals_a_loop(temperature):
    levels = [level(1), level(2, p=0), level(3, p=1, bins=17)]
    value = LDLoss(0.25, temperature=temperature)(levels, 7)
    assert value.item() == pytest.approx(looped(levels, 7, 0.25, temperature))


def test_is_mmdetections_loss_with_its_weights():
    from mmdet.models.losses import KnowledgeDistillationKLDivLoss

    logits, teacher, weights = level(4, bins=17)
    reference = KnowledgeDistillationKLDivLoss(loss_weight=0.25, T=10)
    expected = reference(
        logits.reshape(-1, 17),
        teacher.reshape(-1, 17),
        weight=weights[:, None].expand(-1, 4).reshape(-1),
        avg_factor=4.0,
    )
    value = LDLoss(0.25, temperature=10.0)([DistributionSamples(logits, teacher, weights)], 1)
    torch.testing.assert_close(value, expected)


def test_gradcheck_and_no_gradient_to_the_teacher_or_the_weights():
    logits, teacher, weights = (x.requires_grad_() for x in level(5))

    def loss(z):
        return LDLoss(temperature=2.0)([DistributionSamples(z, teacher, weights)], 3)

    assert torch.autograd.gradcheck(loss, logits)
    loss(logits).backward()
    assert logits.grad.abs().sum() > 0
    assert teacher.grad is weights.grad is None


def test_a_constant_added_to_a_side_and_equal_distributions_do_not_count():
    logits, teacher, weights = level(6)
    value = localization_distillation(logits, teacher, weights)
    shifted = localization_distillation(logits + 3, teacher - 5, weights)
    torch.testing.assert_close(shifted, value)
    assert abs(localization_distillation(teacher + 1, teacher, weights)) < 1e-12


def test_far_zero_and_no_samples_are_finite():
    far = 400 * torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    for logits, teacher in ((far, -far), (torch.zeros(2, 4, 5), far), (far[:0], far[:0])):
        z = logits.clone().requires_grad_()
        value = localization_distillation(z, teacher, torch.ones(len(z)), temperature=1.0)
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()


def test_half_precision_is_lifted_and_autocast_is_left():
    half = DistributionSamples(*(x.bfloat16() for x in level(8)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LDLoss()([half], torch.tensor(4.0))
    assert value.dtype == torch.float32
    assert torch.equal(value, LDLoss()([DistributionSamples(*(x.float() for x in half))], 4))


def test_no_parameters_and_named_errors():
    assert not LDLoss().state_dict()
    for options, rule in (
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"temperature": 0}, "temperature must be above 0"),
    ):
        with pytest.raises(ConfigError, match=rule):
            LDLoss(**options)
    with pytest.raises(ConfigError, match="at least one level"):
        LDLoss()([], 1)


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.ld")).failed == 0
