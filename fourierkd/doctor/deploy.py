"""What comes out and what it costs: in flows the built model, out flow export and cost checks."""

from __future__ import annotations

import importlib
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fourierkd.distill.checkpoint import export_student, load_state_dict, save
from fourierkd.distill.model_config import student_config
from fourierkd.distill.registry import SCOPE
from fourierkd.doctor.report import FAIL, OK, Check, number
from fourierkd.doctor.subject import Subject
from fourierkd.doctor.watch import evaluating, tensors, unchanged
from fourierkd.errors import first_line
from fourierkd.literals import config_text

PARTS = ("teacher", "student", "losses", "backward")
STEPS = 3  # measured, after one to warm up
MIB = 1 << 20


def check_export(subject: Subject) -> Check:
    """A checkpoint strips to a student that its own package builds, loads strictly and runs alike.

    The checkpoint is the one given, else one of the present weights. Raw answers (``tensor`` mode,
    eval) are compared on one image.
    """
    name = "export"
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = subject.checkpoint or Path(folder) / "run.pth"
        if subject.checkpoint is None:
            state = {k: v.cpu() for k, v in subject.model.state_dict().items()}
            save({"state_dict": state, "meta": {}}, checkpoint)
        text = config_text(student_config(subject.config.to_dict()))
        report = export_student(checkpoint, Path(folder) / "student.pth", config_text=text)
        scope = str(Config.fromfile(report["config"]).get("default_scope", SCOPE))
        facts = {k: report[k] for k in ("tensors", "dropped", "bytes")} | {"scope": scope}
        try:
            plain = build_plain(report["config"], scope)
            plain.load_state_dict(load_state_dict(report["out"]))
        except Exception as error:  # whatever the package raises
            value = f"{scope} cannot load it ({type(error).__name__}: {first_line(error)})"
            return Check(
                name, FAIL, value, "keep what only training needs out of the student", facts
            )
    gap = answer_gap(subject, plain.to(subject.device))
    facts["relative_difference"] = gap
    if not gap <= (0.0 if subject.device.type == "cpu" else 1e-4):
        value = f"the stripped student answers differently, by {number(gap)} of the largest value"
        return Check(name, FAIL, value, "is a wrapper or hook part of the student?", facts)
    value = (
        f"{report['tensors']} tensors, {report['bytes'] / MIB:.3g} MiB, load strictly in {scope} "
        f"and answer alike; {report['dropped']} of the losses dropped"
    )
    return Check(name, OK, value, "", facts)


def build_plain(config: str, scope: str) -> nn.Module:
    """The exported student as its own package builds it."""
    package = importlib.import_module(
        "fourierkd.distill.registry" if scope == SCOPE else f"{scope}.registry"
    )
    with DefaultScope.overwrite_default_scope(scope):
        model: nn.Module = package.MODELS.build(Config.fromfile(config).model)
    return model


@torch.no_grad()
def answer_gap(subject: Subject, plain: nn.Module) -> float:
    """Largest difference of the two students' raw answers, relative to the largest value.

    NaN where they answer with different tensors.
    """
    images, samples = subject.inputs[:1], subject.samples()
    samples = samples[:1] if isinstance(samples, list) else samples
    answers = []
    for model in (subject.model.student, plain):
        with evaluating(model):
            subject.reseed()
            answers.append(tensors(model(images, samples, mode="tensor")))
    ours, theirs = answers
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return float("nan")
    largest = max((float(t.abs().max()) for t in ours if t.numel()), default=0.0)
    gaps = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True) if a.numel()]
    return max(gaps, default=0.0) / (largest or 1.0)


def check_cost(subject: Subject) -> Check:
    """Seconds of a training step by part, and the memory it needs.

    Medians of three steps after one to warm up, without the optimizer. Memory is the peak of the
    device's allocator on CUDA, and of the whole process on the CPU.
    """
    model, device = subject.model, subject.device
    subject.full_weights()
    model.train()
    with unchanged(model):
        rows = [_timed_step(subject) for _ in range(STEPS + 1)][1:]
    seconds = {part: statistics.median(row.get(part, 0.0) for row in rows) for part in PARTS}
    whole = sum(seconds.values())
    if device.type == "cuda":
        memory, of = torch.cuda.max_memory_allocated(device), "peak of the device's allocator"
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        of = "peak of the process"
    parts = ", ".join(f"{part} {100 * s / whole:.0f} %" for part, s in seconds.items())
    value = f"{whole:.3g} s a step of {len(subject.inputs)} images: {parts}"
    value += f"\n{memory / MIB:.0f} MiB, {of}"
    facts: dict[str, Any] = {"seconds": seconds, "step": whole, "memory_bytes": memory, "of": of}
    return Check("cost", OK, value, "", {**facts, "device": str(device)})


def _timed_step(subject: Subject) -> dict[str, float]:
    """Seconds of one forward and backward by part."""
    model, device = subject.model, subject.device
    model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.autocast(device.type, dtype=subject.amp, enabled=subject.amp is not None):
        losses = model(subject.inputs, subject.samples(), mode="loss")
    total, _ = model.parse_losses(losses)
    timers = dict(model.timers)
    _wait(device)
    start = time.perf_counter()
    total.backward()
    _wait(device)
    return {**timers, "backward": time.perf_counter() - start}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
