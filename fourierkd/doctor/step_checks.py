"""Does distillation work in a step: in flows what ``observe`` recorded, out flow checks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, counted, listed, number, worst
from fourierkd.doctor.step import LevelRecord, Step
from fourierkd.doctor.subject import Subject
from fourierkd.doctor.watch import unchanged
from fourierkd.engine.runner import first_line

SHARE_LOW, SHARE_HIGH = 0.01, 0.99
HALF_DTYPES = (torch.float16, torch.bfloat16)


def check_taps(levels: Sequence[LevelRecord]) -> Check:
    """Each compared map is one that the configured tap gives, and the student's task uses it."""
    if not levels:
        return Check("taps", SKIP, "no loss compares maps")
    statuses, lines = [OK], []
    for record in levels:
        found = []
        if not record.from_tap:
            found.append("the map that reaches the loss is not the tap's output")
        if record.attached and record.task == 0:
            found.append("the student's own losses do not use this map")
        if record.attached and record.prediction == 0:
            found.append("the student's answer does not use this map")
        if found:
            statuses.append(FAIL)
            lines.append(f"{record.name}: {', '.join(found)}")
    if lines:
        advice = "tap a module between the student's input and its head"
        return Check("taps", worst(statuses), "\n".join(lines), advice)
    unknown = sum(record.prediction is None for record in levels)
    value = f"the student's losses and its answer use {counted(len(levels), 'compared map')}"
    if unknown:
        value = f"the student's losses use {counted(len(levels), 'compared map')} (no answer here)"
    return Check("taps", OK, value)


def check_levels(
    levels: Sequence[LevelRecord], image: tuple[int, int], left_out: Mapping[str, Sequence[str]]
) -> Check:
    """Student and teacher maps of a pair have the same stride.

    Args:
        levels: what was compared.
        image: (H, W) of the input.
        left_out: loss name -> levels that only one side has at their stride.
    """
    if not levels:
        return Check("levels", SKIP, "no loss compares maps")
    lines, facts, wrong = [], {}, False
    for name in dict.fromkeys(record.loss for record in levels):
        own = [record for record in levels if record.loss == name]
        strides = [
            (_stride(image, record.student), _stride(image, record.teacher)) for record in own
        ]
        facts[name] = {
            "strides": [{"student": s, "teacher": t} for s, t in strides],
            "left_out": list(left_out.get(name, ())),
        }
        apart = [
            f"{record.name}: stride {number(s)} of the student against {number(t)} of the teacher"
            for record, (s, t) in zip(own, strides, strict=True)
            if max(s, t) / min(s, t) > 1.5
        ]
        wrong = wrong or bool(apart)
        shown = ", ".join(number(s) for s, _ in strides)
        lines += apart or [f"{name}: stride {shown} of both"]
        if left_out.get(name):
            lines.append(f"{name}: left out {', '.join(left_out[name])}")
    advice = "tap levels of equal stride; if resizing is meant, pass --accept levels"
    return Check("levels", FAIL if wrong else OK, "\n".join(lines), advice if wrong else "", facts)


def _stride(image: tuple[int, int], shape: Sequence[int]) -> float:
    """Pixels a cell of the map, geometric mean of both axes."""
    ratio = image[0] * image[1] / (shape[2] * shape[3])
    exact = ratio**0.5
    return float(round(exact)) if abs(exact - round(exact)) < 0.25 else exact


def check_connectors(levels: Sequence[LevelRecord]) -> Check:
    """After its connector the student's map has the teacher's batch and channels."""
    if not levels:
        return Check("connectors", SKIP, "no loss compares maps")
    lines, wrong = [], False
    for r in levels:
        by = "" if r.connector == "none" else f" by {r.connector}"
        line = f"{r.name}: {r.student[1]} -> {r.connected[1]}{by}, {_size(r.connected)}"
        if r.connected[:2] != r.teacher[:2]:
            wrong = True
            line += f"; the teacher has {r.teacher[1]} channels of {r.teacher[0]} images"
        elif r.connected[2:] != r.teacher[2:]:
            line += f" resized for {_size(r.teacher)}"
        lines.append(line)
    facts = {
        r.name: {k: list(getattr(r, k)) for k in ("student", "connected", "teacher")}
        for r in levels
    }
    advice = "use connector='auto'" if wrong else ""
    return Check("connectors", FAIL if wrong else OK, "\n".join(lines), advice, facts)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[3]}"


