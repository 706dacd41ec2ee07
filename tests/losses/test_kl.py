"""Softened class scores: by hand, against loops, and what of the scores does not count."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.kl import LogitsKL, softened_kl


def scores(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (3 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return s.requires_grad_(), t


def softmax(values, temperature):
    powers = [math.exp(v / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def looped(student, teacher, temperature):
    """From the formula, pixel by pixel."""
    values = []
    for s, t in zip(
        student.movedim(1, -1).flatten(0, 2).tolist(),
        teacher.movedim(1, -1).flatten(0, 2).tolist(),
        strict=True,
    ):
        ours, theirs = softmax(s, temperature), softmax(t, temperature)
        values.append(sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True)))
    return temperature**2 * sum(values) / len(values)


def test_value_by_hand():
    # teacher (3/4, 1/4), student (1/2, 1/2) at one pixel; equal ones at the other
    teacher = torch.tensor([[[[math.log(3), 5.0]], [[0.0, 5.0]]]])
    value = softened_kl(torch.zeros(1, 2, 1, 2), teacher, dim=1, temperature=1.0)
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert value.item() == pytest.approx(by_hand / 2, rel=1e-6)
    # twice the scores at twice the temperature are the same distributions
    hot = softened_kl(torch.zeros(1, 2, 1, 2), 2 * teacher, dim=1, temperature=2.0)
    assert hot.item() == pytest.approx(4 * by_hand / 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_equals_the_formula_in_loops(temperature):
    student, teacher = scores(2, 4, 3, 5)
    value = LogitsKL(2.0, temperature=temperature)(student, teacher)
    assert value.item() == pytest.approx(2 * looped(student, teacher, temperature))


def test_the_gradient_is_the_difference_of_the_distributions():
    student, teacher = scores(2, 4, 3, 5)
    (gradient,) = torch.autograd.grad(LogitsKL(temperature=3.0)(student, teacher), student)
    ours, theirs = ((x.detach() / 3).softmax(1) for x in (student, teacher))
    torch.testing.assert_close(gradient, 3 * (ours - theirs) / 30)


@pytest.mark.parametrize("size", [(3, 5), (1, 1)])
def test_gradcheck(size):
    student, teacher = scores(2, 3, *size)
    assert torch.autograd.gradcheck(lambda s: LogitsKL(temperature=2.0)(s, teacher), student)


def test_what_all_classes_of_a_pixel_have_in_common_does_not_count():
    student, teacher = scores(2, 4, 3, 5)
    offset = 10 * torch.randn(2, 1, 3, 5, dtype=torch.float64)
    loss = LogitsKL()
    torch.testing.assert_close(loss(student + offset, teacher - offset), loss(student, teacher))
    assert loss(teacher + offset, teacher).item() == pytest.approx(0, abs=1e-12)


def test_scores_far_apart_are_finite():
    student = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1).requires_grad_()
    value = LogitsKL()(student, -student)
    value.backward()
    assert value.item() == pytest.approx(2e4)
    assert student.grad.flatten().tolist() == pytest.approx([1, -1])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"temperature": math.nan}, "temperature must be a finite number"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        LogitsKL(**options)


def test_other_classes_are_refused():
    with pytest.raises(ConfigError, match="agree in C.*class scores need the same classes"):
        LogitsKL()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.kl")).failed == 0
