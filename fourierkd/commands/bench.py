"""Cost of a training step: in flows a run config, out flow parameters, GFLOPs, time and memory.

The parts are the student alone (its losses, forward and backward), the teacher up to its last tap,
and the whole distillation step (forward and backward). The optimizer's update is in none of them.
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
from mmengine.registry import DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from fourierkd.commands.batches import Batch, make_batch
from fourierkd.config.load import RunConfig, load_config, require_distiller
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.register import register_all
from fourierkd.distill.registry import MODELS, SCOPE
from fourierkd.distill.teacher import RANDOM
from fourierkd.engine.environment import environment, find_device
from fourierkd.engine.run import parameter_counts
from fourierkd.errors import ConfigError

STUDENT, TEACHER, STEP = "student alone", "teacher to its last tap", "distillation step"
FLOPS = (
    "matrix products and convolutions, 2 per multiply-add; no FFT, elementwise operation or "
    "compiled operator of mmcv"
)
Part = Callable[[], None]


def bench(
    config: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    iters: int = 10,
    warmup: int = 2,
    device: str | None = None,
    shape: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Measure a run config; weights are random, which changes no cost.

    Args:
        options: dotted options of the config.
        iters: steps measured of each part, after ``warmup`` of them.
        device: "cpu", "cuda" or "cuda:1"; None: CUDA where there is one.
        shape: (H, W) of random images; with it or ``batch_size`` the config's data is not asked.
        batch_size: of random images; None: the config's.

    Returns:
        ``environment``, ``batch`` (what was measured on), ``iters``, ``parameters`` (student,
        teacher, losses), ``flops_count`` (what counts), ``parts`` (name -> ``gflop``,
        ``seconds_median``, ``seconds_quartiles``, ``peak_mib``: above what lies there before the
        part, None where it cannot be known), and ``ratio`` of the step over the sum of the other
        two (None without a teacher).

    Raises:
        ConfigError: a bad number, device or config; or no batch can be made.
    """
    if iters < 1:
        raise ConfigError("--iters is a whole number from 1 on", value=iters)
    where = find_device(device)
    cfg = load_config(config, options)
    require_distiller(cfg)
    rule, fix = (
        "a step must be possible",
        "give another --shape or --batch-size, or correct the config",
    )
    with DefaultScope.overwrite_default_scope(SCOPE), told_in_one_line(rule, fix=fix):
        model = build_pair(cfg).to(where)
        batch = make_batch(cfg, model, shape=shape, batch_size=batch_size)
        parts = step_parts(model, batch)
        seconds, rows = measure_parts(parts, where, iters=iters, warmup=warmup)
    return {
        "environment": environment(),
        "device": str(where),
        "batch": batch.description,
        "iters": iters,
        "parameters": parameter_counts(model),
        "flops_count": FLOPS,
        "parts": rows,
        "ratio": ratio(seconds) if TEACHER in seconds else None,
    }


def build_pair(cfg: RunConfig) -> Distiller:
    """The model of a config in training mode, its teacher with random weights.

    Raises:
        ConfigError: a part of it cannot be built.
    """
    if cfg.model.get("teacher") is not None:
        cfg.model.teacher.update(checkpoint=RANDOM)
    register_all()
    with DefaultScope.overwrite_default_scope(SCOPE):
        model: Distiller = MODELS.build(cfg.model).train()
    return model


def step_parts(model: Distiller, batch: Batch) -> dict[str, Part]:
    """What is measured; a student alone has only the first part."""

    def backward(losses: dict[str, Any]) -> None:
        total, _ = model.parse_losses(losses)
        total.backward()

    def student() -> None:
        model.zero_grad(set_to_none=True)
        backward(model.student(batch.inputs, batch.data_samples, mode="loss"))

    def teacher() -> None:
        assert model.teacher is not None
        model.teacher(batch.inputs, batch.data_samples)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        backward(model(batch.inputs, batch.data_samples, mode="loss"))

    if model.teacher is None:
        return {STUDENT: student}
    return {STUDENT: student, TEACHER: teacher, STEP: step}


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


def ratio(seconds: Mapping[str, list[float]]) -> float:
    """Step over the sum of its unavoidable parts, the median over rounds."""
    return median_ratio(seconds[STEP], seconds[STUDENT], seconds[TEACHER])


def median_ratio(above: list[float], *below: list[float]) -> float:
    """Median over rounds of ``above`` over the sum of ``below``.

    Within a round the parts follow each other, so a clock that changes over the run cancels out.
    """
    rounds = zip(above, zip(*below, strict=True), strict=True)
    result: float = statistics.median(part / sum(others) for part, others in rounds)
    return result


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


def _status_mib(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"no {key}")
    return int(found[1]) / 1024


def print_table(result: Mapping[str, Any]) -> None:
    """The result on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['device']}, {result['batch']}", title_justify="left")
    for head in ("part", "GFLOP", "median ms", "quartiles", "peak MiB"):
        table.add_column(head, justify="left" if head == "part" else "right")
    for name, row in result["parts"].items():
        low, high = row["seconds_quartiles"]
        memory = "unknown" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}"
        table.add_row(
            name,
            f"{row['gflop']:,.1f}",
            f"{1000 * row['seconds_median']:,.1f}",
            f"{1000 * low:,.1f} to {1000 * high:,.1f}",
            memory,
        )
    console = Console()
    console.print(table)
    counts = ", ".join(f"{name} {n:,}" for name, n in result["parameters"].items())
    console.print(f"parameters: {counts}", highlight=False)
    if result["ratio"] is not None:
        console.print(f"step over student plus teacher: {result['ratio']:.3f}", highlight=False)
    console.print(f"GFLOP: {result['flops_count']}", highlight=False)
