"""A run config: in flow a file and dotted options, out flows one checked MMEngine config.

The file is an MMEngine text config. ``mmdet::…`` and ``mmseg::…`` in ``_base_`` mean the installed
package's own configs, ``method`` and ``taps`` become ``model.losses`` (``taps`` stay beside it, for
whoever trains the pair again), options replace values (never merge), ``{data_root}`` is filled in,
and a mistyped key is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from fourierkd import methods
from fourierkd.config.keys import HELPER_KEYS, KNOWN_KEYS, check_options, check_types
from fourierkd.config.norms import with_student_norm
from fourierkd.config.scopes import scope_children, scope_hooks, scope_own
from fourierkd.distill.config_files import package_config, read_file
from fourierkd.distill.model_config import replace_at, resolve_model
from fourierkd.errors import ConfigError, near
from fourierkd.literals import config_text
from fourierkd.options import refuse_passwords

# What default_runtime.py and the schedules of the task packages name without their scope.
PACKAGE_TYPES = {
    "DetLocalVisualizer": "mmdet",
    "DetVisualizationHook": "mmdet",
    "SegLocalVisualizer": "mmseg",
    "SegVisualizationHook": "mmseg",
}
DATA_ROOT = "{data_root}"
METHOD_KEYS = ("taps", "method")  # they say what model.losses is, and options go on from there


class Pair(NamedTuple):
    """What a config says of its pair, whatever its method makes of it: the student alone has no
    teacher, but can be compared with this one.

    Attributes:
        taps: role -> (student's, teacher's module paths), see ``methods.check_taps``.
        teacher: of the key ``model``, or None.
    """

    taps: Mapping[str, tuple[Any, Any]]
    teacher: Mapping[str, Any] | None


class RunConfig(Config):
    """MMEngine's Config whose text is made without yapf, which takes a second for a long config.

    Attributes:
        pair: of the config that it was resolved from; no key, so the text does not have it.
    """

    pair: Pair

    def __init__(self, values: Mapping[str, Any], *, filename: str, pair: Pair) -> None:
        super().__init__(values, filename=filename)
        object.__setattr__(self, "pair", pair)  # Config's own would make it a key

    @property
    def pretty_text(self) -> str:
        """The resolved config as Python that ``load_config`` reads back."""
        return config_text(self.to_dict())


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> RunConfig:
    """Read ``path``, replace ``options``, fill ``{data_root}`` in, and check the keys.

    Args:
        path: an MMEngine text config, or ``mmdet::name``.
        options: dotted key -> value, such as ``{"model.losses.fourier.loss.loss_weight": 2.0}``;
            a list index is a key too, and ``{"model.losses.iou": None}`` leaves that loss out.

    Raises:
        ConfigError: no such file, a syntax error, an unknown key or option.
    """
    packages: list[Path] = []
    if "::" in str(path):
        path = package_config(str(path))
        packages.append(path)  # its variables are no mistakes of the user's
    path, options = Path(path), options or {}
    refuse_passwords(options)
    read = read_file(path, packages)
    values = _check_keys(read, path, packages, variables=True)
    refuse_passwords(values)
    check_options(options)
    values, pair = _replaced(values, options)
    values = _check_keys(values, path, packages)
    check_types(values)
    values, teacher = _fill((values, pair.teacher), values.get("data_root"))
    _complete_model(values.get("model") or {}, values.get("student_norm"), pair.taps)
    for part in _parts(values):
        if part is not None and part["type"] in PACKAGE_TYPES:
            part["type"] = f"{PACKAGE_TYPES[part['type']]}.{part['type']}"
    scope_own(values)
    scope_children((values, teacher))
    scope_hooks(values)
    values["default_scope"] = "fourierkd"
    return RunConfig(values, filename=str(path), pair=Pair(pair.taps, teacher))


def _replaced(values: dict[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], Pair]:
    """The config with its method and then the options, and its pair, which stands apart."""
    first = {key: value for key, value in options.items() if key.split(".")[0] in METHOD_KEYS}
    for key, value in first.items():
        replace_at(values, key, value)
    taps = methods.check_taps(values.get("taps") or {})
    if taps:
        values["taps"] = methods.taps_as_written(taps)
    else:
        values.pop("taps", None)
    method = values.pop("method", None)
    alone = method == methods.STUDENT_ALONE
    if method is not None and not alone:
        values = _with_method(values, method, taps)
    for key, value in options.items():
        if key not in first:
            replace_at(values, key, value)
    model = values.get("model")
    teacher = model.get("teacher") if isinstance(model, Mapping) else None
    pair = Pair(taps, teacher if isinstance(teacher, Mapping) else None)
    return (_student_alone(values) if alone else values), pair


def _complete_model(model: dict[str, Any], norm: Any, taps: Mapping[str, Any]) -> None:
    """Resolve the student and put taps in place of roles, in place."""
    if "student" in model:
        model["student"] = _whole_student(model["student"], norm)
    if isinstance(model.get("losses"), dict):
        model["losses"] = {
            name: methods.with_taps(name, entry, taps)
            for name, entry in model["losses"].items()
            if entry is not None
        }


def _with_method(values: dict[str, Any], name: str, taps: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the losses of a method."""
    model = values.get("model") or {}
    if model.get("losses"):
        raise ConfigError(
            "a config has a method or losses of its own",
            value={"method": name, "losses": list(model["losses"])},
            fix="remove one of them",
        )
    return {**values, "model": {**model, "losses": methods.read_method(name).at(taps)}}


