"""All checks of a subject, in order: in flows what was built, out flow the named answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fourierkd.distill.register import register_all
from fourierkd.doctor.config_checks import check_data, check_schedule
from fourierkd.doctor.deploy import check_cost, check_export
from fourierkd.doctor.labels import check_teacher_loss
from fourierkd.doctor.metric import check_metric, read_claim
from fourierkd.doctor.precision import check_dtype
from fourierkd.doctor.probes import check_bands, check_shortcut
from fourierkd.doctor.report import CHECKS, FAIL, OK, SKIP, WARN, Check
from fourierkd.doctor.step import Step, observe
from fourierkd.doctor.step_checks import (
    check_connectors,
    check_gradients,
    check_levels,
    check_losses,
    check_shares,
    check_taps,
    check_unused,
    crossed_stages,
)
from fourierkd.doctor.subject import RefusedError, Subject, build_subject
from fourierkd.doctor.teacher_checks import (
    check_frozen,
    check_input,
    check_repeats,
    check_weights,
)
from fourierkd.doctor.training_checks import check_frozen_student, check_step
from fourierkd.engine.class_counts import check_class_counts
from fourierkd.engine.runner import training_seed
from fourierkd.errors import first_line

Progress = Callable[[str], None]


class Effort(NamedTuple):
    """How much is measured: validation images of the teacher, steps of the shortcut probe."""

    images: int = 100
    steps: int = 100


FULL = Effort()


def diagnose(
    config: str | Path,
    options: dict[str, Any] | None = None,
    *,
    effort: Effort = FULL,
    seed: int = 0,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress = lambda _: None,
) -> list[Check]:
    """Build what a config describes and run every check.

    Args:
        config: a run config.
        options: dotted options.
        effort: how much is measured.
        seed: of weights, data and everything drawn.
        device: where to run; None as a run does.
        checkpoint: of a run of this config; None for a fresh student.
        progress: told the name of each check before it starts.

    Returns:
        One check for each of CHECKS, in that order. Where the model cannot be built, the check that
        names the reason fails and the others are skipped.

    Raises:
        FourierKDError: the config, the data, the device or the checkpoint is bad input.
    """
    register_all()
    progress("build")
    try:
        with build_subject(
            config, options, seed=training_seed(seed), device=device, checkpoint=checkpoint
        ) as subject:
            return examine(subject, effort=effort, progress=progress)
    except RefusedError as refused:
        return _fill([refused.check], "the model cannot be built")


def examine(
    subject: Subject, *, effort: Effort = FULL, progress: Progress = lambda _: None
) -> list[Check]:
    """Run every check on a built subject; what one finds does not stop the next.

    Raises:
        ConfigError: the config's ``teacher_metric`` is malformed, or a head of the student has
            fewer classes than the training data.
    """
    read_claim(subject.config)
    model = subject.model
    said = check_class_counts(subject.config)
    checks = [
        Check(
            "build",
            WARN if said else OK,
            _built(subject),
            "; ".join(said),
            {"device": str(subject.device)},
        )
    ]

    def add(name: str, make: Callable[[], Check]) -> None:
        progress(name)
        try:
            checks.append(make())
        except Exception as error:  # a broken model may raise anything: that is the finding
            reason = f"{type(error).__name__}: {first_line(error)}"
            checks.append(Check(name, FAIL, f"it cannot be examined ({reason})"))

    add("data", lambda: check_data(subject))
    add("schedule", lambda: check_schedule(subject))
    add("student frozen", lambda: check_frozen_student(subject))
    step: Step | None = None
    progress("losses")
    try:
        step = observe(subject)
    except Exception as error:
        reason = f"a training step fails ({type(error).__name__}: {first_line(error)})"
        checks.append(Check("losses", FAIL, reason, "see the message"))
    teacher = model.teacher
    if teacher is not None:
        path = str(subject.config.model.teacher.checkpoint)
        trained = {id(p) for p in model.parameters()}
        about = {"sha256": teacher.sha256, "control": teacher.control}
        add("teacher weights", lambda: check_weights(teacher.model, path, **about))
        add("teacher frozen", lambda: check_frozen(teacher.model, trained))
        samples = subject.samples()
        add(
            "teacher repeats",
            lambda: check_repeats(teacher, subject.inputs, samples, seed=subject.seed),
        )
        add("teacher metric", lambda: check_metric(subject, images=effort.images))
        add("teacher loss", lambda: check_teacher_loss(subject))
    if step is not None:
        for name, make in _step_checks(subject, step, effort).items():
            add(name, make)
        add("fft dtype", lambda: check_dtype(subject))
        add("cost", lambda: check_cost(subject))
    add("export", lambda: check_export(subject))
    return _fill(checks, "no teacher" if teacher is None else "a training step fails")


def _step_checks(subject: Subject, step: Step, effort: Effort) -> dict[str, Callable[[], Check]]:
    model: Any = subject.model
    height, width = subject.inputs.shape[-2:]
    names = list(model.losses)
    weights = {
        name: [float(getattr(loss, "loss_weight", 0.0)) for loss in levels]
        for name, levels in model.losses.items()
    }
    trained = sum(p.requires_grad for p in model.parameters())
    checks: dict[str, Callable[[], Check]] = {
        "losses": lambda: check_losses(step.losses, names, step.levels),
        "unused parameters": lambda: check_unused(step.unused, trained),
        "optimizer step": lambda: check_step(subject),
    }
    if model.teacher is None:
        return checks
    return checks | {
        "same input": lambda: check_input(model.student, model.teacher.model, step.entries),
        "taps": lambda: check_taps(
            step.levels,
            crossed_stages(subject.config.model.losses, model.student, model.teacher.model),
        ),
        "levels": lambda: check_levels(step.levels, (height, width), model.left_out),
        "connectors": lambda: check_connectors(step.levels),
        "gradients": lambda: check_gradients(step),
        "gradient share": lambda: check_shares(step, weights),
        "shortcut": lambda: check_shortcut(
            model.losses,
            step.maps,
            steps=effort.steps,
            seed=subject.seed,
            objects=step.objects,
        ),
        "bands": lambda: check_bands(model.losses, step.maps, seed=subject.seed),
    }


def _built(subject: Subject) -> str:
    model = subject.model
    images, _, height, width = subject.inputs.shape
    teacher = f", teacher {type(model.teacher.model).__name__}" if model.teacher else ", no teacher"
    weights = subject.checkpoint.name if subject.checkpoint else "fresh"
    student = type(model.student).__name__
    built = f"student {student} ({weights}){teacher}, {images} images of {height}x{width}"
    for path, part in model.inherited.items():
        built += f"\n{path} starts from the teacher: {part['tensors']} tensors"
    return built


def _fill(checks: Sequence[Check], reason: str) -> list[Check]:
    """In the order of CHECKS, each one there: those not run are skipped with the reason."""
    done = {check.name: check for check in checks}
    return [done.get(name) or Check(name, SKIP, reason) for name in CHECKS]
