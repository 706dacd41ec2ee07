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
from typing import Any

from mmengine.config import Config, ConfigDict

from fourierkd.distill.registry import TASK_SCOPES
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
            return {key: to_plain(value) for key, value in Config.fromfile(path).items()}
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
    """A deep copy with plain dicts, lists and tuples in place of MMEngine's config types."""
    if isinstance(node, ConfigDict):
        node = node.to_dict()
    if isinstance(node, Mapping):
        return {key: to_plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(to_plain(value) for value in node)
    return node


@contextmanager
def _package_bases(seen: list[Path]) -> Iterator[None]:
    """Within: MMEngine resolves a ``package::`` base by ``package_config`` and adds it to ``seen``.

    MMEngine asks for a distribution named mmsegmentation, which is not the name of the maintained
    one.
    """
    original = Config._get_cfg_path

    def resolve(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if "::" not in cfg_path:
            return original(cfg_path, filename)
        path = Path(package_config(cfg_path))
        seen.append(path)
        return str(path), cfg_path.partition("::")[0]

    Config._get_cfg_path = staticmethod(resolve)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(original)
