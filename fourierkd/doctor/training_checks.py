"""Does training reach the weights: in flows a subject, out flow checks of a step and frozen parts.

The step is the configured optimizer's and is undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from fourierkd.config.norms import BatchNorm
from fourierkd.config.schedules import schedules_of
from fourierkd.distill.config_files import to_plain
from fourierkd.distill.model_config import build_model, resolve_model
from fourierkd.distill.pretrained import safe_pretraining, set_pretrained
from fourierkd.distill.taps import isolated_random_state
from fourierkd.doctor.report import FAIL, OK, WARN, Check, number, worst
from fourierkd.doctor.subject import Subject
from fourierkd.doctor.teacher_checks import untouched
from fourierkd.doctor.watch import unchanged
from fourierkd.engine.amp import AMP
from fourierkd.errors import listed

CLIPPED = 0.01  # of the step that there would be without a clip
DECAYED = 0.1  # of the weights, by one step's weight decay: ten steps later they are forgotten


class Movement(NamedTuple):
    """How far one step moves the parameters that got a gradient.

    Attributes:
        moves: norm of each one's change, by name.
        unclipped: norm of all changes without the config's clip; None where it has none.
        rates: learning rate of each; 0 where the optimizer does not have it.
        overridden: whether groups of other learning rates are all set to one by the schedule.
        decay: norm of what weight decay alone takes from the student's parameters.
    """

    moves: dict[str, float]
    unclipped: float | None
    rates: dict[str, float]
    overridden: bool
    decay: float


def check_step(subject: Subject) -> Check:
    """A step of the optimizer moves every parameter that has a gradient, by a sane distance."""
    step = take_step(subject)
    sizes = {name: _norm(p) for name, p in subject.model.named_parameters() if name in step.moves}
    return judge_step(step, sizes, torch.finfo(next(subject.model.parameters()).dtype).eps)


def judge_step(step: Movement, sizes: Mapping[str, float], eps: float) -> Check:
    """Judge what a step moved.

    Args:
        step: from ``take_step``.
        sizes: norm of each of its parameters.
        eps: of their dtype: what is smaller, relative to a weight, does not change it.
    """
    lines, advice = [], []
    student = [name for name in step.moves if name.startswith("student.")]
    size = math.hypot(*(sizes[name] for name in student))
    moved = math.hypot(*(step.moves[name] for name in student)) / (size or 1.0)
    every = math.hypot(*step.moves.values())
    still = [name for name, move in step.moves.items() if move == 0]
    lines.append(f"it moves the student's {len(student)} tensors by {number(moved)} of their size")
    status, line, way = _judge_move(step, still, student=bool(student), moved=moved, eps=eps)
    statuses = [status]
    lines += [line] if line else []
    advice += [way] if way else []
    if step.unclipped is not None and math.isfinite(step.unclipped) and step.unclipped > 0:
        left = every / step.unclipped
        lines.append(f"clip_grad leaves {number(100 * left)} % of the step")
        if left < CLIPPED:
            statuses.append(WARN)
            advice.append("raise the bound of optim_wrapper.clip_grad")
    if step.overridden:
        statuses.append(WARN)
        lines.append("OneCycleLR sets every group's rate to its eta_max: lr_mult does nothing")
        advice.append("give eta_max one value a parameter group, or take another schedule")
    decayed = step.decay / (size or 1.0)
    if decayed > DECAYED:
        statuses.append(WARN)
        lines.append(f"weight decay takes {number(100 * decayed)} % of the weights in one step")
        advice.append("lower optim_wrapper's weight_decay, or the rate that multiplies it")
    facts = {
        "relative": moved,
        "decay": decayed,
        "still": still,
        "clip_leaves": None if not step.unclipped else every / step.unclipped,
    }
    return Check("optimizer step", worst(statuses), "\n".join(lines), "; ".join(advice), facts)


def _judge_move(
    step: Movement, still: list[str], *, student: bool, moved: float, eps: float
) -> tuple[str, str, str]:
    """Status, line and advice for how far a step moves; ``still``: what it leaves where it is."""
    if not math.isfinite(math.hypot(*step.moves.values())):
        return FAIL, "", "the step is not finite: lower the learning rate"
    if not student:
        return FAIL, "", "nothing of the student has a gradient: see the gradients check"
    if still and not any(step.rates[name] for name in still):
        way = "set optim_wrapper's lr and lr_mult above 0; freeze a backbone by its config"
        return FAIL, f"learning rate 0: {_of(still, step.moves)}", way
    if still:
        way = "check optim_wrapper: its lr, paramwise_cfg and clip_grad"
        return FAIL, f"with a gradient and not moved: {_of(still, step.moves)}", way
    if moved < eps:
        way = "raise the learning rate, or the bound of clip_grad"
        return FAIL, f"that is below {number(eps)}, which rounding takes away", way
    if moved > 1:
        return WARN, "", "one step is longer than the weights that it changes: lower the rate"
    return OK, "", ""


def take_step(subject: Subject) -> Movement:
    """One step at the learning rate that the schedule climbs to, in full precision, undone.

    The parameters stand at 0 for it: then they move by the gradient alone, without weight decay,
    and by no less than it says, as nothing is lost to rounding.
    """
    model, config = subject.model, subject.config
    subject.full_weights()
    subject.reseed()
    model.train()
    with unchanged(model):
        model.zero_grad(set_to_none=True)
        losses = model(subject.inputs, subject.samples(), mode="loss")
        model.parse_losses(losses)[0].backward()
        reached = {
            name: p for name, p in model.named_parameters() if p.grad is not None and p.grad.any()
        }
        wrapper = _full_precision(config.optim_wrapper)
        clip = wrapper.pop("clip_grad", None)
        unclipped = None
        if clip:
            unclipped = math.hypot(*_moves(subject, wrapper, reached)[0].values())
            wrapper["clip_grad"] = clip
        moves, rates, overridden = _moves(subject, wrapper, reached)
        decay = _decay(subject, wrapper)
    return Movement(moves, unclipped, rates, overridden, decay)


def _full_precision(given: Any) -> dict[str, Any]:
    """An optimizer wrapper's config without its mixed precision, whose first steps may be none."""
    wrapper: dict[str, Any] = to_plain(given)
    if wrapper.get("type") in AMP.values():
        wrapper["type"] = "OptimWrapper"
        for key in ("dtype", "loss_scale", "use_fsdp"):
            wrapper.pop(key, None)
    return wrapper


