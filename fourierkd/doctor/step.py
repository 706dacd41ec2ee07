"""One observed training step: in flow a model and a batch, out flow plain numbers and names.

Hooks watch what really arrives: the images at both models, the student's map at every connector,
both maps at every loss. Gradients are taken at the student's maps, loss by loss.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.doctor.subject import Subject
from fourierkd.doctor.watch import (
    Maps,
    evaluating,
    student_taps,
    tensors,
    unchanged,
    watch_entries,
    watch_losses,
    watch_taps,
)
from fourierkd.losses.base import Objects


class LevelRecord(NamedTuple):
    """What one loss saw and caused at one level.

    ``own``, ``rest`` and ``task`` are gradient norms at the student's map: of this loss, of all
    others together, of the student's own losses. ``prediction``: that of the sum of squares of the
    student's raw answer; None where it could not be run. ``any_width``: the loss takes maps of
    unequal channels.
    """

    loss: str
    level: int
    from_tap: bool
    student: tuple[int, ...]
    connected: tuple[int, ...]
    teacher: tuple[int, ...]
    connector: str
    attached: bool
    teacher_constant: bool
    own: float
    rest: float
    task: float
    prediction: float | None
    any_width: bool = False

    @property
    def name(self) -> str:
        """``loss.level``."""
        return f"{self.loss}.{self.level}"


class Step(NamedTuple):
    """One training step.

    Attributes:
        losses: every loss by its key, the distillation's as ``distill.<name>.loss``.
        levels: of the losses that compare maps.
        maps: per such loss (student after its connector, teacher) a level, detached.
        student_gradients: norm of each distillation loss's gradient over the student's parameters.
        student_rest: norm of all other losses' gradient over the parameters that this one reaches.
        teacher_gradients: teacher parameters that got a gradient.
        teacher_graph: losses whose teacher map carries a graph.
        unused: trainable parameters that got no gradient.
        entries: the images as they reach each model, and its first layer: role -> tensors.
        objects: the boxes of the batch, where a loss asks for them.
    """

    losses: dict[str, float]
    levels: list[LevelRecord]
    maps: dict[str, list[tuple[Tensor, Tensor]]]
    student_gradients: dict[str, float]
    student_rest: dict[str, float]
    teacher_gradients: list[str]
    teacher_graph: list[str]
    unused: list[str]
    entries: dict[str, list[Tensor]]
    objects: Objects | None = None


def observe(subject: Subject) -> Step:
    """Run forward and backward once, in training mode and full precision.

    Raises:
        Exception: whatever the step raises.
    """
    with unchanged(subject.model):
        return _observe(subject)


def _observe(subject: Subject) -> Step:
    model = subject.model
    subject.full_weights()
    subject.reseed()
    model.train()
    model.zero_grad(set_to_none=True)
    if model.teacher is not None:
        model.teacher.model.zero_grad(set_to_none=True)
    taps = student_taps(subject.config.model.get("losses") or {})
    raw: Maps = {}
    connected: Maps = {}
    teachers: Maps = {}
    outputs: dict[str, list[Tensor]] = {}
    entries: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        watch_entries(stack, model.student, "student", entries)
        if model.teacher is not None:
            watch_entries(stack, model.teacher.model, "teacher", entries)
        watch_taps(stack, model.student, taps, outputs)
        watch_losses(stack, model, raw, connected, teachers)
        losses = model(subject.inputs, subject.samples(), mode="loss")
    total, _ = model.parse_losses(losses)
    task = _sum({k: v for k, v in losses.items() if not k.startswith("distill.")}, model, total)
    keys = {name: f"distill.{name}.loss" for name in model.losses}
    own = {name: losses[key] for name, key in keys.items() if key in losses}

    places = [key for key, feature in raw.items() if feature.requires_grad]
    at = [raw[key] for key in places]
    student = [p for p in model.student.parameters() if p.requires_grad]
    gradients = {name: _gradients(loss, [*at, *student]) for name, loss in own.items()}
    everything = _gradients(total, [*at, *student])
    whole = dict(zip(places, everything[: len(at)], strict=True))
    tasks = dict(zip(places, _gradients(task, at), strict=True))
    predictions = _prediction_gradients(subject, raw, outputs)
    teacher_parameters = [] if model.teacher is None else model.teacher.model.named_parameters()

    total.backward()
    return Step(
        losses={k: float(_total(v)) for k, v in losses.items() if "loss" in k},
        levels=[
            LevelRecord(
                loss=name,
                level=level,
                from_tap=any(feature is output for output in outputs.get(name, [])),
                student=tuple(feature.shape),
                connected=tuple(connected[name, level].shape),
                teacher=tuple(teachers[name, level].shape),
                connector=_kind(model.connectors[name][level]),  # type: ignore[index]
                attached=(name, level) in places,
                teacher_constant=bool(
                    (teachers[name, level].amax() - teachers[name, level].amin()) == 0
                ),
                own=_norm(own_at := _at(gradients.get(name, []), places, (name, level))),
                rest=_norm(_others(whole.get((name, level)), own_at)),
                task=_norm(tasks.get((name, level))),
                prediction=None if predictions is None else predictions.get((name, level), 0.0),
                any_width=model.losses[name][level].any_width,  # type: ignore[index]
            )
            for (name, level), feature in raw.items()
            if (name, level) in connected
        ],
        maps=_by_loss(connected, teachers),
        student_gradients={
            name: math.hypot(*map(_norm, found[len(at) :])) for name, found in gradients.items()
        },
        student_rest={
            name: math.hypot(
                *(
                    _norm(_others(all_of, own_of))
                    for all_of, own_of in zip(everything, found, strict=True)
                    if own_of is not None
                )
            )
            for name, found in gradients.items()
        },
        teacher_gradients=[name for name, p in teacher_parameters if p.grad is not None],
        teacher_graph=sorted({name for (name, _), t in teachers.items() if t.requires_grad}),
        unused=[name for name, p in model.named_parameters() if p.requires_grad and p.grad is None],
        entries=entries,
        objects=model.objects(subject.inputs, subject.data_samples),
    )


def _prediction_gradients(
    subject: Subject, raw: Maps, outputs: dict[str, list[Tensor]]
) -> dict[tuple[str, int], float] | None:
    """Gradient of the student's raw answer at each map that a loss compares.

    The student answers once more, in eval mode; None where it cannot (no objects, no taps).
    """
    again: dict[str, list[Tensor]] = {}
    positions = {
        (name, level): next(
            (i for i, output in enumerate(outputs.get(name, [])) if output is feature), None
        )
        for (name, level), feature in raw.items()
    }
    student = subject.model.student
    with ExitStack() as stack:
        stack.enter_context(evaluating(student))
        watch_taps(stack, student, student_taps(subject.config.model.get("losses") or {}), again)
        try:
            answer = student(subject.inputs, subject.samples(), mode="tensor")
        except Exception:  # whatever a package raises on images without objects
            return None
    scalars = [t.float().square().mean() for t in tensors(answer) if t.requires_grad]
    found = {
        key: again[key[0]][index]
        for key, index in positions.items()
        if index is not None and index < len(again.get(key[0], []))
    }
    attached = {key: feature for key, feature in found.items() if feature.requires_grad}
    if not scalars:
        return dict.fromkeys(raw, 0.0)
    gradients = _gradients(torch.stack(scalars).sum(), list(attached.values()))
    return {key: _norm(g) for key, g in zip(attached, gradients, strict=True)}


def _gradients(loss: Tensor, at: list[Tensor]) -> list[Tensor | None]:
    if not at or not loss.requires_grad:
        return [None] * len(at)
    found = torch.autograd.grad(loss, at, retain_graph=True, allow_unused=True)
    return list(found)


def _at(found: list[Tensor | None], places: list[Any], key: tuple[str, int]) -> Tensor | None:
    return found[places.index(key)] if found and key in places else None


def _others(whole: Tensor | None, own: Tensor | None) -> Tensor | None:
    return whole if whole is None or own is None else whole - own


def _norm(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient.float()))


def _sum(losses: dict[str, Any], model: Any, like: Tensor) -> Tensor:
    """The student's own losses, added up as MMEngine does it."""
    if not any("loss" in key for key in losses):
        return torch.zeros_like(like)
    total: Tensor = model.parse_losses(losses)[0]
    return total


def _total(value: Any) -> Tensor:
    """A loss as MMEngine counts it: the mean of a tensor, or the sum of means of a list."""
    return torch.stack([v.detach().float().mean() for v in tensors(value)]).sum()


def _by_loss(connected: Maps, teachers: Maps) -> dict[str, list[tuple[Tensor, Tensor]]]:
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, level), student in connected.items():
        pairs.setdefault(name, []).append((student, teachers[name, level].detach()))
    return pairs


def _kind(connector: nn.Module) -> str:
    return "none" if isinstance(connector, nn.Identity) else type(connector).__name__
