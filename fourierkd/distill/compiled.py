"""torch.compile for the teacher: in flow a model and its taps, out flow compiled parts of it.

Dynamo would trace the taps' hooks into a graph, where the one that ends the forward at the last tap
cannot work. So what is compiled are the largest modules without a tap inside, by their ``forward``
alone: hooks stay outside, in plain Python, and nothing after the last tap is ever compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fourierkd.errors import ConfigError


def compiled_paths(model: nn.Module, taps: Iterable[str]) -> list[str]:
    """Paths of the largest modules that have parameters, a ``forward`` and no tap inside."""
    inner = {path.rsplit(".", depth)[0] for path in taps for depth in range(1, path.count(".") + 1)}

    def visit(module: nn.Module, path: str) -> Iterator[str]:
        for name, child in module.named_children():
            child_path = f"{path}.{name}" if path else name
            container = type(child).forward is nn.Module.forward  # a ModuleList is never called
            if child_path in inner or container:
                yield from visit(child, child_path)
            elif next(child.parameters(), None) is not None:
                yield child_path

    return list(visit(model, ""))


def compile_parts(model: nn.Module, taps: Iterable[str]) -> None:
    """Replace the ``forward`` of these modules; compilation follows at their first call."""
    for path in compiled_paths(model, taps):
        module = model.get_submodule(path)
        module.forward = torch.compile(module.forward)


@contextmanager
def compile_failures() -> Iterator[None]:
    """Within: what the compiler cannot do is one line that says how to go on without it.

    Raises:
        ConfigError: the compiler fails, or there is no C++ compiler for the CPU.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"torch.compile of the teacher failed ({' '.join(lines[:2])[:300]})",
            fix="set model.teacher.compile=False",
        ) from error
