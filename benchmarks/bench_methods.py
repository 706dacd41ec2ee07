"""Cost of every method: in flow the small pairs, out flow steps over that of the student alone.

Two tables, each of one process and with everything in turns, so that a busy machine slows all
alike; CPU seconds of one thread, ratios the median over rounds:

- a step (forward and backward, no optimizer) of each method of ``configs/methods`` on the pairs of
  ``configs/shapes`` at 64x64, over a step of the student alone, and over student and teacher
  together (the teacher to its last tap, which is its head where heads are compared). ``ld`` needs
  distributions, so it has the pair with GFL heads. Beside them the peak memory of a step above the
  student's, and the parameters that the method adds to the training;
- each loss with a backward pass of its own over its formula as plain autograd.

    python benchmarks/bench_methods.py [--rounds 7] [--batch 12]
    pytest -s benchmarks/bench_methods.py     # the second table, with its bar
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; as the CLI does

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fourierkd.commands.batches import Batch, make_batch
from fourierkd.commands.bench import (
    STEP,
    STUDENT,
    TEACHER,
    build_pair,
    median_ratio,
    step_parts,
)
from fourierkd.config.load import load_config
from fourierkd.distill.distiller import Distiller
from fourierkd.engine.cost import Part, peak_mib
from fourierkd.engine.run import parameter_counts
from fourierkd.errors import ConfigError
from fourierkd.losses.binary_kd import binary_distillation
from fourierkd.losses.fourier import FourierLoss, cosine_distance
from fourierkd.losses.iou_aware import varifocal_loss
from fourierkd.methods import STUDENT_ALONE, method_names
from fourierkd.spectral.half import half_spectrum, hermitian_weights
from fourierkd.spectral.sphere import riemann_sphere

sys.path.insert(0, str(Path(__file__).parent))
import bench_spectral_l2

SHAPES = Path(__file__).resolve().parent.parent / "configs/shapes"
CPU = torch.device("cpu")
SIZE = (64, 64)
# name -> config of configs/shapes, and the methods that are measured on it; None: all it can take
PAIRS: dict[str, tuple[str, list[str] | None]] = {
    "PSPNet R34 -> R18": ("pspnet_fourier.py", None),
    "RetinaNet R34 -> R18": ("retinanet_fourier.py", None),
    "GFL R34 -> R18": ("gfl_fourier.py", ["iou", "binary_kd", "ld", "ld+binary_kd"]),
}
LEVEL = (2, 256, 50, 84)  # of an FPN
SAMPLES, CLASSES, POSITIVES = 28800, 80, 200  # of two images of 320 x 320
BAR = 1.0  # no loss takes longer than its formula as plain autograd


def build(config: str, method: str, batch: int) -> tuple[Distiller, Batch]:
    """A pair under a method with random weights, and a batch of random pixels and labels."""
    cfg = load_config(SHAPES / config, {"method": method})
    torch.manual_seed(0)
    model = build_pair(cfg)
    return model, make_batch(cfg, model, shape=SIZE, batch_size=batch)


def rows_of_a_pair(pair: str, *, rounds: int, batch: int) -> dict[str, dict[str, Any]]:
    """Method -> its row; the student alone under its own name."""
    config, methods = PAIRS[pair]
    parts: dict[str, Part] = {}
    added = {}
    for method in methods or [name for name in method_names() if name != STUDENT_ALONE]:
        try:
            model, data = build(config, method, batch)
        except ConfigError as error:
            print(f"without {method}: {error}", file=sys.stderr)
            continue
        own = step_parts(model, data)
        parts.setdefault(STUDENT, own[STUDENT])
        parts[f"{method}, teacher"], parts[method] = own[TEACHER], own[STEP]
        added[method] = parameter_counts(model)["losses"]
    seconds = in_turns(parts, rounds)
    student_mib = peak_mib(parts[STUDENT], CPU)
    rows: dict[str, dict[str, Any]] = {
        STUDENT: {"ms": 1e3 * statistics.median(seconds[STUDENT]), "mib": student_mib}
    }
    for method, parameters in added.items():
        mib = peak_mib(parts[method], CPU)
        rows[method] = {
            "ms": 1e3 * statistics.median(seconds[method]),
            "ratio": median_ratio(seconds[method], seconds[STUDENT]),
            "own": median_ratio(seconds[method], seconds[STUDENT], seconds[f"{method}, teacher"]),
            "mib": None if mib is None or student_mib is None else mib - student_mib,
            "parameters": parameters,
        }
    return rows


def in_turns(parts: Mapping[str, Part], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every part in every round, after one of all to warm up."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for iteration in range(rounds + 1):
        for name, part in parts.items():
            start = time.process_time()
            part()
            if iteration:
                seconds[name].append(time.process_time() - start)
    return seconds


def plain_fourier(loss: FourierLoss, student: Tensor, teacher: Tensor) -> Tensor:
    """Without noise, as plain autograd on the half spectrum."""
    assert loss.predictor is not None
    assert loss.atfm is not None
    columns = hermitian_weights(student.shape[-1])
    ours, theirs = half_spectrum(loss.predictor(student)), half_spectrum(teacher)
    a = loss.atfm.mix_logit.sigmoid()[:, None, None]
    fused = a * loss.atfm.student_conv(ours.abs()) + (1 - a) * loss.atfm.teacher_conv(theirs.abs())
    mixed = fused * torch.sgn(ours)

    def coordinates(x: Tensor) -> Iterator[Tensor]:
        for axis, part in enumerate(riemann_sphere(x.real, x.imag, radius=1.0)):
            values = student.numel() // student.shape[1]
            mean = (part * columns).sum((0, 2, 3), keepdim=True) / values if axis != 1 else 0.0
            centred = part - mean
            variance = (centred.square() * columns).sum((0, 2, 3), keepdim=True) / values
            yield centred * (variance + 1e-5).rsqrt()

    weight = cosine_distance(student, teacher)[:, :, None, None] * columns
    pairs = zip(coordinates(mixed), coordinates(theirs), strict=True)
    error = torch.stack([((x - y).square() * weight).sum() for x, y in pairs]).sum()
    return error / (2 * student.numel())


def plain_binary(logits: Tensor, teacher_logits: Tensor, weights: Tensor) -> Tensor:
    target = teacher_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((logits.sigmoid() - target).abs() * entropy * weights[:, None]).sum()


def plain_varifocal(logits: Tensor, positives: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """With a dense target."""
    dense = torch.zeros_like(logits).index_copy(0, positives, target)
    factor = torch.where(dense > 0, dense, 0.75 * logits.sigmoid().pow(2))
    entropy = F.binary_cross_entropy_with_logits(logits, dense, reduction="none")
    return (factor * entropy * weights[:, None]).sum()


def backward_pairs() -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor], Tensor]]:
    """Loss -> ours, its formula as plain autograd, and what both have their gradient at."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(LEVEL, generator=generator) for _ in range(2))
    student.requires_grad_()
    fourier = FourierLoss(LEVEL[1], noise=False)
    known = bench_spectral_l2.losses(LEVEL[1])

    def of_maps(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: loss(student, teacher)

    pairs = {
        name: (of_maps(known[name]), of_maps(known[f"{name}, plain"]), student)
        for name in bench_spectral_l2.PLAIN
    }
    pairs["FourierLoss, no noise"] = (
        of_maps(fourier),
        of_maps(lambda s, t: plain_fourier(fourier, s, t)),
        student,
    )
    logits, others = (torch.randn(SAMPLES, CLASSES, generator=generator) for _ in range(2))
    logits.requires_grad_()
    weights = torch.ones(SAMPLES)
    positives = torch.randperm(SAMPLES, generator=generator)[:POSITIVES]
    target = torch.rand(POSITIVES, CLASSES, generator=generator)
    pairs["BinaryKDLoss"] = (
        lambda: binary_distillation(logits, others, weights),
        lambda: plain_binary(logits, others, weights),
        logits,
    )
    pairs["IoUAwareLoss"] = (
        lambda: varifocal_loss(logits, positives, target, weights),
        lambda: plain_varifocal(logits, positives, target, weights),
        logits,
    )
    return pairs


def measure_backwards(rounds: int) -> dict[str, dict[str, float]]:
    """Loss -> milliseconds of ours and plain, forward and backward, and the ratio over rounds."""
    parts: dict[str, Part] = {}
    values: dict[str, float] = {}

    def part(name: str, loss: Callable[[], Tensor], at: Tensor) -> Part:
        def run() -> None:
            at.grad = None
            value = loss()
            value.backward()
            values[name] = value.item()

        return run

    pairs = backward_pairs()
    for name, (ours, plain, at) in pairs.items():
        parts[name] = part(name, ours, at)
        parts[f"{name}, plain"] = part(f"{name}, plain", plain, at)
    seconds = in_turns(parts, rounds)
    for name in pairs:
        assert values[name] == pytest.approx(values[f"{name}, plain"], rel=1e-4), name
    return {
        name: {
            "ours": 1e3 * statistics.median(seconds[name]),
            "plain": 1e3 * statistics.median(seconds[f"{name}, plain"]),
            "ratio": median_ratio(seconds[name], seconds[f"{name}, plain"]),
        }
        for name in pairs
    }


def test_no_loss_is_slower_than_its_plain_autograd_form() -> None:
    for name, row in measure_backwards(rounds=5).items():
        print(name, {key: round(value, 2) for key, value in row.items()})
        assert row["ratio"] <= BAR, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=12)
    arguments = parser.parse_args()
    for pair in PAIRS:
        rows = rows_of_a_pair(pair, rounds=arguments.rounds, batch=arguments.batch)
        alone = rows.pop(STUDENT)
        print(f"\n{pair}, student alone {alone['ms']:.0f} ms, {alone['mib'] or 0:.0f} MiB")
        print("| method | over the student | over student and teacher | MiB more | parameters |")
        print("|---|---|---|---|---|")
        for method, row in sorted(rows.items(), key=lambda item: item[1]["ratio"]):
            more = "" if row["mib"] is None else f"{row['mib']:.0f}"
            print(
                f"| {method} | {row['ratio']:.2f} | {row['own']:.2f} | {more} "
                f"| {row['parameters']:,} |"
            )
    print("\n| loss | ours, ms | plain autograd, ms | ratio |")
    print("|---|---|---|---|")
    for name, row in measure_backwards(arguments.rounds).items():
        print(f"| {name} | {row['ours']:.1f} | {row['plain']:.1f} | {row['ratio']:.2f} |")


if __name__ == "__main__":
    main()
