"""What every loss of detection heads does with the samples of its levels."""

from __future__ import annotations

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.samples import HeadLoss, ScoreSamples


class Gap(HeadLoss[ScoreSamples]):
    """The sum of squared differences; ``seen`` holds what it was given."""

    samples = ScoreSamples

    def level(self, level):
        self.seen = level
        return ((level.logits - level.teacher_logits).square() * level.weights[:, None]).sum()


def level(scores, weight=1.0):
    logits = torch.tensor(scores).view(-1, 1)
    return ScoreSamples(logits, torch.zeros_like(logits), torch.full((len(logits),), weight))


def test_the_sum_over_levels_has_one_weight_and_one_divisor():
    levels = [level([1.0, 2.0]), level([3.0], weight=0.5), level([])]
    assert Gap(4.0)(levels, 2).item() == 4 * (5 + 4.5) / 2
    assert Gap(4.0)(levels, torch.tensor(8.0)).item() == 4 * (5 + 4.5) / 8


def test_half_precision_is_lifted_and_double_stays():
    loss, half = Gap(1.0), ScoreSamples(*(x.half() for x in level([300.0])))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss([half], 1).item() == 90_000  # beyond half precision
    assert isinstance(loss.seen, ScoreSamples)
    assert {x.dtype for x in loss.seen} == {torch.float32}
    mixed = level([1.0])._replace(logits=torch.ones(1, 1, dtype=torch.float64))
    loss([mixed], 1)
    assert {x.dtype for x in loss.seen} == {torch.float64}


def test_no_levels_and_a_bad_weight():
    with pytest.raises(ConfigError, match="a loss of heads needs at least one level, got 0"):
        Gap(1.0)([], 1)
    with pytest.raises(ConfigError, match="loss_weight must be"):
        Gap(-1.0)
