"""Is the teacher what it should be: in flow its weights, modes and answers, out flow checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import set_random_seed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourierkd.distill.checkpoint import load_state_dict, student_state_dict
from fourierkd.distill.fetch import fetch, is_address
from fourierkd.distill.teacher import RANDOM, FrozenTeacher, check_same_input
from fourierkd.doctor.report import FAIL, OK, WARN, Check, counted, number
from fourierkd.doctor.watch import tensors
from fourierkd.errors import ConfigError, listed

RANDOM_LAYER = re.compile(r"drop|noise", re.IGNORECASE)  # Dropout, DropPath, DropBlock, ...


def check_weights(
    model: nn.Module, checkpoint: str, *, sha256: str | None, control: str | None = None
) -> Check:
    """The teacher holds the tensors of its file, these were trained, and it gives what it knows.

    Args:
        model: the teacher.
        checkpoint: path or address of its file, or "random".
        sha256: digest of the file that was loaded.
        control: the teacher's negative control.
    """
    name = "teacher weights"
    if control is not None:
        return Check(
            name,
            FAIL,
            f"{control}: a negative control, the student does not get what this teacher knows",
            "leave model.teacher.control out",
            {"control": control},
        )
    if checkpoint == RANDOM:
        return Check(
            name,
            FAIL,
            "random: a negative control, this teacher knows nothing",
            "set model.teacher.checkpoint to a file",
            {"random": True},
        )
    if is_address(checkpoint):
        checkpoint = str(fetch(checkpoint, option="model.teacher.checkpoint"))
    stored = student_state_dict(load_state_dict(checkpoint))
    own = model.state_dict()
    shared = [key for key in own if key in stored]
    changed = [k for k in shared if not torch.equal(own[k].cpu(), stored[k].to(own[k].dtype))]
    facts: dict[str, Any] = {"tensors": len(shared), "changed": changed, "sha256": sha256}
    if changed or not shared:
        return Check(
            name,
            FAIL,
            f"{len(changed)} of {len(shared)} tensors are not those of {checkpoint}: "
            f"{listed(changed, 3)}",
            "load the checkpoint after everything that initialises weights",
            facts,
        )
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_var is not None]
    facts["untrained_norms"] = untrained = sum(untouched(norm) for norm in norms)
    if norms and untrained == len(norms):
        return Check(
            name,
            FAIL,
            f"never trained: all {untrained} batch norms have mean 0 and variance 1",
            "give the checkpoint of a trained teacher",
            facts,
        )
    digest = f", sha256 {sha256[:12]}" if sha256 else ""
    return Check(name, OK, f"{len(shared)} tensors as in the file{digest}", "", facts)


def untouched(norm: Any) -> bool:
    """Whether a batch norm's statistics are those that it begins with."""
    return bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())


def check_frozen(model: nn.Module, trained: set[int]) -> Check:
    """No parameter of the teacher is trained, and every module is in eval mode.

    Args:
        model: the teacher, right after a training step of the Distiller.
        trained: ids of the Distiller's own parameters, which the optimizer gets.
    """
    parameters = list(model.named_parameters())
    trainable = [name for name, p in parameters if p.requires_grad]
    owned = [name for name, p in parameters if id(p) in trained]
    training = [(name, module) for name, module in model.named_modules() if module.training]
    drawing = [name for name, module in training if RANDOM_LAYER.search(type(module).__name__)]
    facts = {
        "trainable": trainable,
        "optimized": owned,
        "training": [name for name, _ in training],
        "random_layers_on": drawing,
    }
    found = []
    if trainable:
        found.append(f"{len(trainable)} parameters require a gradient: {listed(trainable, 2)}")
    if owned:
        found.append(f"{len(owned)} parameters are the optimizer's: {listed(owned, 2)}")
    if training:
        names = [name or "the whole" for name, _ in training]
        found.append(f"{len(training)} modules in training mode: {listed(names, 2)}")
    if drawing:
        found.append(f"dropout is on: {listed(drawing, 2)}")
    if found:
        advice = "call teacher.eval() and requires_grad_(False) after everything else"
        return Check("teacher frozen", FAIL, "\n".join(found), advice, facts)
    dropouts = sum(bool(RANDOM_LAYER.search(type(m).__name__)) for m in model.modules())
    value = f"{len(parameters)} parameters frozen, all modules in eval, {dropouts} dropouts off"
    return Check("teacher frozen", OK, value, "", facts)


