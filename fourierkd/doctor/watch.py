"""Hooks of the doctor: in flows a model, out flow the tensors that pass its doors during a step.

All hooks live in an ``ExitStack`` and are gone when it closes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Maps = dict[tuple[str, int], Tensor]  # by (loss, level)


def student_taps(losses: Mapping[str, Any]) -> dict[str, list[str]]:
    """Module paths of the student's taps, of every entry of ``model.losses`` that names some."""
    taps = {}
    for name, entry in losses.items():
        if entry.get("student_tap"):
            tap = entry["student_tap"]
            taps[name] = [tap] if isinstance(tap, str) else list(tap)
    return taps


def watch_taps(
    stack: ExitStack,
    student: nn.Module,
    taps: Mapping[str, list[str]],
    outputs: dict[str, list[Tensor]],
) -> None:
    """Collect what the configured taps give, loss by loss."""

    def collect(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            outputs[name].extend(tensors(output))

        return hook

    for name, paths in taps.items():
        outputs[name] = []
        for path in paths:
            module = student.get_submodule(path)
            stack.callback(module.register_forward_hook(collect(name)).remove)


def watch_losses(stack: ExitStack, model: Any, raw: Maps, connected: Maps, teachers: Maps) -> None:
    """Collect what enters each connector, and what enters each loss as student and teacher."""

    def enter_connector(key: tuple[str, int]) -> Any:
        def hook(_: nn.Module, args: Any) -> None:
            raw[key] = args[0]

        return hook

    def enter_loss(key: tuple[str, int]) -> Any:
        def hook(_: nn.Module, args: Any) -> None:
            if len(args) >= 2 and all(isinstance(a, Tensor) and a.ndim == 4 for a in args[:2]):
                connected[key], teachers[key] = args[0].detach(), args[1]

        return hook

    for name, levels in model.connectors.items():
        for level, connector in enumerate(levels):
            stack.callback(
                connector.register_forward_pre_hook(enter_connector((name, level))).remove
            )
    for name, levels in model.losses.items():
        for level, loss in enumerate(levels):
            stack.callback(loss.register_forward_pre_hook(enter_loss((name, level))).remove)


def watch_entries(
    stack: ExitStack, model: nn.Module, role: str, entries: dict[str, list[Tensor]]
) -> None:
    """Collect the images at the model's door, and at the first layer that is called with images."""
    entries[role] = []

    def door(_: nn.Module, args: Any, kwargs: Any) -> None:
        images = kwargs.get("inputs", args[0] if args else None)
        if isinstance(images, Tensor) and not entries[role]:
            entries[role].append(images.detach())

    def layer(_: nn.Module, args: Any) -> None:
        if len(entries[role]) == 1 and args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            entries[role].append(args[0].detach())

    stack.callback(model.register_forward_pre_hook(door, with_kwargs=True).remove)
    for module in model.modules():
        if module is not model and not any(True for _ in module.children()):
            stack.callback(module.register_forward_pre_hook(layer).remove)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, each module back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Steps within leave no trace: batch-norm statistics and other buffers are set back."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in model.named_buffers():
            if name in before and before[name].shape == buffer.shape:
                buffer.copy_(before[name])
        model.zero_grad(set_to_none=True)


def tensors(node: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts, in order."""
    if isinstance(node, Tensor):
        return [node]
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return [tensor for item in node for tensor in tensors(item)]
    return []
