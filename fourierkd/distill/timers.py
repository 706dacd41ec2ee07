"""Timers of a step: in flow its parts as they run, out flow seconds by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Timers:
    """Wall time of a step's parts on the CPU; on CUDA device time, by events read when asked."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[Any, Any]] = {}
        self._cuda = False

    def restart(self, inputs: Any) -> Callable[[str], Any]:
        self._marks = {}
        self._cuda = isinstance(inputs, Tensor) and inputs.is_cuda
        return self._part

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        start = self._mark()
        yield
        self._marks[name] = (start, self._mark())

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> dict[str, float]:
        """Seconds by part; a part that did not run is not in it."""
        if not self._cuda:
            return {name: end - start for name, (start, end) in self._marks.items()}
        for _, end in self._marks.values():
            end.synchronize()
        return {n: start.elapsed_time(end) / 1000 for n, (start, end) in self._marks.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Timers:
        return Timers()
