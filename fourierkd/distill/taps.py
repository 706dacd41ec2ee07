"""Taps: in flow module paths such as ``backbone.layer4``, out flow those modules' feature maps.

Hooks exist only while ``Taps.capture`` is open, so a model is otherwise untouched (it can be
copied, exported, wrapped). ``probe`` runs one tiny image through a model and reports what each tap
gives.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from fourierkd.errors import ConfigError, near

Recorder = Callable[[Any, Any, Any], None]  # what a call was given, in two parts; what it gave
Change = Callable[[str, Tensor], Tensor]  # a tap's path and one of its maps -> what goes on
PROBE_SIZE = 128  # pixels: at stride 32 a deformable 3x3 convolution still fits


class Level(NamedTuple):
    """What a tap gives at one level: channels, (height, width), and if a gradient can enter."""

    channels: int
    size: tuple[int, int]
    requires_grad: bool

    @property
    def stride(self) -> int:
        """Pixels of the image a map's pixel stands for, to the next power of two."""
        return int(2 ** round(math.log2(PROBE_SIZE / self.size[0])))


class _AllTapsFiredError(Exception):
    """Raised inside a forward to end it."""


class Taps:
    """Capture the outputs of named modules during a forward.

    Args:
        model: where the paths are looked up; it is not kept.
        paths: module paths as in ``model.named_modules()``.
        role: "student" or "teacher", for messages.
        heads: paths of detection heads, whose ``forward`` gives a tuple of lists of maps (class
            scores of all levels, then boxes). Detectors call it past the module's hooks.

    Raises:
        ConfigError: no module has this path; near names are listed.
    """

    def __init__(
        self, model: nn.Module, paths: Sequence[str], *, role: str, heads: Sequence[str] = ()
    ) -> None:
        names = [name for name, _ in model.named_modules() if name]
        for path in [*paths, *heads]:
            if path not in names:
                kind = "tap" if path in paths else "head"
                raise ConfigError(f"unknown {role} {kind}", value=path, fix=_near_path(path, names))
        self.paths = tuple(dict.fromkeys(paths))
        self.heads = tuple(dict.fromkeys(heads))
        self.role = role
        self.calls = dict.fromkeys(
            (*self.paths, *self.heads), 1
        )  # a head shared by all levels is called once a level

    @contextmanager
    def capture(self, model: nn.Module, *, stop: bool = False) -> Iterator[dict[str, list[Tensor]]]:
        """Yield a dict path -> feature maps (N, C, H, W), filled while the body runs ``model``.

        Args:
            stop: leave the body as soon as every tap has fired as often as ``calls`` says.

        Raises:
            ConfigError: a tapped module gives something else than maps.
        """
        captured: dict[str, list[Tensor]] = {path: [] for path in self.calls}
        fired = dict.fromkeys(captured, 0)

        def recorder(path: str, *, nested: bool = False) -> Recorder:
            def record(_: Any, __: Any, output: Any) -> None:
                parts = output if nested else [output]
                captured[path].extend(m for part in parts for m in _maps(part, path, self.role))
                fired[path] += 1
                if stop and all(fired[p] >= calls for p, calls in self.calls.items()):
                    raise _AllTapsFiredError

            return record

        with ExitStack() as stack:
            for path in self.paths:
                hook = model.get_submodule(path).register_forward_hook(recorder(path))
                stack.callback(hook.remove)
            for path in self.heads:
                stack.enter_context(
                    shadowed(model.get_submodule(path), "forward", recorder(path, nested=True))
                )
            with suppress(_AllTapsFiredError):
                yield captured

    @contextmanager
    def changed(self, model: nn.Module, change: Change) -> Iterator[None]:
        """Within: ``change(path, map)`` goes on in the place of every map that a tap gives, level
        by level."""

        def changing(path: str) -> Callable[[Any, Any, Any], Any]:
            def hook(_: Any, __: Any, output: Any) -> Any:
                maps = [change(path, m) for m in _maps(output, path, self.role)]
                if isinstance(output, Tensor):
                    return maps[0]
                return tuple(maps) if isinstance(output, tuple) else maps

            return hook

        with ExitStack() as stack:
            for path in self.paths:
                handle = model.get_submodule(path).register_forward_hook(changing(path))
                stack.callback(handle.remove)
            yield