def check_repeats(teacher: FrozenTeacher, inputs: Tensor, samples: Any, *, seed: int) -> Check:
    """Two passes over the same images, under different random states, give the same maps.

    Equal bit for bit on the CPU, up to 1e-4 of the largest value elsewhere. Batch-norm statistics
    and all other buffers must stay as they are.
    """
    before = {name: buffer.clone() for name, buffer in teacher.model.named_buffers()}
    passes = []
    for draw in (seed, seed + 1):
        set_random_seed(draw)
        passes.append(tensors(teacher(inputs, samples)))
    largest = max((float(t.abs().max()) for t in passes[0]), default=0.0)
    gaps = [float((a - b).abs().max()) for a, b in zip(*passes, strict=True)]
    gap = max(gaps, default=0.0) / (largest or 1.0)
    moved = [n for n, b in teacher.model.named_buffers() if not torch.equal(b, before[n])]
    facts = {"relative_difference": gap, "changed_buffers": moved}
    found = []
    if not gap <= (0.0 if inputs.device.type == "cpu" else 1e-4):  # NaN is no repetition
        found.append(f"two passes differ by {number(gap)} of the largest value")
    if moved:
        found.append(f"a pass changes {len(moved)} buffers: {listed(moved, 2)}")
    if found:
        advice = "put the teacher in eval mode; remove what draws random numbers in it"
        return Check("teacher repeats", FAIL, "\n".join(found), advice, facts)
    value = f"{counted(len(passes[0]), 'map')} alike in two passes, no buffer changed"
    return Check("teacher repeats", OK, value, "", facts)


def check_input(
    student: nn.Module, teacher: nn.Module, entries: Mapping[str, list[Tensor]]
) -> Check:
    """Both models are meant for the same pixels, and get the same tensor.

    Args:
        student: with its data preprocessor.
        teacher: with its own, which only says what the teacher was trained on.
        entries: from ``observe``: per role the images at the model's door and at its first layer.
    """
    name, found = "same input", []
    statuses = []
    try:
        check_same_input(student, teacher)
    except ConfigError as error:
        return Check(name, FAIL, f"{error.rule}, the student's {error.value}", error.fix)
    for place, ours, theirs in zip(
        ("at the door", "at the first layer"), entries["student"], entries["teacher"], strict=False
    ):
        if ours.shape != theirs.shape:
            statuses.append(FAIL if place == "at the door" else WARN)
            found.append(f"{place}: {tuple(ours.shape)} and {tuple(theirs.shape)}")
        elif not torch.equal(ours, theirs):
            gap = float((ours.float() - theirs.float()).abs().max())
            statuses.append(FAIL)
            found.append(f"{place} the images differ by up to {number(gap)}")
    if len(entries["student"]) == 0 or len(entries["teacher"]) == 0:
        statuses.append(FAIL)
        found.append("one of the models was not called")
    if found:
        status = FAIL if FAIL in statuses else WARN
        advice = "let nothing normalise, resize or augment for one of the models alone"
        return Check(name, status, "\n".join(found), advice)
    images = entries["student"][0].float()
    facts = {
        "shape": list(images.shape),
        "mean": images.mean((0, 2, 3)).tolist(),
        "std": images.std((0, 2, 3)).tolist(),
    }
    value = (
        f"one tensor {'x'.join(map(str, images.shape))}, mean {number(float(images.mean()))}, "
        f"std {number(float(images.std()))}, at both models"
    )
    return Check(name, OK, value, "", facts)
