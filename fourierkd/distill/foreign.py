"""Checkpoints of other code: in flow their keys, out flows which part is what here.

MMRazor 1.x and the official FourierKD code store ``architecture.*`` (the student), ``teacher.*``,
``distiller.distill_losses.*`` and ``distiller.connectors.*``; MMRazor 0.x ``architecture.model.*``
and ``distiller.*``; FGD, MGD and other forks ``student.*`` and ``teacher.*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.losses.fourier import FourierLoss

LOSSES = "distiller.distill_losses."
CONNECTORS = "distiller.connectors."
CONV_MODULE = "conv_module."  # MMRazor's ConvModuleConnector holds one of MMCV's ConvModule

# Ours -> the attribute names of the official FourierLoss.
OFFICIAL_NAMES = {
    "predictor.weight": "predictor.weight",
    "predictor.bias": "predictor.bias",
    "atfm.student_conv.weight": "atfm.conv1x1.0.weight",
    "atfm.student_conv.bias": "atfm.conv1x1.0.bias",
    "atfm.teacher_conv.weight": "atfm.conv1x1_b.0.weight",
    "atfm.teacher_conv.bias": "atfm.conv1x1_b.0.bias",
    "atfm.mix_logit": "atfm.sigma_tensor",
}


class Layout(NamedTuple):
    """Whose checkpoint it is, and what stands before the student's keys."""

    name: str
    prefix: str


OURS = Layout("fourierkd", "student.")
FORK = Layout("a fork with student.* and teacher.*", "student.")
MMRAZOR = Layout("MMRazor 1.x", "architecture.")
MMRAZOR_0 = Layout("MMRazor 0.x", "architecture.model.")
PLAIN = Layout("a plain model", "")


def layout_of(keys: Iterable[str]) -> Layout:
    """Which layout the keys of a state dict are in; a plain model's have no prefix."""
    names = list(keys)
    students = [key for key in names if key.startswith(MMRAZOR.prefix)]
    if students:
        old = all(key.startswith(MMRAZOR_0.prefix) for key in students)
        return MMRAZOR_0 if old else MMRAZOR
    if any(key.startswith(OURS.prefix) for key in names):
        return FORK if any(key.startswith("teacher.") for key in names) else OURS
    return PLAIN


def fourier_parameters(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Parameters of every official FourierLoss: official loss name -> our name -> tensor.

    Losses of other classes are left out. The order is that of the file, which is that of the
    config that wrote it.

    Raises:
        CheckpointError: a FourierLoss has parameters missing, or others that are not known.
    """
    losses = _groups(state, LOSSES)
    found = {}
    for name, parameters in losses.items():
        if "atfm.sigma_tensor" not in parameters:
            continue
        missing = set(OFFICIAL_NAMES.values()) - set(parameters)
        unexpected = set(parameters) - set(OFFICIAL_NAMES.values())
        if missing or unexpected:
            raise CheckpointError(
                "a FourierLoss of the official code has seven parameters",
                value=f"{name}: missing {sorted(missing)}, unexpected {sorted(unexpected)}",
            )
        found[name] = {ours: parameters[theirs] for ours, theirs in OFFICIAL_NAMES.items()}
    return found


def load_fourier_losses(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Put the official FourierLoss parameters of ``state`` into a Distiller's losses, in order.

    The official code names a loss per level (``loss_fourier_fpn0`` to ``loss_fourier_fpn4``), each
    with parameters of its own, as ``losses.<name>.<level>`` here: nothing is shared between levels
    on either side.

    Args:
        model: a Distiller whose FourierLosses have ``compat="paper_code"``: the official parameters
            were trained on spectra rolled over batch and channel.
        state: of a checkpoint in MMRazor's layout.

    Returns:
        Official loss name -> ours, such as ``{"loss_fourier_fpn0": "fourier.0"}``.

    Raises:
        CheckpointError: no FourierLoss in ``state``, not as many as the model has, or of other
            widths.
        ConfigError: a loss of the model is not ``compat="paper_code"``, or lacks a part that has
            parameters.
    """
    ours = _modules(model, "losses", FourierLoss)
    theirs = fourier_parameters(state)
    if len(ours) != len(theirs):
        raise CheckpointError(
            f"the checkpoint has {len(theirs)} FourierLosses and the config {len(ours)} levels",
            value={"checkpoint": list(theirs), "config": list(ours)},
            fix="tap as many levels as the official config",
        )
    for name, module in ours.items():
        if module.compat != "paper_code":
            raise ConfigError(
                f"official parameters need compat='paper_code' in the loss of {name}",
                value=module.compat,
                fix="set it, or train the default from its own start",
            )
        if module.predictor is None or module.atfm is None:
            raise ConfigError(
                f"official parameters need the predictor and the fusion in the loss of {name}",
                value={
                    "predictor": module.predictor is not None,
                    "fusion": module.atfm is not None,
                },
                fix="set predictor=True and fusion=True",
            )
    pairs = dict(zip(theirs, ours, strict=True))
    for official, own in pairs.items():
        _copy(ours[own], theirs[official], f"{official} -> {own}")
    return pairs


def load_connectors(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """The same for the connectors with parameters: MMRazor's ConvModuleConnector, in order.

    Returns:
        Official connector name -> ours, such as ``{"channels_connector": "fourier.0"}``.

    Raises:
        CheckpointError: not as many connectors as the model has, or of another kind or width.
    """
    theirs = _groups(state, CONNECTORS)
    ours = {
        name: module
        for name, module in _modules(model, "connectors", nn.Module).items()
        if any(True for _ in module.parameters())
    }
    if len(ours) != len(theirs):
        raise CheckpointError(
            f"the checkpoint has {len(theirs)} connectors and the config {len(ours)}",
            value={"checkpoint": list(theirs), "config": list(ours)},
            fix="give the loss the official connector, dict(type='ConvModule')",
        )
    pairs = dict(zip(theirs, ours, strict=True))
    for official, own in pairs.items():
        module, tensors = ours[own], theirs[official]
        if all(key.startswith(CONV_MODULE) for key in tensors):
            if isinstance(module, nn.Conv2d):
                raise CheckpointError(
                    f"the connector {official!r} is a ConvModule: a ReLU follows its convolution",
                    value=f"connectors.{own} is a bare convolution",
                    fix="set connector=dict(type='ConvModule')",
                )
            tensors = {key[len(CONV_MODULE) :]: value for key, value in tensors.items()}
        _copy(module, tensors, f"{official} -> {own}")
    return pairs


def _groups(state: Mapping[str, Tensor], prefix: str) -> dict[str, dict[str, Tensor]]:
    """First part of the name -> rest -> tensor, of the keys after ``prefix``."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(re.escape(prefix) + r"([^.]+)\.(.+)", key)
        if match:
            groups.setdefault(match[1], {})[match[2]] = value
    return groups


def _modules(model: nn.Module, kind: str, of: type[nn.Module]) -> dict[str, nn.Module]:
    """``<name>.<level>`` -> module, of a Distiller's losses or connectors."""
    named = model.get_submodule(kind)
    return {
        f"{name}.{level}": module
        for name, levels in named.named_children()
        for level, module in levels.named_children()
        if isinstance(module, of)
    }


@torch.no_grad()
def _copy(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    own = module.state_dict()
    wrong = [f"{key} missing" for key in own if key not in tensors]
    wrong += [f"{key} unexpected" for key in tensors if key not in own]
    wrong += [
        f"{key} {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if wrong:
        raise CheckpointError(f"parameters do not fit ({what})", value=", ".join(wrong[:4]))
    module.load_state_dict(dict(tensors))
