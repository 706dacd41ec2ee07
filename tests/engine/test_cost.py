"""What is counted and measured of a piece of work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fourierkd.engine.cost import flops, peak_mib, peak_of_process, time_in_turns

CPU = torch.device("cpu")


def test_flops_are_counted_by_hand():
    convolution = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    image = torch.randn(2, 3, 8, 8, requires_grad=True)
    forward = 2 * 2 * 64 * 5 * 27
    assert flops(lambda: convolution(image)) == forward
    assert flops(lambda: convolution(image).sum().backward()) == 3 * forward
    product = torch.zeros(4, 6)
    assert flops(lambda: product.addmm_(torch.ones(4, 7), torch.ones(7, 6))) == 2 * 4 * 7 * 6


def test_peak_memory_is_that_of_the_call():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("resident sizes are read from Linux's /proc")
    mib = peak_mib(lambda: torch.ones(8 * 2**20), CPU)
    assert mib is not None
    assert 30 < mib < 60  # 32 MiB


def test_parts_are_measured_in_turns():
    order = []
    parts = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = time_in_turns(parts, CPU, iters=3, warmup=1)
    assert order == list("abababab")
    assert [len(values) for values in seconds.values()] == [3, 3]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_peak_of_a_process_stays_when_memory_is_given_back() -> None:
    before = peak_of_process(CPU)
    torch.ones(64 * 2**20)  # 256 MiB, freed at once
    after = peak_of_process(CPU)
    assert before is not None
    assert after is not None
    assert after >= max(before, 256)