def _student_alone(values: dict[str, Any]) -> dict[str, Any]:
    """The config without a teacher, and without what needs one."""
    model = {key: value for key, value in (values.get("model") or {}).items() if key != "inherit"}
    return {**values, "model": {**model, "teacher": None, "losses": {}}}


def _whole_student(student: Any, norm: Any) -> Any:
    """The student, without a file of the user's, which a run folder could not name later."""
    name = student.get("config") if isinstance(student, dict) else student
    if norm is not None:
        return with_student_norm(resolve_model(student), norm)
    return resolve_model(student) if isinstance(name, str) and "::" not in name else student


def require_distiller(config: Mapping[str, Any]) -> None:
    """ConfigError where the model of a loaded run config is anything but a Distiller."""
    model = config.get("model")
    kind = model.get("type") if isinstance(model, Mapping) else model
    if kind != "Distiller":
        raise ConfigError(
            "the model must be a Distiller", value=kind, fix="set model.type = 'Distiller'"
        )


def _check_keys(
    values: dict[str, Any], path: Path, packages: list[Path], *, variables: bool = False
) -> dict[str, Any]:
    """The config's keys without helper variables; ConfigError at an unknown one.

    Args:
        variables: whether those count that the files read themselves; an option of that name would
            change nothing.
    """
    unknown = [k for k in values if k not in KNOWN_KEYS | HELPER_KEYS and not k.startswith("_")]
    if unknown:
        inherited: set[str] = set()
        for package in packages:
            inherited |= set(Config.fromfile(package).keys())
        if variables:
            inherited |= _variables(path)
        for key in unknown:
            if key not in inherited:
                raise ConfigError(
                    f"unknown key in config {path}",
                    value=key,
                    fix=f"{near(key, KNOWN_KEYS)} (a variable of your own starts with '_')",
                )
    return {key: value for key, value in values.items() if key in KNOWN_KEYS}


def _variables(path: Path) -> set[str]:
    """Names that a config or a base of its reads itself, so that they are no misspelt keys."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_base_":
            found.add(node.attr)
    for base in Config._get_base_files(str(path)):
        if base.endswith(".py") and "::" not in base:
            found |= _variables(path.parent / base)
    return found


def _parts(values: Mapping[str, Any]) -> list[Any]:
    """The visualizer and the hooks."""
    hooks = (values.get("default_hooks") or {}).values()
    return [values.get("visualizer"), *hooks, *(values.get("custom_hooks") or [])]


def _fill(value: Any, data_root: str | None) -> Any:
    """Put ``data_root`` in every string that asks for it."""
    if isinstance(value, str) and DATA_ROOT in value:
        if data_root is None:
            raise ConfigError("a string with {data_root} needs the key data_root", value=value)
        return value.replace(DATA_ROOT, str(data_root))
    if isinstance(value, dict):
        return {key: _fill(item, data_root) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(item, data_root) for item in value)
    return value
