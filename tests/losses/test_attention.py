"""Attention transfer: by hand, against loops, and what of a map it does not look at."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.attention import AttentionTransfer, attention_l2


def maps(widths=(3, 5), size=(5, 7), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(2, c, *size, generator=generator, dtype=dtype) for c in widths)
    return s.requires_grad_(), t


def looped(student, teacher):
    """From the formula, number by number."""
    n, _, height, width = student.shape
    total = 0.0
    for i in range(n):
        attention = []
        for image in (student[i].tolist(), teacher[i].tolist()):
            energy = [
                sum(channel[y][x] ** 2 for channel in image)
                for y in range(height)
                for x in range(width)
            ]
            length = math.sqrt(sum(e * e for e in energy))
            attention.append([e / length for e in energy])
        total += sum((a - b) ** 2 for a, b in zip(*attention, strict=True))
    return total / (n * height * width)


def test_value_by_hand():
    # energies 9 + 16 and 0 against 0 and 4: (1, 0) against (0, 1)
    student = torch.tensor([[[[3.0, 0.0]], [[-4.0, 0.0]]]])
    assert attention_l2(student, torch.tensor([[[[0.0, 2.0]]]])).item() == 1.0
    # (3, 4) / 5 against (1, 0): (0.16 + 0.64) / 2
    student = torch.tensor([[[[3.0, 4.0]]]]).sqrt()
    value = attention_l2(student, torch.tensor([[[[1.0, 0.0]]]]))
    assert value.item() == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (4, 4)])
def test_equals_the_formula_in_loops(widths):
    student, teacher = maps(widths)
    assert attention_l2(student, teacher).item() == pytest.approx(looped(student, teacher))


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (3, 3)])
def test_gradcheck(size):
    student, teacher = maps(size=size)
    assert torch.autograd.gradcheck(lambda s: 100 * attention_l2(s, teacher), student)


def test_scale_signs_and_order_of_channels_do_not_matter():
    student, teacher = maps()
    value = attention_l2(student, teacher)
    scale = torch.tensor([1e-3, 50.0], dtype=torch.float64).view(2, 1, 1, 1)  # per image
    torch.testing.assert_close(attention_l2(scale * student, teacher), value)
    torch.testing.assert_close(attention_l2(-student.flip(1), teacher / scale), value)
    assert attention_l2(student, student.repeat(1, 3, 1, 1)).item() == pytest.approx(0)
    assert 0 < value <= 2 / 35


def test_a_map_near_zero_has_a_gradient_near_zero():
    student, teacher = maps()
    for factor in (1e-8, 1e-20, 0.0):
        near = (factor * student).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(attention_l2(near, teacher), near)
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 1e12 * factor


def test_function_equals_module():
    student, teacher = maps()
    loss = AttentionTransfer(3.0)
    assert torch.equal(loss(student, teacher), 3 * attention_l2(student, teacher))
    assert not loss.state_dict()


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"loss_weight": -1}, "loss_weight must be"), ({"resize_stu": 1}, "resize_stu must be")],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        AttentionTransfer(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="agree in N"):
        AttentionTransfer()(torch.zeros(1, 2, 3, 3), torch.zeros(2, 3, 3, 3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.attention")).failed == 0
