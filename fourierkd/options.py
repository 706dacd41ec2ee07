"""Options as they are typed: in flow ``KEY=VALUE`` texts, out flows a dict of dotted key -> value.

One way for every command line. Values are read as MMEngine's ``DictAction`` reads them (``false``,
lists and tuples without quotes inside), and any Python literal is one too.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fourierkd.errors import ConfigError

MAX_SEED = 2**53
# a scheme, what stands before the last "@" of the host part, and the host
_SECRET = re.compile(r"\s*([A-Za-z][\w+.-]*://)[^/?#]*@([^/?#@]*)")
_WORDS = {"true": True, "false": False, "none": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def add_options(parser: argparse.ArgumentParser, flag: str, *, dest: str, help: str) -> None:
    """``flag KEY=VALUE ...``; several of them add up, in ``dest``."""
    parser.add_argument(
        flag, nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest=dest, help=help
    )


def add_loudness(parser: argparse.ArgumentParser) -> None:
    """``-v`` and ``-q``: ``verbose`` and ``quiet``, of which one at most is given."""
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="show what the libraries log"
    )
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="show results and errors alone"
    )


def parse_options(items: Iterable[str]) -> dict[str, Any]:
    """``["a.b=1", "c=[x, 2]", "d=false", "e=text"]`` as a dict; of equal keys the last one counts.

    Raises:
        ConfigError: an item without a key and ``=``.
    """
    options = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                "an option is KEY=VALUE", value=item, fix="e.g. train_cfg.max_iters=100"
            )
        options[key.strip()] = parse_value(text)
    return options


def parse_value(text: str) -> Any:
    """A number, bool, None, list, tuple, dict or quoted text as written; anything else is a text.

    ``a,b`` is a list as ``[a,b]`` is; a text with a comma needs quotes of its own.

    Example:
        >>> parse_value("[x, (1, 2.5), true]")
        ['x', (1, 2.5), True]
    """
    text = text.strip()
    parts = _split(text)
    if len(parts) > 1:
        return [parse_value(part) for part in parts if part.strip()]
    if text[:1] in ("(", "[") and _end(text) == len(text) - 1:
        inner = [parse_value(part) for part in _split(text[1:-1]) if part.strip()]
        return tuple(inner) if text[0] == "(" else inner
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return float(text)  # inf and nan, for whoever checks the value to refuse
    except ValueError:
        return text


def refuse_passwords(value: Any) -> None:
    """Refuse a user or password in an address, at any depth: they would stand in every record.

    Raises:
        ConfigError: ``https://user:password@host/...``; the message names the host alone.
    """
    if isinstance(value, str):
        found = _SECRET.match(value)
        if found is not None:
            raise ConfigError(
                "an address holds no user and password: logs and records show it",
                value=f"{found[1]}...@{found[2]}",
                fix="download the file yourself and give its path",
            )
    elif isinstance(value, Mapping):
        for item in value.values():
            refuse_passwords(item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_passwords(item)


def seed(text: str) -> int:
    """A seed, for argparse: any whole number that every reader of JSON and tables takes exactly."""
    if not text.strip().isdecimal() or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to 2**53, got {text!r}")
    return int(text)


def whole_number(name: str, value: object, low: int) -> int:
    """``value``; ConfigError unless it is a whole number from ``low`` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name} is a whole number from {low} on", value=value)
    return value


def _split(text: str) -> list[str]:
    """The parts between the commas outside of all brackets and quotes."""
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == ",":
            parts.append(text[start:at])
            start = at + 1
        elif text[at] in _CLOSING or text[at] in "\"'":
            end = _end(text, at)
            if end is None:  # a bracket or quote that is only a character
                return [text]
            at = end
        at += 1
    return [*parts, text[start:]]


def _end(text: str, start: int = 0) -> int | None:
    """Where what opens at ``start`` closes; None where it does not."""
    if text[start] in "\"'":
        quote = text.find(text[start], start + 1)
        return quote if quote > 0 else None
    at = start + 1
    while at < len(text):
        if text[at] == _CLOSING[text[start]]:
            return at
        if text[at] in _CLOSING or text[at] in "\"'":
            end = _end(text, at)
            if end is None:
                return None
            at = end
        at += 1
    return None
