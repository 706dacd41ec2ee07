"""DIST: by hand, against Python's own correlation, and what of probabilities does not count."""

from __future__ import annotations

import doctest
import importlib
import math
import statistics

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.dist import DISTLoss, _correlation, class_relations


def scores(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (2 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return s.requires_grad_(), t


def pixels(logits, temperature):
    """Class probabilities of every pixel of the batch."""
    rows = []
    for values in logits.movedim(1, -1).flatten(0, 2).tolist():
        powers = [math.exp(v / temperature) for v in values]
        rows.append([p / sum(powers) for p in powers])
    return rows


def listed(student, teacher, temperature=1.0, inter=1.0, intra=1.0):
    """The paper's two losses of two matrices, pixels x classes, row by row and column by column."""
    ours, theirs = pixels(student, temperature), pixels(teacher, temperature)

    def distance(rows, others):
        values = [1 - statistics.correlation(a, b) for a, b in zip(rows, others, strict=True)]
        return sum(values) / len(values)

    columns = [list(zip(*rows, strict=True)) for rows in (ours, theirs)]
    return inter * distance(ours, theirs) + intra * distance(*columns)


def test_value_by_hand():
    # two classes: the probabilities of a pixel are (p, 1 - p), so rho over classes is 1 or -1
    student = torch.tensor([[[[0.0, 1.0, 2.0]], [[1.0, 0.0, 0.0]]]], dtype=torch.float64)
    flipped = student.flip(1)
    assert class_relations(student, flipped, intra=0.0).item() == pytest.approx(2)
    assert class_relations(student, flipped, inter=0.0).item() == pytest.approx(2)
    assert class_relations(student, student, inter=0.5).item() == pytest.approx(0, abs=1e-9)
    # (0.6, 0.3, 0.1) and (0.2, 0.5, 0.3): products of the deviations -1 / 30 in sum
    s, t = (
        torch.tensor(p, dtype=torch.float64).log().view(1, 3, 1, 1)
        for p in ([0.6, 0.3, 0.1], [0.2, 0.5, 0.3])
    )
    by_hand = 1 + 1 / 30 / math.sqrt((0.46 - 1 / 3) * (0.38 - 1 / 3))
    assert class_relations(s, t, intra=0.0).item() == pytest.approx(by_hand)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 3.0}, {"inter": 0.0}, {"inter": 2.0, "intra": 0.5}]
)
def test_equals_the_two_losses_of_matrices(options):
    student, teacher = scores(2, 4, 3, 5)
    value = DISTLoss(2.0, **options)(student, teacher)
    assert value.item() == pytest.approx(2 * listed(student, teacher, **options))


@pytest.mark.parametrize("size", [(3, 5), (1, 2)])
def test_gradcheck(size):
    student, teacher = scores(2, 3, *size)
    loss = DISTLoss(temperature=2.0, intra=0.5)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


def test_correlation_ignores_scale_and_offset_of_every_row():
    a, b = scores(2, 4, 3, 5)
    for dims, shape in (((1,), (2, 1, 3, 5)), ((0, 2, 3), (1, 4, 1, 1))):
        scale, offset = (torch.rand(shape, dtype=torch.float64) + 0.5 for _ in range(2))
        rho = _correlation(a, b, dims)
        torch.testing.assert_close(_correlation(scale * a + offset, b, dims), rho)
        torch.testing.assert_close(_correlation(a, -scale * b, dims), -rho)


def test_what_all_classes_of_a_pixel_have_in_common_does_not_count():
    student, teacher = scores(2, 4, 3, 5)
    offset = 10 * torch.randn(2, 1, 3, 5, dtype=torch.float64)
    value = class_relations(student + offset, teacher - offset)
    torch.testing.assert_close(value, class_relations(student, teacher))


def test_probabilities_that_do_not_vary_are_correlated_with_nothing():
    student, teacher = scores(2, 4, 3, 5, dtype=torch.float32)
    sure = torch.zeros_like(student)
    sure[:, 1] = 1e4  # one class everywhere: probabilities of 0 and 1
    for flat in (torch.zeros_like(student), sure):
        flat.requires_grad_()
        value = class_relations(flat, teacher, inter=0.0)
        value.backward()
        assert value.item() == pytest.approx(1, abs=1e-3)
        assert flat.grad.isfinite().all()
    assert class_relations(sure.detach(), sure.detach()).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"inter": -1}, "inter must be a finite number >= 0"),
        ({"inter": 0, "intra": 0.0}, r"inter or intra must be above 0, got \(0, 0.0\)"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        DISTLoss(**options)


def test_other_classes_are_refused():
    with pytest.raises(ConfigError, match="agree in C.*class scores need the same classes"):
        DISTLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.dist")).failed == 0
