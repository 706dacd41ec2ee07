"""A run config: in flow a file and dotted options, out flows one checked MMEngine config.

The file is an MMEngine text config. ``mmdet::…`` and ``mmseg::…`` in ``_base_`` mean the installed
package's own configs, options replace values (never merge), ``{data_root}`` is filled in, and a
mistyped key is refused.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from fourierkd.distill.model_config import package_config, replace_at, resolve_model, to_plain
from fourierkd.engine.switches import with_student_norm
from fourierkd.errors import ConfigError, FourierKDError, near
from fourierkd.literals import config_text
from fourierkd.options import refuse_passwords

OWN_KEYS = {"metric", "direction", "data_root", "prepare_data", "student_norm", "teacher_metric"}
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}
# What MMEngine's runner looks up in ``runner.cfg``, beside its constructor's arguments.
CFG_KEYS = {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
}
KNOWN_KEYS = (OWN_KEYS | RUNNER_KEYS | CFG_KEYS) - {"data_preprocessor"}  # the student has its own
# Variables that configs of this ecosystem define for their own use; any other one starts with "_".
HELPER_KEYS = {
    "backend_args",
    "batch_size",
    "checkpoint",
    "classes",
    "crop_size",
    "data_preprocessor",
    "dataset_type",
    "image_size",
    "img_ratios",
    "img_scale",
    "max_epochs",
    "max_iters",
    "metainfo",
    "norm_cfg",
    "num_classes",
    "optimizer",
    "palette",
    "test_pipeline",
    "train_pipeline",
    "tta_model",
    "tta_pipeline",
    "val_pipeline",
    "vis_backends",
}
SCOPES = ("mmdet", "mmseg", "mmengine", "mmcv")
# What default_runtime.py and the schedules of the task packages name without their scope.
PACKAGE_TYPES = {
    "DetLocalVisualizer": "mmdet",
    "DetVisualizationHook": "mmdet",
    "SegLocalVisualizer": "mmseg",
    "SegVisualizationHook": "mmseg",
}
DATA_ROOT = "{data_root}"


class RunConfig(Config):
    """MMEngine's Config whose text is made without yapf, which takes a second for a long config."""

    @property
    def pretty_text(self) -> str:
        """The resolved config as Python that ``load_config`` reads back."""
        return config_text(self.to_dict())


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> RunConfig:
    """Read ``path``, replace ``options``, fill ``{data_root}`` in, and check the keys.

    Args:
        path: an MMEngine text config.
        options: dotted key -> value, such as ``{"model.losses.fourier.loss.loss_weight": 2.0}``;
            a list index is a key too, and ``{"model.losses.iou": None}`` leaves that loss out.

    Raises:
        ConfigError: no such file, a syntax error, an unknown key or option.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError("a config must be a file", value=str(path), fix="check the path")
    refuse_passwords(options or {})
    packages: list[Path] = []
    with _package_bases(packages):
        values = _read(path)
        values = _check_keys(values, path, packages)
    refuse_passwords(values)
    for key, value in (options or {}).items():
        replace_at(values, key, value)
    values = _check_keys(values, path, packages)
    values = _fill(values, values.get("data_root"))
    if values.get("student_norm") is not None and "student" in (values.get("model") or {}):
        student = resolve_model(values["model"]["student"])
        values["model"]["student"] = with_student_norm(student, values["student_norm"])
    model = values.get("model")  # whatever a user wrote; what is wrong with it is said later
    losses = model.get("losses") if isinstance(model, dict) else None
    if isinstance(losses, dict):
        values["model"]["losses"] = {k: v for k, v in losses.items() if v is not None}
    for part in _parts(values):
        if isinstance(part, dict) and part.get("type") in PACKAGE_TYPES:
            part["type"] = f"{PACKAGE_TYPES[part['type']]}.{part['type']}"
    _scope_children(values)
    values["default_scope"] = "fourierkd"
    return RunConfig(values, filename=str(path))


def require_distiller(config: Mapping[str, Any]) -> None:
    """ConfigError where the model of a loaded run config is anything but a Distiller."""
    model = config.get("model")
    kind = model.get("type") if isinstance(model, Mapping) else model
    if kind != "Distiller":
        raise ConfigError(
            "the model must be a Distiller", value=kind, fix="set model.type = 'Distiller'"
        )


def read_config(name: str | Path) -> dict[str, Any]:
    """Any MMEngine config as it stands, keys unchecked: a path, or ``mmdet::name``.

    Raises:
        ConfigError: no such file, or it cannot be read.
    """
    path = package_config(str(name)) if "::" in str(name) else Path(name)
    if not path.is_file():
        raise ConfigError("a config must be a file", value=str(path), fix="check the path")
    with _package_bases([]):
        return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = Config.fromfile(path)
    except FourierKDError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(
            f"a _base_ of {path} is missing", value=str(error), fix="correct its path"
        ) from error
    except Exception as error:  # whatever the config's own Python raises
        clash = re.search(r"because (\w+) is a dict in the child config but", str(error))
        if clash is not None:  # MMEngine's message has the whole dict
            raise ConfigError(
                f"config {path}: {clash[1]} is a dict here and none in its _base_",
                fix=f"write {clash[1]}=dict(_delete_=True, ...)",
            ) from error
        raise ConfigError(
            f"config {path} cannot be read: {type(error).__name__}: {error}", fix="correct it"
        ) from error
    return {key: to_plain(value) for key, value in config.items()}


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


def _check_keys(values: dict[str, Any], path: Path, packages: list[Path]) -> dict[str, Any]:
    """The config's keys without helper variables; ConfigError at an unknown one."""
    unknown = [k for k in values if k not in KNOWN_KEYS | HELPER_KEYS and not k.startswith("_")]
    if unknown:
        inherited: set[str] = set()
        for package in packages:
            inherited |= set(Config.fromfile(package).keys())
        for key in unknown:
            if key not in inherited:
                raise ConfigError(
                    f"unknown key in config {path}",
                    value=key,
                    fix=f"{near(key, KNOWN_KEYS)} (a variable of your own starts with '_')",
                )
    return {key: value for key, value in values.items() if key in KNOWN_KEYS}


def _parts(values: Mapping[str, Any]) -> list[Any]:
    """The visualizer and the hooks; ConfigError where they are no such thing."""
    for key, kind, words in (
        ("visualizer", dict, "a dict"),
        ("default_hooks", dict, "a dict"),
        ("custom_hooks", list | tuple, "a list of dicts"),
    ):
        value = values.get(key)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{key} is {words}", value=value, fix="correct it")
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


def _scope_children(value: Any) -> None:
    """Let what is inside ``type="mmseg.X"`` be built in scope mmseg, without a prefix of its own.

    MMEngine looks inner types up in the default scope, unless the outer dict has ``_scope_``.
    """
    if isinstance(value, dict):
        kind = value.get("type")
        scope = kind.partition(".")[0] if isinstance(kind, str) and "." in kind else None
        if scope in SCOPES:
            value.setdefault("_scope_", scope)
        for item in value.values():
            _scope_children(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _scope_children(item)
