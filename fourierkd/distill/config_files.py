"""Config files that a user names: in flows a path or ``package::name``, out flows its content.

The file is run, since it is Python. ``mmdet::`` and ``mmseg::`` mean the installed package's own
configs (MMEngine's resolver would install the stock package over the maintained one).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from mmengine import registry
from mmengine.config import Config
from mmengine.utils import get_object_from_string

from fourierkd.distill.registry import SCOPE, TASK_SCOPES
from fourierkd.errors import ConfigError, FourierKDError, near


def package_config(name: str) -> Path:
    """Path of a package's own config, such as ``mmdet::retinanet/retinanet_r18_fpn_1x_coco.py``.

    Raises:
        ConfigError: the package is not known or not installed, or it has no such config (near
            names are listed).
    """
    scope, _, relative = name.partition("::")
    if scope not in TASK_SCOPES:
        raise ConfigError(
            "a config name starts with a package", value=name, fix=near(scope, TASK_SCOPES)
        )
    spec = importlib.util.find_spec(scope)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{scope} must be installed to use {name!r}", fix="run `make setup`")
    folder = Path(spec.origin).parent / ".mim" / "configs"
    if not folder.is_dir():  # an editable install keeps them at the root of its checkout
        folder = Path(spec.origin).parent.parent / "configs"
    path = folder / relative
    if ".." in Path(relative).parts or not path.is_relative_to(folder):
        raise ConfigError(f"a name after {scope}:: leads to its own configs", value=name)
    if not path.is_file():
        stems = {p.name: str(p.relative_to(folder)) for p in folder.rglob("*.py")}
        hint = near(Path(relative).name, stems)
        for stem, full in stems.items():
            hint = hint.replace(repr(stem), repr(f"{scope}::{full}"))
        raise ConfigError(
            f"{scope} has no such config", value=name, fix=hint if "mean" in hint else str(folder)
        )
    return path


def read_file(name: str | Path, packages: list[Path] | None = None) -> dict[str, Any]:
    """A config as MMEngine reads it, in plain dicts, keys unchecked.

    Args:
        name: a path, or ``mmdet::name``.
        packages: receives the packages' own configs among its bases.

    Raises:
        ConfigError: there is no such file, or it cannot be read or run.
    """
    path = package_config(str(name)) if "::" in str(name) else Path(name)
    if not path.is_file():
        raise ConfigError("a config must be a file", value=str(path), fix="check the path")
    try:
        with _package_bases([] if packages is None else packages):
            # within: names that a config imports are looked up when its values are
            # MMEngine would take any import for that form, and a call of it is an error then
            lazy = b"read_base" in path.read_bytes()
            return {
                key: to_plain(value)
                for key, value in Config.fromfile(path, lazy_import=lazy).items()
                if not _is_code(value)  # imported for a type=, or a helper of the file
            }
    except FourierKDError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(
            f"a _base_ of {path} is missing", value=str(error), fix="correct its path"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the config's own Python raises
        clash = re.search(r"because (\w+) is a dict in the child config but", str(error))
        if clash is not None:  # MMEngine's message has the whole dict
            raise ConfigError(
                f"config {path}: {clash[1]} is a dict here and none in its _base_",
                fix=f"write {clash[1]}=dict(_delete_=True, ...)",
            ) from error
        raise ConfigError(
            f"config {path} cannot be read: {type(error).__name__}: {error}", fix="correct it"
        ) from error


def to_plain(node: Any) -> Any:
    """A deep copy with plain dicts, lists and tuples in place of MMEngine's config types, plain
    numbers in place of NumPy's, and the names of classes and functions in place of themselves.
    """
    if isinstance(node, Mapping):  # MMEngine's own to_dict names a class by where it is imported
        return {key: to_plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(to_plain(value) for value in node)
    if isinstance(node, np.ndarray | np.generic):
        return node.tolist()
    return class_name(node) if _is_code(node) else node


def _is_code(value: Any) -> bool:
    return isinstance(value, type | FunctionType | BuiltinFunctionType | ModuleType)


def class_name(kind: Any) -> str:
    """What finds a class or function by name: as it is registered, else with its module.

    Configs of MMEngine's newer form (``read_base``) hold the classes themselves.

    Raises:
        ConfigError: the config itself defines it, so a run folder could not name it later.
    """
    for top in vars(registry).values():
        if not isinstance(top, registry.Registry) or top.parent is not None:
            continue
        for part in (top, *top.children.values()):
            if part.module_dict.get(kind.__name__) is kind:
                short = part is top or part.scope == SCOPE
                return kind.__name__ if short else f"{part.scope}.{kind.__name__}"
    name = f"{kind.__module__}.{kind.__qualname__}"
    if get_object_from_string(name) is not kind:
        raise ConfigError(
            "a class in a config is one of a module that can be imported",
            value=kind.__qualname__,
            fix="put it into a file of its own and name that in custom_imports",
        )
    return name


@contextmanager
def _package_bases(seen: list[Path]) -> Iterator[None]:
    """Within: MMEngine resolves a ``package::`` base by ``package_config`` and adds it to ``seen``.

    MMEngine asks for a distribution named mmsegmentation, which is not the name of the maintained
    one.
    """
    original = Config._get_cfg_path

    def resolve(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if "::" not in cfg_path:
            result: tuple[str, str | None] = original(cfg_path, filename)
            return result
        path = Path(package_config(cfg_path))
        seen.append(path)
        return str(path), cfg_path.partition("::")[0]

    Config._get_cfg_path = staticmethod(resolve)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(original)