def check_losses(
    losses: Mapping[str, float], names: Collection[str], levels: Sequence[LevelRecord]
) -> Check:
    """Every named loss is there, finite and not zero, and so are the student's own.

    Args:
        losses: of a step, by key.
        names: of the configured distillation losses.
        levels: what was compared.
    """
    facts = dict(losses)
    if not names:
        return Check(
            "losses",
            FAIL,
            "the config distils nothing: it has no losses",
            "add model.teacher and model.losses",
            facts,
        )
    lines, statuses = [], [OK]
    for name in names:
        value = losses.get(f"distill.{name}.loss")
        shown = "missing" if value is None else number(value)
        bad = value is None or not math.isfinite(value) or value == 0
        lines.append(f"{name} {shown}" + (": it must be finite and not zero" if bad else ""))
        statuses.append(FAIL if bad else OK)
    own = {key: value for key, value in losses.items() if not key.startswith("distill.")}
    broken = [key for key, value in own.items() if not math.isfinite(value)]
    lines.append(f"the student's own: {number(sum(own.values()))}")
    if broken:
        statuses.append(FAIL)
        lines[-1] += f", not finite: {listed(broken)}"
    constant = [record.name for record in levels if record.teacher_constant]
    if constant:
        statuses.append(FAIL)
        lines.append(f"the teacher's map is constant: {listed(constant)}")
    status = worst(statuses)
    advice = "" if status == OK else "check loss_weight, taps and the teacher"
    return Check("losses", status, "\n".join(lines), advice, facts)


def check_gradients(step: Step) -> Check:
    """Every loss has a gradient at the student at each of its levels, and none at the teacher."""
    if not step.student_gradients:
        return Check("gradients", SKIP, "no losses")
    lines, facts = [], {}
    for record in step.levels:
        facts[record.name] = {"own": record.own, "rest": record.rest, "task": record.task}
        if not record.attached:
            lines.append(
                f"{record.name}: none, the student's map is detached, under no_grad or frozen"
            )
        elif not (math.isfinite(record.own) and record.own > 0):
            lines.append(f"{record.name}: {number(record.own)} at the student's map")
    for name, norm in step.student_gradients.items():
        if not (math.isfinite(norm) and norm > 0):
            lines.append(f"{name}: {number(norm)} at the student's parameters")
    if step.teacher_gradients:
        names = step.teacher_gradients
        lines.append(f"{len(names)} teacher parameters get one: {listed(names, 2)}")
    if step.teacher_graph:
        lines.append(f"the teacher's maps carry a graph: {listed(step.teacher_graph)}")
    facts["student"] = step.student_gradients
    if lines:
        advice = "tap a trained module and leave detach() and no_grad() out of the way to it"
        return Check("gradients", FAIL, "\n".join(lines), advice, facts)
    norms = ", ".join(f"{k} {number(v)}" for k, v in step.student_gradients.items())
    value = f"norm at the student's parameters: {norms}; at {counted(len(step.levels), 'map')}"
    value += ", none zero; none at the teacher"
    return Check("gradients", OK, value, "", facts)