@contextmanager
def shadowed(module: nn.Module, method: str, after: Recorder) -> Iterator[None]:
    """Within: ``after(args, kwargs, output)`` runs at the end of every call of ``module.method``.

    An attribute of the instance stands in front of the class's method; what was there before is
    there again afterwards.
    """
    original, earlier = getattr(module, method), vars(module).get(method)

    @functools.wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        after(args, kwargs, output)
        return output

    setattr(module, method, observed)
    try:
        yield
    finally:
        if earlier is None:
            delattr(module, method)
        else:
            setattr(module, method, earlier)


def probe(model: nn.Module, taps: Taps) -> dict[str, list[Level]]:
    """What each tap gives for one black image of PROBE_SIZE; sets ``taps.calls``.

    The model is left as it was: training flags, running statistics and random states are
    untouched. The whole forward without losses runs; what fails in it after every tap has fired
    does not matter.

    Raises:
        ConfigError: the forward fails, a tapped module is never called, or it is overwritten in
            place later.
    """
    counts = dict.fromkeys(taps.paths, 0)
    versions: list[tuple[str, Tensor, int]] = []

    def counter(path: str) -> Any:
        def count(_: nn.Module, __: Any, output: Any) -> None:
            counts[path] += 1
            versions.extend((path, m, m._version) for m in _maps(output, path, taps.role))

        return count

    handles = [model.get_submodule(p).register_forward_hook(counter(p)) for p in taps.paths]
    try:
        with taps.capture(model) as captured:
            failure = see_black(model)
    finally:
        for handle in handles:
            handle.remove()
    counts.update({path: int(bool(captured[path])) for path in taps.heads})
    silent = [path for path, count in counts.items() if not count]
    if silent and failure is not None:
        raise ConfigError(f"the {taps.role} fails on a black image ({failure})") from failure
    for path in silent:
        parts = [name for name, _ in model.get_submodule(path).named_children()]
        raise ConfigError(
            f"the {taps.role} tap is never called as a module",
            value=path,
            fix=f"tap one of its parts: {', '.join(parts)}" if parts else "tap another module",
        )
    for path, tensor, version in versions:
        if tensor._version != version:
            raise ConfigError(
                f"the {taps.role} tap is overwritten in place by the module after it",
                value=path,
                fix="tap the module that contains both",
            )
    taps.calls.update(counts)
    return {
        path: [Level(m.shape[1], (m.shape[2], m.shape[3]), m.requires_grad) for m in maps]
        for path, maps in captured.items()
        if path in taps.paths
    }


def see_black(model: nn.Module) -> Exception | None:
    """Run one black image of PROBE_SIZE through a model, which is left as it was.

    Returns:
        What a package raised on an image without objects; None where the forward went through.
    """
    device = next(model.parameters()).device
    inputs = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=device)
    shape = (PROBE_SIZE, PROBE_SIZE)
    sample = BaseDataElement(
        metainfo=dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
        | {"scale_factor": (1.0, 1.0)}
    )
    with untouched(model), torch.enable_grad():
        model.eval()
        try:
            model(inputs, [sample], mode="tensor")
        except ConfigError:
            raise
        except Exception as error:
            return error
    return None


@contextmanager
def isolated_random_state() -> Iterator[None]:
    """Give back the CPU random states of torch, NumPy and Python as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give back training flags, and random states as ``isolated_random_state``."""
    modes = [(module, module.training) for module in model.modules()]
    with isolated_random_state():
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _maps(output: Any, path: str, role: str) -> list[Tensor]:
    levels = list(output) if isinstance(output, (list, tuple)) else [output]
    for level in levels:
        if not (isinstance(level, Tensor) and level.ndim == 4):
            shape = tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__
            raise ConfigError(
                f"the {role} tap {path!r} must give maps (N, C, H, W), alone or in a tuple",
                value=shape,
                fix="tap another module",
            )
    return levels


def _near_path(path: str, names: list[str]) -> str:
    """Near module paths; where nothing is near, the children of the deepest part that exists."""
    hint = near(path, names)
    if hint.startswith("did you mean"):
        return hint
    parent = path
    while parent and parent not in names:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 1 if parent else 0
    children = [n for n in names if n.count(".") == depth and n.startswith(parent)]
    return near(path, children)
