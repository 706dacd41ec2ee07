"""Does distillation work in a step: in flows what ``observe`` recorded, out flow checks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, counted, number, worst
from fourierkd.doctor.step import LevelRecord, Step
from fourierkd.errors import listed

SHARE_LOW, SHARE_HIGH = 0.01, 0.99


def check_taps(levels: Sequence[LevelRecord], crossed: Sequence[str] = ()) -> Check:
    """Each compared map is one that the configured tap gives, and the student's task uses it.

    Args:
        levels: what was compared.
        crossed: pairs of taps of unlike stages, in words (``crossed_stages``).
    """
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
    if crossed:
        advice = "both models have both stages: tap the same one unless another is meant"
        return Check("taps", WARN, "\n".join([value, *crossed]), advice)
    return Check("taps", OK, value)


def crossed_stages(
    losses: Mapping[str, Mapping[str, Any]], student: nn.Module, teacher: nn.Module
) -> list[str]:
    """Pairs of taps of unlike stages, where each model has the other's stage too, in words.

    Dilated stages have one stride, so that their maps do not tell.
    """
    ours, theirs = ({name for name, _ in model.named_modules()} for model in (student, teacher))
    said = []
    for name, entry in losses.items():
        sides = [entry.get("student_tap") or [], entry.get("teacher_tap") or []]
        taps = [[side] if isinstance(side, str) else list(side) for side in sides]
        for a, b in zip(*taps, strict=True):
            if a != b and {a, b} <= ours & theirs:
                said.append(f"{name}: {a} of the student against {b} of the teacher")
    return said


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
    """Pixels a cell of the map; of both axes the one that rounding up its size changed less."""
    exact = max(image[0] / shape[2], image[1] / shape[3])
    return float(round(exact)) if abs(exact - round(exact)) < 0.25 else exact


def check_connectors(levels: Sequence[LevelRecord]) -> Check:
    """After its connector the student's map has the teacher's batch and, if need be, channels."""
    if not levels:
        return Check("connectors", SKIP, "no loss compares maps")
    lines, wrong = [], False
    for r in levels:
        by = "" if r.connector == "none" else f" by {r.connector}"
        line = f"{r.name}: {r.student[1]} -> {r.connected[1]}{by}, {_size(r.connected)}"
        compared = 1 if r.any_width else 2
        if r.connected[:compared] != r.teacher[:compared]:
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


def check_shares(step: Step, weights: Mapping[str, Sequence[float]]) -> Check:
    """Each loss's share of the gradient, |g| / (|g| + |rest|), at the student's maps.

    A loss that compares heads has its share at the student's parameters that it reaches.

    Args:
        step: what was observed.
        weights: loss name -> loss_weight by level.
    """
    lines, facts, proposals = [], {}, []
    for name, norm in step.student_gradients.items():
        records = [r for r in step.levels if r.loss == name]
        sides = [(r.own, r.rest) for r in records if r.own + r.rest > 0]
        if not records and norm > 0:
            sides = [(norm, step.student_rest[name])]
        if not sides:
            continue
        shares = [own / (own + rest) for own, rest in sides]
        own, rest = (math.hypot(*side) for side in zip(*sides, strict=True))
        total = own / (own + rest)
        facts[name] = {"levels": shares if records else None, "share": total}
        lines.append(f"{name}: {', '.join(map(_percent, shares))}")
        if len(shares) > 1:
            lines[-1] += f" by level, {_percent(total)} of all"
        elif not records:
            lines[-1] += " at the student's parameters"
        if all(SHARE_LOW <= share <= SHARE_HIGH for share in shares):
            continue
        factor = rest / own if own > 0 else 0.0
        facts[name]["factor_of_equal_share"] = factor
        proposals.append(_proposal(name, factor, set(weights.get(name, ()))))
    if not lines:
        return Check("gradient share", SKIP, "no gradient to share")
    advice = ""
    if proposals:
        advice = "one side is drowned at a map; equal shares over all: " + ", ".join(proposals)
    status = WARN if proposals else OK
    return Check("gradient share", status, "\n".join(lines), advice, facts)


def _proposal(name: str, factor: float, known: set[float]) -> str:
    """What gives a loss an equal share: a weight, or a factor of the weights that it has."""
    if factor > 0 and len(known) == 1:
        return f"loss_weight {number(known.pop() * factor)} for {name}"
    return f"{number(factor)} times the weights of {name}" if factor > 0 else f"{name} has none"


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
