"""FourierLoss against the published order of operations: in flow shapes, out flow time and memory.

The reference does what the published code does, step by step and on the full complex spectrum, as
written here from the formulas: shift of all axes, abs and angle, three nn.Conv2d, e ** (i P), a new
BatchNorm2d per coordinate, torch.mean at the end. Both do forward plus backward in one process, in
turns, so that a busy machine slows both; the ratio is that of the medians. Peak extra memory is
that of a fresh process for each: peak resident bytes (`VmHWM`, reset before; Linux only) minus
those before the step. All processes run with OMP_WAIT_POLICY=PASSIVE unless it is set: on shared
cores threads that spin at every barrier slow both variants, and the one of many short operations
more.

    python benchmarks/bench_fourier_loss.py [--repeats 5] [--threads 2] [--json FILE]
    pytest benchmarks/bench_fourier_loss.py     # the same as tests of the bars
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourierkd.losses.fourier import FourierLoss

# shape -> at least so many times faster; and at most half of the peak extra memory
BARS: dict[tuple[int, ...], float] = {
    (2, 256, 100, 168): 5.0,
    (2, 256, 50, 84): 3.0,
    (2, 2048, 64, 64): 2.0,
}
MEMORY_BAR = 0.5
WAIT_POLICY = "PASSIVE"


class PublishedOrder(nn.Module):
    """The Fourier loss in the published order of operations, on any device, without logging."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.predictor = nn.Conv2d(channels, channels, 1)
        self.student_conv = nn.Conv2d(channels, channels, 1)
        self.teacher_conv = nn.Conv2d(channels, channels, 1)
        self.mix_logit = nn.Parameter(torch.zeros(channels))

    def polar(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.fftshift(torch.fft.fft2(feature, dim=(2, 3), norm="ortho"))
        return spectrum.abs(), spectrum.angle()

    def sphere(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        real, imag = x.real, x.imag
        denominator = (real * real + imag * imag + 1).clamp(min=1e-9)
        return (
            2 * real / denominator,
            2 * imag / denominator,
            (real * real + imag * imag - 1) / denominator,
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        n, c, height, width = student.shape
        tokens = 1 - F.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=2)
        amplitude_s, phase_s = self.polar(self.predictor(student))
        amplitude_t, phase_t = self.polar(teacher)
        side_s, side_t = self.student_conv(amplitude_s), self.teacher_conv(amplitude_t)
        a = self.mix_logit.view(1, c, 1, 1).expand(n, c, height, width).sigmoid()
        fused = (a * side_s + (1 - a) * side_t) * torch.rand(n, c, height, width)
        spectrum_s = fused * math.e ** (1j * phase_s)
        spectrum_t = amplitude_t * math.e ** (1j * phase_t)
        total = torch.zeros(())
        for ours, theirs in zip(self.sphere(spectrum_s), self.sphere(spectrum_t), strict=True):
            ours = nn.BatchNorm2d(c, affine=False)(ours)
            theirs = nn.BatchNorm2d(c, affine=False)(theirs)
            error = F.mse_loss(ours, theirs, reduction="none") * tokens.view(n, c, 1, 1)
            total = total + error.mean() / 2
        return total


VARIANTS: dict[str, Callable[[int], nn.Module]] = {
    "reference": PublishedOrder,
    "fourierkd": FourierLoss,
}


def one_step(loss: nn.Module, student: Tensor, teacher: Tensor) -> float:
    """Seconds of one forward plus backward; the gradients are dropped afterwards."""
    start = time.perf_counter()
    loss(student, teacher).backward()
    seconds = time.perf_counter() - start
    loss.zero_grad(set_to_none=True)
    student.grad = None
    return seconds


def make_inputs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(shape, generator=generator, requires_grad=True)
    return student, torch.randn(shape, generator=generator)


def measure_seconds(shape: tuple[int, ...], repeats: int, threads: int) -> dict[str, list[float]]:
    """Seconds per variant, measured in turns after one warm-up each."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    student, teacher = make_inputs(shape)
    losses = {name: make(shape[1]) for name, make in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for repeat in range(repeats + 1):
        for name, loss in losses.items():
            value = one_step(loss, student, teacher)
            if repeat:
                seconds[name].append(value)
    return seconds


def memory_of_this_process(name: str, shape: tuple[int, ...], threads: int) -> int:
    """Body of the fresh process: a tiny step loads the libraries, then the peak is taken."""
    torch.set_num_threads(threads)
    one_step(VARIANTS[name](4), *make_inputs((2, 4, 8, 8)))
    loss = VARIANTS[name](shape[1])
    student, teacher = make_inputs(shape)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    one_step(loss, student, teacher)
    return _status_bytes("VmHWM") - before


def _status_bytes(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found.group(1)) * 1024


def _fresh_process(threads: int, *arguments: object) -> Any:
    """Run this file in a new process and return the JSON that it prints."""
    command = [sys.executable, __file__, "--threads", str(threads), *map(str, arguments)]
    environ = {"OMP_WAIT_POLICY": WAIT_POLICY, **os.environ}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    return json.loads(done.stdout)


def measure(shape: tuple[int, ...], repeats: int, threads: int) -> dict[str, Any]:
    """One row of the table: medians and spread of the seconds, ratio, and memory of both."""
    seconds = _fresh_process(threads, "--repeats", repeats, "--measure-seconds", *shape)
    memory = {name: _fresh_process(threads, "--measure-memory", name, *shape) for name in VARIANTS}
    row: dict[str, Any] = {"shape": list(shape), "repeats": repeats, "bar": BARS.get(shape)}
    for name, values in seconds.items():
        row[name] = {
            "seconds_median": statistics.median(values),
            "seconds_min": min(values),
            "seconds_max": max(values),
            "peak_extra_mib": memory[name] / 2**20,
        }
    row["times_faster"] = row["reference"]["seconds_median"] / row["fourierkd"]["seconds_median"]
    row["memory_share"] = memory["fourierkd"] / memory["reference"]
    return row


def environment(threads: int) -> dict[str, Any]:
    """What the numbers depend on; no machine names."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": threads,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", WAIT_POLICY),
        "cpu": found.group(1) if found else platform.machine(),
    }


@pytest.mark.parametrize("shape", BARS, ids=str)
def test_bars(shape: tuple[int, ...]) -> None:
    row = measure(shape, repeats=3, threads=2)
    print(json.dumps(row))
    assert row["times_faster"] >= BARS[shape]
    assert row["memory_share"] <= MEMORY_BAR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--measure-seconds", nargs=4, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure-memory", nargs=5, metavar="X", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_seconds:
        shape = tuple(arguments.measure_seconds)
        print(json.dumps(measure_seconds(shape, arguments.repeats, arguments.threads)))
        return
    if arguments.measure_memory:
        name, *sizes = arguments.measure_memory
        print(memory_of_this_process(name, tuple(map(int, sizes)), arguments.threads))
        return
    rows = []
    heads = ("shape", "reference", "fourierkd", "faster", "peak memory", "share")
    print("{:>20} {:>11} {:>11} {:>8} {:>18} {:>6}".format(*heads))
    for shape in BARS:
        row = measure(shape, arguments.repeats, arguments.threads)
        rows.append(row)
        ours, theirs = row["fourierkd"], row["reference"]
        print(
            f"{'x'.join(map(str, shape)):>20} {theirs['seconds_median']:>9.2f} s"
            f" {ours['seconds_median']:>9.3f} s {row['times_faster']:>7.1f}x"
            f" {ours['peak_extra_mib']:>5.0f} /{theirs['peak_extra_mib']:>6.0f} MiB"
            f" {row['memory_share']:>6.2f}",
            flush=True,
        )
    result = {"environment": environment(arguments.threads), "rows": rows}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