def check_shares(levels: Sequence[LevelRecord], weights: Mapping[str, Sequence[float]]) -> Check:
    """Each loss's share of the gradient at its maps, |g| / (|g| + |rest|).

    Args:
        levels: what was compared.
        weights: loss name -> loss_weight by level.
    """
    by_loss: dict[str, list[LevelRecord]] = {}
    for record in levels:
        if record.own + record.rest > 0:
            by_loss.setdefault(record.loss, []).append(record)
    if not by_loss:
        return Check("gradient share", SKIP, "no gradient at any compared map")
    lines, facts, proposals = [], {}, []
    for name, records in by_loss.items():
        shares = [r.own / (r.own + r.rest) for r in records]
        own, rest = (math.hypot(*(getattr(r, side) for r in records)) for side in ("own", "rest"))
        facts[name] = {
            "levels": {r.name: share for r, share in zip(records, shares, strict=True)},
            "share": own / (own + rest),
        }
        shown = ", ".join(_percent(share) for share in shares)
        lines.append(f"{name}: {shown}" + (" by level" if len(shares) > 1 else ""))
        if len(shares) > 1:
            lines[-1] += f", {_percent(own / (own + rest))} of all"
        if all(SHARE_LOW <= share <= SHARE_HIGH for share in shares):
            continue
        factor = rest / own if own > 0 else 0.0
        facts[name]["factor_of_equal_share"] = factor
        known = set(weights.get(name, ()))
        if factor > 0 and len(known) == 1:
            proposals.append(f"loss_weight {number(known.pop() * factor)} for {name}")
        elif factor > 0:
            proposals.append(f"{number(factor)} times the weights of {name}")
        else:
            proposals.append(f"{name} has none")
    advice = ""
    if proposals:
        advice = "one side is drowned at a map; equal shares over all: " + ", ".join(proposals)
    status = WARN if proposals else OK
    return Check("gradient share", status, "\n".join(lines), advice, facts)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def check_unused(unused: Sequence[str], total: int) -> Check:
    """Every trainable parameter got a gradient: DDP waits for those that did not."""
    facts = {"unused": list(unused), "parameters": total}
    if unused:
        value = f"{len(unused)} of {total} tensors without a gradient: {listed(unused, 3)}"
        advice = "freeze or remove them, or set find_unused_parameters=True for several GPUs"
        return Check("unused parameters", WARN, value, advice, facts)
    return Check("unused parameters", OK, f"all {total} trainable tensors get one", "", facts)


class _FourierDtypes(TorchDispatchMode):
    """Notes the dtype that enters each Fourier transform."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fft_" in str(func) and args and isinstance(args[0], Tensor):
            self.seen.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def check_dtype(subject: Subject) -> Check:
    """What reaches the Fourier transforms is float32 or float64, also under the config's AMP."""
    name, amp = "fft dtype", subject.amp
    under = f"under autocast to {_short(amp)}" if amp else "without autocast"
    subject.full_weights()
    subject.reseed()
    subject.model.train()
    device = subject.device.type
    try:
        with (
            unchanged(subject.model),
            _FourierDtypes() as mode,
            torch.autocast(device, dtype=amp, enabled=amp is not None),
        ):
            losses = subject.model(subject.inputs, subject.samples(), mode="loss")
    except Exception as error:
        if amp is None:
            raise
        value = f"a step {under} fails ({type(error).__name__}: {first_line(error)})"
        return Check(name, FAIL, value, "train without AMP, or with another dtype")
    finally:
        torch.clear_autocast_cache()
    infinite = [
        key
        for key, value in losses.items()
        if key.startswith("distill.") and not math.isfinite(float(value.detach()))
    ]
    seen = list(dict.fromkeys(mode.seen))
    facts = {
        "amp": _short(amp) if amp else None,
        "dtypes": [_short(d) for d in seen],
        "calls": len(mode.seen),
    }
    if infinite:
        return Check(name, FAIL, f"{under} not finite: {listed(infinite)}", "use bfloat16", facts)
    if not seen:
        return Check(name, SKIP, f"no loss takes a Fourier transform; finite {under}", "", facts)
    half = [d for d in seen if d in HALF_DTYPES]
    value = f"{', '.join(_short(d) for d in seen)} at {len(mode.seen)} transforms {under}"
    advice = "lift the maps to float32 before the transform" if half else ""
    return Check(name, FAIL if half else OK, value, advice, facts)


def _short(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
