"""Cost of a training step: in flows a run config, out flow parameters, GFLOPs, time and memory.

The parts are the student alone (its losses, forward and backward), the teacher up to its last tap,
and the whole distillation step (forward and backward). The optimizer's update is in none of them.
They are measured in turns within one process, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope

from fourierkd.commands.batches import Batch, make_batch
from fourierkd.config.load import RunConfig, load_config, require_distiller
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.register import register_all
from fourierkd.distill.registry import MODELS, SCOPE
from fourierkd.distill.teacher import RANDOM
from fourierkd.engine.cost import FLOPS, Part, measure_parts
from fourierkd.engine.environment import environment, find_device
from fourierkd.engine.run import parameter_counts
from fourierkd.errors import ConfigError

STUDENT, TEACHER, STEP = "student alone", "teacher to its last tap", "distillation step"


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
