"""What a user can get wrong, as typed errors: rule, value and next step in, one line out.

The command lines turn every ``FourierKDError`` into that line on stderr and exit code 2
(``exit_on_error``).
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # as a shell has it
# A full or read-only disk; a path that is too long, through a file, onto a folder or a link.
USERS_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
_MISSING = object()


class FourierKDError(Exception):
    """A user-facing error: ``rule``, then the offending ``value``, then the next step ``fix``."""

    def __init__(self, rule: str, *, value: object = _MISSING, fix: str = "") -> None:
        self.rule, self.value, self.fix = rule, value, fix
        message = rule if value is _MISSING else f"{rule}, got {value!r}"
        super().__init__(f"{message}; {fix}" if fix else message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the fields when the error crosses a process border."""
        return (_rebuild, (type(self), self.rule, self.value is _MISSING, self.value, self.fix))


def _rebuild(
    kind: type[FourierKDError], rule: str, no_value: bool, value: object, fix: str
) -> FourierKDError:
    return kind(rule, fix=fix) if no_value else kind(rule, value=value, fix=fix)


class ConfigError(FourierKDError):
    """A config, an option or an argument breaks a rule."""


class DataError(FourierKDError):
    """A data set, an image or an annotation is missing, damaged or malformed."""


class CheckpointError(FourierKDError):
    """A checkpoint is missing, of another architecture, or not safe to load."""


class RunError(FourierKDError):
    """A run folder is busy, not writable or inconsistent; or a run diverged."""


class StudyError(FourierKDError):
    """A study cannot start, continue or finish."""


def near(name: str, known: Iterable[str]) -> str:
    """Hint for an unknown name: ``did you mean 'a', 'b'?``, else the list of known names."""
    options = sorted(set(known))
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if close:
        return "did you mean " + ", ".join(map(repr, close)) + "?"
    shown = ", ".join(options[:20]) + (", ..." if len(options) > 20 else "")
    return f"known: {shown}" if options else "none are known"


def listed(names: Sequence[str], most: int = 4) -> str:
    """A few names, and how many more there are: ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def one_line(error: object) -> str:
    """The text of an error without its line breaks."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The part of a long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


def advice(error: OSError) -> str:
    """What helps against a failed read or write, for a ``fix``; empty where that is not known."""
    words = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
        errno.EACCES: "change its permissions",
        errno.EPERM: "change its permissions",
        errno.EROFS: "mount its disk writable",
        errno.EISDIR: "move what is in its place",
        errno.ENOTDIR: "move what is in its place",
        errno.ENOENT: "put it back where it was",
    }
    return words.get(error.errno or 0, "")


def exit_on_error(program: str, main: Callable[[], int | None]) -> NoReturn:
    """Run ``main`` and exit; bad input and what a user does to files give one line and code 2,
    Ctrl-C one line and code 130.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal may have ASCII alone
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        sys.exit(main() or 0)
    except FourierKDError as error:
        message = str(error)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in USERS_ERRNOS:
            raise
        message = f"cannot write or read {error.filename or 'a file'}: {error.strerror}"
        if advice(error):
            message += f"; {advice(error)}"
    print(f"{program}: error: {one_line(message)}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)
