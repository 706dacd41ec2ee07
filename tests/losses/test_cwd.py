"""Channel-wise distillation: by hand, against loops, and what of a channel does not count."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.base import LOGITS, MAPS
from fourierkd.losses.cwd import CWDLogits, CWDLoss, channelwise_kl


def maps(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (3 * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return s.requires_grad_(), t


def softmax(values, temperature):
    powers = [math.exp(v / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def looped(student, teacher, temperature):
    """From the formula, channel by channel: T^2 / C times the sum, the mean over images."""
    images, channels = student.shape[:2]
    total = 0.0
    for i in range(images):
        for c in range(channels):
            ours = softmax(student[i, c].flatten().tolist(), temperature)
            theirs = softmax(teacher[i, c].flatten().tolist(), temperature)
            total += sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True))
    return temperature**2 / channels * total / images


def test_value_by_hand():
    # over the pixels of the first channel (3/4, 1/4) against (1/2, 1/2), the second one is equal
    teacher = torch.tensor([[[[math.log(3), 0.0]], [[5.0, 5.0]]]])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value = channelwise_kl(torch.zeros(1, 2, 1, 2), teacher, temperature=1.0)
    assert value.item() == pytest.approx(by_hand / 2, rel=1e-6)
    hot = channelwise_kl(torch.zeros(1, 2, 1, 2), 4 * teacher)  # 4 by default
    assert hot.item() == pytest.approx(16 * by_hand / 2, rel=1e-6)


@pytest.mark.parametrize("kind", [CWDLoss, CWDLogits])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_equals_the_formula_in_loops(kind, temperature):
    student, teacher = maps(2, 4, 3, 5)
    value = kind(2.0, temperature=temperature)(student, teacher)
    assert value.item() == pytest.approx(2 * looped(student, teacher, temperature))


@pytest.mark.parametrize("size", [(3, 5), (1, 4)])
def test_gradcheck(size):
    student, teacher = maps(2, 3, *size)
    assert torch.autograd.gradcheck(lambda s: channelwise_kl(s, teacher), student)


def test_the_mean_of_a_channel_does_not_count():
    student, teacher = maps(2, 4, 3, 5)
    offset = 10 * torch.randn(2, 4, 1, 1, dtype=torch.float64)
    value = channelwise_kl(student + offset, teacher - offset)
    torch.testing.assert_close(value, channelwise_kl(student, teacher))
    assert channelwise_kl(teacher + offset, teacher).item() == pytest.approx(0, abs=1e-12)


def test_it_is_a_shift_of_both_maps_that_does_not_count_either():
    student, teacher = maps(2, 4, 3, 5)
    shifted = [x.roll((1, 2), (2, 3)) for x in (student, teacher)]
    torch.testing.assert_close(channelwise_kl(*shifted), channelwise_kl(student, teacher))
    assert channelwise_kl(shifted[0], teacher) != channelwise_kl(student, teacher)


def test_one_pixel_says_nothing_and_strong_ones_are_finite():
    one = torch.randn(2, 3, 1, 1, requires_grad=True)
    value = channelwise_kl(one, torch.randn(2, 3, 1, 1))
    value.backward()
    assert value == 0
    assert one.grad.count_nonzero() == 0
    strong = torch.tensor([[[[1e6, -1e6]]]], requires_grad=True)
    value = channelwise_kl(strong, -strong.detach())
    value.backward()
    assert value.isfinite()
    assert strong.grad.isfinite().all()


def test_scores_take_no_connector_and_maps_do():
    assert (CWDLoss().compares, CWDLogits().compares) == (MAPS, LOGITS)
    assert not CWDLoss().state_dict()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"temperature": "4"}, "temperature must be a finite number"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        CWDLoss(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="agree in C"):
        CWDLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.cwd")).failed == 0
