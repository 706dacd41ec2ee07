"""A study config: in flow a plain Python file and overrides, out flows one checked ``StudyConfig``.

Everything is checked here, before anything is written: keys, ranges, the search space, the files it
names.
"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fourierkd import methods
from fourierkd.errors import ConfigError, FourierKDError
from fourierkd.options import refuse_passwords
from sweeps.fingerprint import roles
from sweeps.space import METHOD, Methods, Tunable, suggest
from sweeps.study import KEYS, NAMED_OPTIONS, StudyConfig
from sweeps.study_rules import check_keys, check_number, check_study

_TEACHER_KEYS = ("config", "seed", "option", "options")


def load_study(path: Path, overrides: Mapping[str, Any] | None = None) -> StudyConfig:
    """Read a study config, apply dotted overrides and check all of it.

    Args:
        path: a Python file that assigns ``study = dict(...)``.
        overrides: e.g. ``{"trials": 4, "teacher.options.train_cfg.max_iters": 50}``. What follows
            ``options``, ``space`` or an arm's name is one dotted option of a run config.

    Raises:
        ConfigError: the file cannot be run, or a key or value breaks a rule.
    """
    return make_study(_run_file(path), path, overrides)


def make_study(
    values: Mapping[str, Any], path: Path, overrides: Mapping[str, Any] | None = None
) -> StudyConfig:
    """A study of the values that its config assigns; files are relative to ``path``.

    Raises:
        ConfigError: as ``load_study``.
    """
    values = dict(values)
    check_keys(values, KEYS, "study")
    _name_arms(path, values)
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    _name_arms(path, values)  # again: --set may give a list
    refuse_passwords(values)
    for key in ("name", "config", "space", "metric"):
        if key not in values:
            raise ConfigError("a study needs the key", value=key, fix=f"add it to {path}")
    values["config"] = _file(path, values["config"], "config")
    if values.get("teacher") is not None:
        values["teacher"] = _teacher(path, values["teacher"])
    if isinstance(values["space"], Mapping):
        values["space"] = _with_methods(path, values)
    study = StudyConfig(**values)
    check_study(study)
    return study


def _name_arms(study: Path, values: dict[str, Any]) -> None:
    """Arms that are a list of methods, by name; ConfigError where two have one name."""
    for key in ("arms", "reference_arms"):
        if isinstance(values.get(key), list | tuple):
            named: dict[str, Any] = {}
            for method in values[key]:
                name = methods.method_label(method)
                if name in named:
                    raise ConfigError(
                        "methods that are compared have names of their own",
                        value=name,
                        fix="name it once, or rename the file",
                    )
                named[name] = {METHOD: _beside(study, method)}
            values[key] = named


def _with_methods(study: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The space, its methods with what they can be tuned by for the taps of the run config."""
    space, options = values["space"], values.get("options")
    node = space.get(METHOD)
    if not isinstance(node, Methods):
        return dict(space)
    there = roles(values["config"], options if isinstance(options, Mapping) else {})
    files = {name: _beside(study, file) for name, file in node.files.items()}
    tunable: dict[str, dict[str, Tunable] | None] = {}
    for name in node.tunable:
        method = methods.read_method(files.get(name, name))
        found = method.options(there, suggest).items()
        tunable[name] = {option: Tunable(*pair) for option, pair in found}
    return {**space, METHOD: Methods(tunable, files)}


def _beside(study: Path, name: Any) -> Any:
    """The name of a method; of a file, which is relative to the study's, its path."""
    if not isinstance(name, str):
        return name
    parts = name.split(methods.SUM)
    return methods.SUM.join(
        str((study.parent / part).resolve()) if part.endswith(".py") else part for part in parts
    )


def _run_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError("a study config must be a file", value=str(path), fix="check the path")
    try:
        namespace = runpy.run_path(str(path))
    except FourierKDError as error:
        raise ConfigError(f"{_where(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{_where(path, error)}: {type(error).__name__}: {error}",
            fix="correct the study config",
        ) from error
    study = namespace.get("study")
    if not isinstance(study, dict):
        raise ConfigError(
            "a study config assigns study = dict(...)", value=study, fix=f"see {path}"
        )
    return dict(study)


def _where(path: Path, error: BaseException) -> str:
    """``file:line`` of the study config where the error came from."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one study key, or one dotted option below ``options``, ``space`` or an arm."""
    head, *rest = key.split(".")
    check_keys({head: None}, KEYS, "study")
    if not rest:
        values[head] = value
        return
    # How many parts lead to the dict whose keys are dotted options.
    depth = {"options": 1, "search_options": 1, "space": 1, **dict.fromkeys(NAMED_OPTIONS, 2)}.get(
        head, 0
    )
    if head == "teacher" and rest[0] == "options" and len(rest) > 1:
        depth = 2
    parts = [head, *rest]
    path = [*parts[:depth], ".".join(parts[depth:])] if 0 < depth < len(parts) else parts
    node = values
    for part in path[:-1]:
        inner = node.get(part)
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(
                f"--set {key}: {part} has no keys", value=inner, fix=f"set {part} itself"
            )
        node[part] = dict(inner or {})  # the study's file keeps its own dicts
        node = node[part]
    node[path[-1]] = value


def _file(study: Path, value: Any, key: str) -> Path:
    if not isinstance(value, str | Path):
        raise ConfigError(f"{key} must be the path of a run config", value=value)
    path = (study.parent / value).resolve()
    if not path.is_file():
        raise ConfigError(
            f"{key} must be a file", value=str(path), fix=f"it is relative to {study}"
        )
    return path


def _teacher(study: Path, teacher: Any) -> dict[str, Any]:
    if not isinstance(teacher, dict):
        raise ConfigError("teacher must be a dict or None", value=teacher)
    check_keys(teacher, _TEACHER_KEYS, "teacher")
    for key in ("config", "option"):
        if key not in teacher:
            raise ConfigError("teacher needs the key", value=key, fix=f"add it to {study}")
    if not isinstance(teacher["option"], str):
        raise ConfigError("teacher.option is a dotted option", value=teacher["option"])
    check_number("teacher.seed", teacher.get("seed", 0), 0)
    return {
        "seed": 0,
        "options": {},
        **teacher,
        "config": _file(study, teacher["config"], "teacher.config"),
    }
