"""Masked generation: by hand, against matrix products of patches, and what is drawn."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.mgd import Generator, MGDLoss, masked_generation


def maps(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return s.requires_grad_(), t


def own_loss(channels=3, **options):
    torch.manual_seed(3)
    return MGDLoss(channels, **options).double()


def convolved(x, conv):
    """A 3x3 convolution as a matrix product of patches."""
    n, c, height, width = x.shape
    patches = F.unfold(x, 3, padding=1)  # (N, 9 C, H W)
    flat = conv.weight.reshape(c, -1) @ patches + conv.bias[:, None]
    return flat.view(n, c, height, width)


def by_patches(loss, student, teacher, draw):
    """From the formula: what is masked, then generated, image by image."""
    masked = torch.where(draw < loss.masked, torch.zeros_like(student), student)
    generated = convolved(convolved(masked, loss.first).clamp_min(0), loss.second)
    errors = [((a - b) ** 2).sum() for a, b in zip(teacher, generated, strict=True)]
    return loss.loss_weight * sum(errors) / len(errors)


def test_value_by_hand():
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 1] = 1.0
    first, second = (kernel, torch.zeros(1)), (2 * kernel, torch.ones(1))
    student = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    # 2 ReLU(s) + 1 is (3, 1)
    value = masked_generation(
        student, torch.zeros_like(student), Generator(first, second), masked=0.0
    )
    assert value.item() == 10.0
    # the second column of W_1 hands on its left neighbour: ReLU(1 + 0), ReLU(-1 + 1)
    kernel = kernel.clone()
    kernel[0, 0, 1, 0] = 1.0
    value = masked_generation(
        student,
        torch.zeros_like(student),
        Generator((kernel, torch.zeros(1)), second),
        masked=0.0,
    )
    assert value.item() == 9.0 + 1.0


@pytest.mark.parametrize("masked", [0.0, 0.65])
@pytest.mark.parametrize("size", [(5, 7), (1, 3)])
def test_equals_the_formula_by_patches(size, masked):
    student, teacher = maps(4, 3, *size)
    loss = own_loss(loss_weight=2.0, masked=masked)
    torch.manual_seed(7)
    value = loss(student, teacher)
    torch.manual_seed(7)
    draw = torch.rand(4, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(value, by_patches(loss, student, teacher, draw))


def test_what_is_masked_gets_no_gradient_and_the_share_is_lambda():
    student, teacher = maps(2, 3, 40, 41)
    loss = own_loss(masked=0.7)
    torch.manual_seed(7)
    (gradient,) = torch.autograd.grad(loss(student, teacher), student)
    torch.manual_seed(7)
    masked = torch.rand(2, 1, 40, 41, dtype=torch.float64) < 0.7
    assert (gradient.masked_select(masked) == 0).all()
    seen = (gradient != 0).any(1, keepdim=True)
    assert (seen == ~masked).all()
    # 3280 draws: three standard deviations are 0.024
    assert masked.double().mean().item() == pytest.approx(0.7, abs=0.024)


def test_every_call_draws_anew_from_the_default_generator_and_none_without_a_mask():
    student, teacher = maps(2, 3, 6, 7)
    loss = own_loss(masked=0.5)
    assert loss(student, teacher) != loss(student, teacher)
    state = torch.get_rng_state()
    first = loss(student, teacher)
    torch.set_rng_state(state)
    assert torch.equal(loss(student, teacher), first)
    whole = own_loss(masked=0.0)
    state = torch.get_rng_state()
    assert torch.equal(whole(student, teacher), whole(student, teacher))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [(3, 5), (1, 2)])
def test_gradcheck_of_map_and_parameters(size):
    student, teacher = maps(2, 2, *size)
    loss = own_loss(2, masked=0.4)
    names = [name for name, _ in loss.named_parameters()]

    def value(s, *parameters):
        torch.manual_seed(5)
        arguments = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(loss, arguments, (s, teacher))

    assert torch.autograd.gradcheck(value, (student, *loss.parameters()))


def test_a_sum_over_a_map_and_a_mean_over_images():
    student, teacher = maps(2, 3, 4, 5)
    loss = own_loss(masked=0.0)
    twice = [torch.cat((x, x)) for x in (student, teacher)]
    torch.testing.assert_close(loss(*twice), loss(student, teacher))
    single = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(student, teacher), sum(single) / 2)


def test_the_generator_belongs_to_the_loss():
    loss = MGDLoss(256)
    assert sum(p.numel() for p in loss.parameters()) == 2 * (9 * 256 * 256 + 256) == 1_180_160
    assert {name.partition(".")[0] for name in loss.state_dict()} == {"first", "second"}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"in_channels": 0}, "in_channels must be an integer >= 1"),
        ({"masked": -0.1}, "masked must be a finite number >= 0"),
        ({"masked": 1.0}, "masked must be below 1, a share of the pixels, got 1.0"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        MGDLoss(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="maps must have in_channels=4 channels, got 3"):
        MGDLoss(4)(torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3))
    with pytest.raises(ConfigError, match="agree in C"):
        MGDLoss(4)(torch.zeros(1, 3, 3, 3), torch.zeros(1, 4, 3, 3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.mgd")).failed == 0
