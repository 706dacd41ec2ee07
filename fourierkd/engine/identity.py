"""Whether a run that goes on is still itself: in flow its config and data, out flows a refusal.

A curve of two configs or two data sets looks like a curve of one. So a run keeps what it is: its
resolved config (``config.py``), the models that it names by file or package, and its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fourierkd.config.load import RunConfig
from fourierkd.distill.model_config import resolve_model
from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.fingerprint import data_fingerprint, different_keys, digest, is_path
from fourierkd.literals import read_literals
from fourierkd.run_dir import RunDir, read_json

KEY = "identity"  # of environment.json
MOST = 8  # keys that a message names
NEW = "restore it, or start another --work-dir"


def identity(config: RunConfig) -> dict[str, str | None]:
    """Digests of a resolved config without its paths, and of what it only names: data, and models
    of files and packages.
    """
    root, model = config.get("data_root"), config.get("model") or {}
    teacher = model.get("teacher")
    named = {
        "student": model.get("student"),
        "teacher": teacher.get("model") if isinstance(teacher, Mapping) else None,
    }
    return {
        "config": digest(_placeless(_plain(config.to_dict()))),
        "data": None if root is None else data_fingerprint(root),
        **{role: spec and digest(_plain(resolve_model(spec))) for role, spec in named.items()},
    }


def check_identity(run_dir: RunDir, config: RunConfig, now: Mapping[str, str | None]) -> None:
    """Refuse to go on with a run under another config or on other data.

    Args:
        run_dir: of a run that was started before; one of an older version knows less of itself.
        config: resolved and complete.
        now: its ``identity``.

    Raises:
        CheckpointError: something differs; the line names the keys.
    """
    keys = changed_keys(run_dir, config)
    if keys:
        raise CheckpointError(
            "a run is resumed with the config that it was started with, and these keys differ",
            value=", ".join(keys[:MOST]) + (", ..." if len(keys) > MOST else ""),
            fix=NEW,
        )
    known = (read_json(run_dir.environment) or {}).get(KEY) or {}
    for role in ("student", "teacher"):
        if known.get(role, now[role]) != now[role]:
            raise CheckpointError(
                f"a run is resumed with the models that it was started with, and the {role}'s "
                "config differs",
                value=str(config.model.get(role)),
                fix=NEW,
            )
    if known.get("data", now["data"]) != now["data"]:
        raise CheckpointError(
            "a run is resumed on the data that it was started on, and files of it differ",
            value=str(config.get("data_root")),
            fix=NEW,
        )


def changed_keys(run_dir: RunDir, config: RunConfig) -> list[str]:
    """Dotted keys in which ``config`` differs from the one that the run was started with.

    Paths do not count: a folder may have moved, and what lies there is compared by content.
    """
    if not run_dir.config.exists() or run_dir.config.read_text() == config.pretty_text:
        return []
    try:
        old = read_literals(run_dir.config)
    except ConfigError:  # a module's objects are in it
        return ["(one that config.py cannot say)"]
    now = _plain(config.to_dict())
    if "taps" not in old:  # begun by a version that did not keep them
        now.pop("taps", None)
    return sorted(different_keys(old, now))


def _placeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_placeless(item) for item in value]
    return "/" if is_path(value) else repr(value)  # nan is no JSON


def _plain(value: Any) -> Any:
    """As a file gives it back; what is no literal is its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
