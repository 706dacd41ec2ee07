"""What the switches of a training cost and give: in flows a size, out flow times and memory.

Variants of one distillation step (PSPNet teacher, PSPNet-R18 student, Fourier loss at the last
stage, forward and backward; random images and weights), each in a process of its own:

- ``plain``;
- ``compile``: the teacher by ``torch.compile``; the time to compile apart;
- ``recompute``: ``activation_checkpointing`` of the student's four stages;
- ``bf16``: autocast to bfloat16 (and ``fp16`` on CUDA).

Time is the median of ``--repeats`` steps after a first one. Variants alternate in ``--rounds``, so
that a busy machine slows all. Memory is the peak during a step minus what was held before it:
allocated bytes on CUDA; on the CPU resident bytes (``VmHWM``, reset before; Linux only), in one
more process, in which glibc gives back at once what is freed, which takes time.

    python benchmarks/bench_switches.py [--depth 101] [--size 256] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

NORM = {"type": "BN", "requires_grad": True}
STAGES = [f"backbone.layer{i}" for i in range(1, 5)]


def pspnet(depth: int, size: int) -> dict[str, Any]:
    """The published architecture, for 19 classes; nothing is downloaded."""
    channels = 512 if depth < 50 else 2048
    return {
        "type": "mmseg.EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "size": (size, size)},
        "backbone": {
            "type": "ResNetV1c",
            "depth": depth,
            "strides": (1, 2, 1, 1),
            "dilations": (1, 1, 2, 4),
            "contract_dilation": True,
            "norm_cfg": NORM,
        },
        "decode_head": {
            "type": "PSPHead",
            "in_channels": channels,
            "in_index": 3,
            "channels": channels // 4,
            "num_classes": 19,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def measure(variant: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the first step and of the others, and peak extra bytes of one step."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    from fourierkd.distill.distiller import Distiller
    from fourierkd.distill.register import register_all
    from fourierkd.engine.recompute import recompute_activations

    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    register_all(("mmseg",))
    torch.manual_seed(0)
    tap = "backbone.layer4"
    model = Distiller(
        pspnet(18, args.size),
        {
            "model": pspnet(args.depth, args.size),
            "checkpoint": "random",
            "compile": variant == "compile",
        },
        {"fourier": {"student_tap": tap, "teacher_tap": tap, "loss": {"type": "FourierLoss"}}},
    ).to(device)
    if variant == "recompute":
        recompute_activations(model, STAGES)
    model.train()
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    samples = []
    for _ in range(args.batch):
        sample = SegDataSample(metainfo={"img_shape": (args.size, args.size)})
        labels = torch.randint(0, 19, (1, args.size, args.size), device=device)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(variant)

    def step() -> float:
        wait()
        start = time.perf_counter()
        with torch.autocast(device, dtype=dtype) if dtype else nullcontext():
            losses = model(images, samples, mode="loss")
        model.parse_losses(losses)[0].backward()
        wait()
        seconds = time.perf_counter() - start
        model.zero_grad(set_to_none=True)
        return seconds

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    first = step()
    repeats = 0 if args.memory else args.repeats
    seconds = [step() for _ in range(repeats)]
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        extra = torch.cuda.max_memory_allocated() - before
    else:
        Path("/proc/self/clear_refs").write_text("5")
        before = status_bytes("VmRSS")
        step()
        extra = status_bytes("VmHWM") - before
    return {"first": first, "seconds": seconds, "extra_bytes": extra, "device": device}


def status_bytes(key: str) -> int:
    """A line of ``/proc/self/status``."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found.group(1)) * 1024


def fresh_process(variant: str, arguments: list[str], *, memory: bool = False) -> dict[str, Any]:
    """``measure`` in a new process."""
    environment = {
        **os.environ,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    if memory:
        environment.update(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536")
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--variant", variant, *arguments),
            *(["--memory"] if memory else []),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=101, help="of the teacher's ResNet")
    parser.add_argument("--size", type=int, default=256, help="pixels, height and width")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="leave a CUDA device alone")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--variants", nargs="+", default=["plain", "compile", "recompute", "bf16"])
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        print(json.dumps(measure(args.variant, args)))
        return
    if torch.cuda.is_available() and not args.cpu and "fp16" not in args.variants:
        args.variants.append("fp16")
    passed = [f"--{k}={getattr(args, k)}" for k in ("depth", "size", "batch", "repeats", "threads")]
    passed += ["--cpu"] if args.cpu else []
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in args.variants}
    for _ in range(args.rounds):
        for variant in args.variants:
            found[variant].append(fresh_process(variant, passed))
    rows = {}
    for variant, runs in found.items():
        rows[variant] = {
            "first_seconds": statistics.median(run["first"] for run in runs),
            "seconds": statistics.median(s for run in runs for s in run["seconds"]),
            "extra_mib": fresh_process(variant, passed, memory=True)["extra_bytes"] / 2**20,
            "device": runs[0]["device"],
        }
    base = next(iter(rows.values()))
    print(f"{'variant':10} {'first s':>8} {'step s':>8} {'ratio':>6} {'peak MiB':>9} {'ratio':>6}")
    for variant, row in rows.items():
        print(
            f"{variant:10} {row['first_seconds']:8.2f} {row['seconds']:8.3f} "
            f"{row['seconds'] / base['seconds']:6.2f} {row['extra_mib']:9.0f} "
            f"{row['extra_mib'] / base['extra_mib']:6.2f}"
        )
    if args.json:
        facts = {"torch": torch.__version__, "cpu": platform.processor(), "arguments": vars(args)}
        Path(args.json).write_text(json.dumps({"rows": rows, **facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
