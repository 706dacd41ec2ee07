"""What a config is, by content: in flows its path, out flow hashes without comments and layout.

Configs are read as text, since MMEngine is not imported here. Files a config names (``_base_``, a
student's own config) count as parts of it; ``mmdet::...`` and ``mmseg::...`` count by name, with
their packages' versions.
"""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fourierkd.errors import ConfigError
from fourierkd.fingerprint import data_fingerprint

PACKAGES = (
    "fourierkd",
    "torch",
    "numpy",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
)


def config_sources(path: Path) -> list[tuple[str, str]]:
    """(file name, source without comments and layout) of a config and all config files it names.

    Raises:
        ConfigError: no such file, or it is not Python.
    """
    found: dict[Path, str] = {}
    _collect(path.resolve(), found)
    return [(file.name, source) for file, source in found.items()]


def _collect(path: Path, found: dict[Path, str]) -> None:
    if path in found:
        return
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"a config must be a readable file ({error.strerror})",
            value=str(path),
            fix="check the path",
        ) from error
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigError(
            f"{path}{line} is not a Python config ({error})", fix="correct it"
        ) from error
    found[path] = ast.unparse(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = node.value
            if named.endswith(".py") and "::" not in named and (path.parent / named).is_file():
                _collect((path.parent / named).resolve(), found)


def literal(path: Path, key: str) -> Any:
    """The plain value of ``key`` in a config or in the first base that has it, else None."""
    found: dict[Path, str] = {}
    _collect(path.resolve(), found)
    for source in found.values():
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == key for target in node.targets
            ):
                try:
                    return ast.literal_eval(node.value)
                except ValueError:
                    return _dict_call(node.value)
    return None


def roles(config: Path, options: Mapping[str, Any]) -> list[str]:
    """The roles that the ``taps`` of a config and its bases have, after ``options``."""
    found: dict[Path, str] = {}
    _collect(config.resolve(), found)
    named: dict[str, bool] = {}  # role -> if it has a tap
    for source in found.values():  # a config stands before its bases
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and "taps" in map(ast.unparse, node.targets):
                for role, value in _keywords(node.value):
                    named.setdefault(
                        role, not (isinstance(value, ast.Constant) and not value.value)
                    )
    for option, value in options.items():
        head, _, role = option.partition(".")
        if head == "taps":
            named |= (
                {role: value is not None} if role else {r: v is not None for r, v in value.items()}
            )
    return [role for role, there in named.items() if there]


def _keywords(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Keys and values of ``dict(a=...)`` or ``{"a": ...}``."""
    if isinstance(node, ast.Dict):
        return [
            (key.value, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    return [(w.arg, w.value) for w in getattr(node, "keywords", []) if w.arg is not None]


def _dict_call(node: ast.expr) -> dict[str, Any] | None:
    """``dict(a=1, b="x")``, as configs write it."""
    if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict"):
        return None
    try:
        return {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
    except ValueError:
        return {}


def data_identity(config: Path, options: Mapping[str, Any]) -> Any:
    """What identifies the data of a run: nothing more than the config where it makes them itself.

    Else the folder and the fingerprint of its files.
    """
    if options.get("prepare_data", literal(config, "prepare_data")) is not None:
        return "prepared"
    root = options.get("data_root", literal(config, "data_root"))
    if not isinstance(root, str):
        return None
    folder = Path(root).absolute()
    return {"data_root": str(folder), "files": data_fingerprint(folder)}


def versions() -> dict[str, str | None]:
    """Versions of the packages that decide what a training gives."""
    known: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            known[name] = None
    return known
