"""The console of a run: everything its process prints, C++ included, flows into ``run.log``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from fourierkd.errors import exit_on_error


@contextmanager
def console_to(path: Path) -> Iterator[TextIO]:
    """Send Python's streams and descriptors 1 and 2 to the end of ``path``; yield the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    saved = os.dup(1), os.dup(2)
    terminal = sys.stdout
    if _is_descriptor_1(sys.stdout):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        terminal = os.fdopen(os.dup(1), "w", buffering=1, encoding=encoding, errors=errors)
    log = open(path, "a", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log  # they may be a notebook's or a test's
        yield terminal
    finally:
        sys.stdout, sys.stderr = streams
        for descriptor, number in zip(saved, (1, 2), strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        with suppress(OSError):  # a full disk
            log.close()
        if terminal is not sys.stdout:
            terminal.close()


def exit_code(work: Callable[[], int], log: Path) -> int:
    """Exit code of ``work``, of which all that is printed, errors included, goes to ``log``."""
    with console_to(log):
        try:
            exit_on_error("fourierkd", work)
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:  # whoever raised it has printed its traceback
            return 1


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False
