"""Binary distillation of class scores: by hand, against loops and plain autograd, and its rules."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.binary_kd import BinaryKDLoss, binary_distillation
from fourierkd.losses.samples import ScoreSamples


def level(seed, m=7, c=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = (2 * torch.randn(m, c, generator=generator, dtype=dtype) for _ in range(2))
    weights = torch.rand(m, generator=generator, dtype=dtype)
    if m:
        weights[0] = 0
    return ScoreSamples(logits, teacher, weights)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def looped(levels, avg_factor, weight, beta):
    """From the formula, number by number."""
    total = 0.0
    for logits, teacher_logits, weights in levels:
        for ours, theirs, w in zip(
            logits.tolist(), teacher_logits.tolist(), weights.tolist(), strict=True
        ):
            for z, t in zip(ours, theirs, strict=True):
                p, q = sigmoid(z), sigmoid(t)
                entropy = -q * math.log(p) - (1 - q) * math.log(1 - p)
                total += w * abs(q - p) ** beta * entropy
    return weight * total / avg_factor


def plain(logits, teacher_logits, weights, beta):
    """By autograd."""
    target = teacher_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weights[:, None] * (target - logits.sigmoid()).abs().pow(beta) * entropy).sum()


def test_value_by_hand():
    # student 1/2, teacher 3/4 and 1/2: log 2 a quarter of the way, and no gap
    samples = ScoreSamples(
        torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), torch.tensor([2.0])
    )
    assert BinaryKDLoss(3.0)([samples], 4).item() == pytest.approx(3 * 2 * math.log(2) * 0.25 / 4)
    assert BinaryKDLoss(3.0, beta=2.0)([samples], 4).item() == pytest.approx(
        3 * 2 * math.log(2) * 0.0625 / 4
    )
    assert BinaryKDLoss(3.0, beta=0.0)([samples], 4).item() == pytest.approx(
        3 * 2 * 2 * math.log(2) / 4
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, 1.5, 2.0])
def test_equals_a_loop_and_plain_autograd(beta):
    levels = [level(1), level(2, m=1, c=1), level(3, m=0), level(4, m=12, c=5)]
    value = BinaryKDLoss(0.7, beta=beta)(levels, 9)
    assert value.item() == pytest.approx(looped(levels, 9, 0.7, beta))
    logits, teacher, weights = level(5, m=40, c=4)
    sides = [logits.clone().requires_grad_() for _ in range(2)]
    for z, function in zip(sides, (binary_distillation, plain), strict=True):
        (3 * function(z, teacher, weights, beta=beta)).backward()
    torch.testing.assert_close(sides[0].grad, sides[1].grad)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_gradcheck_and_no_gradient_to_the_teacher_or_the_weights(beta):
    logits, teacher, weights = (x.requires_grad_() for x in level(6))

    def loss(z):
        return BinaryKDLoss(beta=beta)([ScoreSamples(z, teacher, weights)], 3)

    assert torch.autograd.gradcheck(loss, logits)
    loss(logits).backward()
    assert logits.grad[1:].abs().sum() > 0
    assert torch.equal(logits.grad[0], torch.zeros(3, dtype=torch.float64))  # label weight 0
    assert teacher.grad is weights.grad is None


@pytest.mark.parametrize("threads", [1, 2])
def test_many_samples_are_compared_in_blocks(threads):
    logits, teacher, weights = level(9, m=9001, c=64)  # two blocks and a part of one
    sides = [logits.clone().requires_grad_() for _ in range(2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        values = [
            function(z, teacher, weights, beta=1.0)
            for z, function in zip(sides, (binary_distillation, plain), strict=True)
        ]
        torch.stack(values).sum().backward()
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(sides[0].grad, sides[1].grad)


def test_without_a_factor_the_gradient_is_that_of_the_binary_kl():
    logits, teacher, weights = level(7)
    logits.requires_grad_()
    p, q = logits.sigmoid(), teacher.sigmoid()
    kl = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    (expected,) = torch.autograd.grad((weights[:, None] * kl).sum(), logits)
    (found,) = torch.autograd.grad(binary_distillation(logits, teacher, weights, beta=0.0), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_equal_extreme_and_no_scores_are_finite(beta):
    far = torch.tensor([[0.0, 200.0, -200.0]])
    for logits, teacher in ((far, far), (far, -far), (torch.zeros(1, 3), far)):
        z = logits.clone().requires_grad_()
        value = binary_distillation(z, teacher, torch.ones(1), beta=beta)
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()
    equal = binary_distillation(far, far, torch.ones(1), beta=beta)
    assert equal.item() == (pytest.approx(math.log(2)) if beta == 0 else 0.0)
    empty = torch.zeros(0, 3, requires_grad=True)
    value = binary_distillation(empty, empty.detach(), torch.zeros(0), beta=beta)
    value.backward()
    assert value.item() == 0
    assert empty.grad.shape == (0, 3)


def test_half_precision_is_lifted_and_autocast_is_left():
    half = ScoreSamples(*(x.bfloat16() for x in level(8)))
    half.logits.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = BinaryKDLoss()([half], torch.tensor(4.0))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value, BinaryKDLoss()([ScoreSamples(*(x.float() for x in half))], 4))
    assert half.logits.grad.dtype == torch.bfloat16


def test_no_parameters_and_named_errors():
    assert not BinaryKDLoss().state_dict()
    for options, rule in (
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"beta": -1.0}, "beta must be a finite number"),
        ({"beta": 0.5}, "beta must be 0, for no factor, or at least 1, got 0.5"),
    ):
        with pytest.raises(ConfigError, match=rule):
            BinaryKDLoss(**options)
    with pytest.raises(ConfigError, match="at least one level"):
        BinaryKDLoss()([], 1)


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.binary_kd")).failed == 0
