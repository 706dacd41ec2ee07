"""What a piece of work costs: in flow functions, out flow operations, seconds and peak memory.

They are measured in turns within one process, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

FLOPS = (
    "matrix products and convolutions, 2 per multiply-add; no FFT, elementwise operation or "
    "compiled operator of mmcv"
)
Part = Callable[[], None]


def measure_parts(
    parts: Mapping[str, Part], device: torch.device, *, iters: int, warmup: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Seconds of every part in every round, and a row a part: operations, seconds, peak memory."""
    seconds = time_in_turns(parts, device, iters=iters, warmup=warmup)
    rows = {
        name: {
            "gflop": flops(part) / 1e9,
            **spread(seconds[name]),
            "peak_mib": peak_mib(part, device),
        }
        for name, part in parts.items()
    }
    return seconds, rows


def time_in_turns(
    parts: Mapping[str, Part], device: torch.device, *, iters: int, warmup: int
) -> dict[str, list[float]]:
    """Seconds of every part in every round; on CUDA by events."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    gc.collect()
    gc.disable()  # a collection would fall into one part's time
    try:
        for iteration in range(warmup + iters):
            for name, part in parts.items():
                value = _cuda_seconds(part) if device.type == "cuda" else _cpu_seconds(part)
                if iteration >= warmup:
                    seconds[name].append(value)
    finally:
        gc.enable()
    return seconds


def _cpu_seconds(part: Part) -> float:
    start = time.perf_counter()
    part()
    return time.perf_counter() - start


def _cuda_seconds(part: Part) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    part()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def spread(values: list[float]) -> dict[str, Any]:
    """Median and quartiles of seconds."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {
        "seconds_median": statistics.median(values),
        "seconds_quartiles": [quartiles[0], quartiles[2]],
    }


def flops(part: Part) -> int:
    """Floating-point operations of one call, backward pass included (``FLOPS`` says which)."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.addmm_: _flops_of_addmm_}
    )
    with counter:
        part()
    return int(counter.get_total_flops())


def _flops_of_addmm_(_: Any, a: tuple[int, int], b: tuple[int, int], **__: Any) -> int:
    """Shapes (M, K), (K, N) of the product in place, which torch's table does not have."""
    return 2 * a[0] * a[1] * b[1]


def peak_mib(part: Part, device: torch.device) -> float | None:
    """Peak memory of one call above what lies there before it, gradients included, in MiB.

    On CUDA what the allocator hands out; on Linux the resident size; elsewhere unknown.
    """
    part()  # whatever it allocates once, such as the libraries' scratch space
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        part()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        resident = _status_mib("VmRSS")
        part()
        return _status_mib("VmHWM") - resident
    except (OSError, AttributeError):
        return None


def peak_of_process(device: torch.device) -> float | None:
    """Most memory that this process had so far, in MiB.

    On CUDA what the allocator handed out: weights, optimizer, maps. On Linux the resident size,
    libraries and data included; elsewhere unknown.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        return _status_mib("VmHWM")
    except OSError:
        return None


def _status_mib(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"no {key}")
    return int(found[1]) / 1024