def _moves(
    subject: Subject, wrapper: Mapping[str, Any], reached: Mapping[str, nn.Parameter]
) -> tuple[dict[str, float], dict[str, float], bool]:
    """Each parameter's move and learning rate, and whether a schedule overrides the rates."""
    built, overridden = _build_at_peak(subject, wrapper)
    groups = built.optimizer.param_groups
    rates = {id(p): float(group["lr"]) for group in groups for p in group["params"]}
    with _undone(subject.model), torch.no_grad():
        for p in subject.model.parameters():
            p.zero_()
        built.step()
        moves = {name: _norm(p) for name, p in reached.items()}
    known = {name: rates.get(id(p), 0.0) for name, p in reached.items()}
    return moves, known, overridden


def _decay(subject: Subject, wrapper: Mapping[str, Any]) -> float:
    """How far apart a step with the config's weight decay and one without it end."""
    ends = []
    for decays in (True, False):
        built, _ = _build_at_peak(subject, wrapper)
        for group in built.optimizer.param_groups:
            if not decays and "weight_decay" in group:
                group["weight_decay"] = 0.0
        with _undone(subject.model):
            built.step()
            ends.append([p.detach().clone() for p in subject.model.student.parameters()])
    return math.hypot(*(_norm(a - b) for a, b in zip(*ends, strict=True)))


def _build_at_peak(subject: Subject, wrapper: Mapping[str, Any]) -> tuple[Any, bool]:
    """The optimizer at the rates that one cycle climbs to, and whether it overrides others."""
    built: Any = build_optim_wrapper(subject.model, to_plain(wrapper))
    groups = built.optimizer.param_groups
    given = {group["lr"] for group in groups}
    peaks = [
        schedule.get("eta_max", 0.0)  # as its class has it
        for schedule in schedules_of(subject.config.get("param_scheduler"))
        if schedule.get("type") == "OneCycleLR"
    ]
    for peak in peaks:
        values = peak if isinstance(peak, Sequence) else [peak] * len(groups)
        for group, value in zip(groups, values, strict=True):
            group["lr"] = value
    return built, bool(peaks) and len(given) > 1 and len({g["lr"] for g in groups}) == 1


@contextmanager
def _undone(model: nn.Module) -> Iterator[None]:
    """Afterwards every parameter and its gradient are as before."""
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]
    gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value, gradient in zip(parameters, before, gradients, strict=True):
                p.copy_(value)
                p.grad = gradient


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.detach().float()))


def _of(names: Sequence[str], every: Mapping[str, Any]) -> str:
    return f"{len(names)} of {len(every)} tensors, {listed(names, 2)}"


def check_frozen_student(subject: Subject) -> Check:
    """What of the student does not train has learned before: it is no draw of the seed.

    Another student is built from another seed; a frozen weight that differs in it is random. A
    batch norm that keeps its running statistics must have seen data.
    """
    name, student = "student frozen", subject.model.student
    frozen = {n: p for n, p in student.named_parameters() if not p.requires_grad}
    norms = {
        n: m
        for n, m in student.named_modules()
        if isinstance(m, BatchNorm) and m.track_running_stats and not m.training
    }
    blank = [n for n, norm in norms.items() if untouched(norm)]
    drawn = _drawn(subject, frozen) if frozen else []
    facts = {"frozen": len(frozen), "random": drawn, "norms": len(norms), "blank_norms": blank}
    lines, advice = [], []
    if drawn:
        lines.append(f"frozen at random values: {_of(drawn, frozen)}")
        advice.append("give the student pretrained weights, or let it train: frozen_stages=-1")
    if blank:
        held = f"{len(blank)} of {len(norms)}, {listed(blank, 2)}"
        lines.append(f"batch norms held at mean 0 and variance 1: {held}")
        advice.append("give the student pretrained weights, or set norm_eval=False")
    if lines:
        return Check(name, FAIL, "\n".join(lines), "; ".join(advice), facts)
    if not frozen and not norms:
        return Check(name, OK, "nothing is frozen", "", facts)
    value = f"{len(frozen)} tensors and {len(norms)} batch norms frozen, none at random values"
    return Check(name, OK, value, "", facts)


def _drawn(subject: Subject, frozen: Mapping[str, Tensor]) -> list[str]:
    """Names of frozen parameters whose values come from the seed."""
    model = subject.config.model
    with isolated_random_state(), safe_pretraining():
        torch.manual_seed(subject.seed + 1)
        spec = set_pretrained(resolve_model(model.student), model.get("pretrained", True))
        other = build_model(spec, role="student")
        other.init_weights()
    theirs = dict(other.named_parameters())
    inherited = tuple(f"{path}." for path in subject.model.inherited)
    return [
        name
        for name, p in frozen.items()
        if not name.startswith(inherited) and not torch.equal(p.cpu(), theirs[name])
    ]
