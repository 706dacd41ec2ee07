"""Model configs: in flows a name, a name with overrides, or a dict; out flows one plain dict.

The dict carries ``_scope_``, so MMEngine builds it and everything inside it from the right
package's registry. ``mmdet::`` and ``mmseg::`` names resolve to the installed package's own
configs (MMEngine's resolver would install the stock package over the maintained one).
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel

from fourierkd.distill.refusals import refusal
from fourierkd.distill.registry import MODELS, SCOPE, TASK_SCOPES, register_scope
from fourierkd.errors import ConfigError, near

ModelSpec = str | Mapping[str, Any]


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


def resolve_model(spec: ModelSpec) -> dict[str, Any]:
    """The model's own dict, with ``_scope_``, from any of the three forms.

    Args:
        spec: a config's name or path; ``dict(config=name, overrides={"dotted.key": value})``,
            where a value replaces what stands at the key as a whole; or an inline dict with
            ``type="mmseg.EncoderDecoder"``.

    Raises:
        ConfigError: the form, the config's name or a key of ``overrides`` is wrong.
    """
    if isinstance(spec, str):
        return _from_file(spec)
    if not isinstance(spec, Mapping):
        raise ConfigError(
            "a model is a config name, dict(config=...) or an inline dict", value=spec
        )
    plain = to_plain(spec)
    if "config" in plain:
        for key in set(plain) - {"config", "overrides"}:
            raise ConfigError(
                "unknown key of a model", value=key, fix=near(key, ("config", "overrides"))
            )
        model = _from_file(plain["config"])
        for key, value in (plain.get("overrides") or {}).items():
            replace_at(model, key, value)
    else:
        model = plain
    kind = model.get("type")
    if not isinstance(kind, str):
        raise ConfigError(
            "an inline model names its class, as in type='mmseg.EncoderDecoder'", value=kind
        )
    model.setdefault("_scope_", kind.rpartition(".")[0] or SCOPE)
    return model


def replace_at(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set ``tree`` at a dotted ``key`` (a number indexes a list); a new last part is allowed.

    Raises:
        ConfigError: a part of the key but the last does not exist.
    """
    node: Any = tree
    *parents, last = key.split(".")
    for part in [*parents, None]:
        if part is None and isinstance(node, dict):
            node[last] = _like(node.get(last), value)
            return
        index = last if part is None else part
        if isinstance(node, list) and index.isdigit() and int(index) < len(node):
            if part is None:
                node[int(last)] = _like(node[int(last)], value)
                return
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            known = list(node) if isinstance(node, dict) else []
            raise ConfigError(
                f"no {index!r} on the way of an override", value=key, fix=near(index, known)
            )


def _like(old: Any, new: Any) -> Any:
    """A copy of ``new``; a list in a tuple's place becomes one: a request's JSON has no tuples."""
    if isinstance(old, tuple) and isinstance(new, list):
        return tuple(copy.deepcopy(new))
    return copy.deepcopy(new)


def build_model(spec: ModelSpec, *, role: str) -> BaseModel:
    """Build a student or a teacher under its own package's registry scope.

    Raises:
        ConfigError: the spec is wrong, or the package refuses it (its reason is in the message).
    """
    config = resolve_model(spec)
    register_scope(config["_scope_"])
    try:
        return MODELS.build(ConfigDict(copy.deepcopy(config)))
    except (TypeError, KeyError, ValueError, AttributeError, AssertionError) as error:
        refused = refusal(error)
        if refused is not None:
            raise ConfigError(
                f"the {role} cannot be built: {refused.rule}", value=refused.value, fix=refused.fix
            ) from error
        raise ConfigError(f"the {role} cannot be built from its config ({error})") from error


def student_config(run: Mapping[str, Any]) -> dict[str, Any]:
    """The student alone as a config that plain MMDetection or MMSegmentation reads.

    Args:
        run: a resolved run config (``model`` is a Distiller).

    Returns:
        ``default_scope``, ``model``, and, where the run has a test split, ``test_dataloader``,
        ``test_evaluator``, ``test_cfg`` and ``test_pipeline``, all without scope prefixes of their
        own.
    """
    model = resolve_model(run["model"]["student"])
    scope = model["_scope_"]
    config: dict[str, Any] = {"default_scope": scope, "model": model}
    for key in ("test_dataloader", "test_evaluator", "test_cfg"):
        if run.get(key) is not None:
            config[key] = to_plain(run[key])
    data = config.get("test_dataloader", {}).get("dataset", {})
    while "pipeline" not in data and "dataset" in data:
        data = data["dataset"]
    if "pipeline" in data:
        config["test_pipeline"] = data["pipeline"]
    plain: dict[str, Any] = _without_scope(config, scope)
    return plain


def _without_scope(node: Any, scope: str) -> Any:
    if isinstance(node, dict):
        own = ("_scope_", scope)
        kept = {k: _without_scope(v, scope) for k, v in node.items() if (k, v) != own}
        if isinstance(kept.get("type"), str):
            kept["type"] = kept["type"].removeprefix(f"{scope}.")
        return kept
    if isinstance(node, (list, tuple)):
        return type(node)(_without_scope(item, scope) for item in node)
    return node


def to_plain(node: Any) -> Any:
    """A deep copy with plain dicts, lists and tuples in place of MMEngine's config types."""
    if isinstance(node, ConfigDict):
        node = node.to_dict()
    if isinstance(node, Mapping):
        return {key: to_plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(to_plain(value) for value in node)
    return node


def _from_file(name: str) -> dict[str, Any]:
    path = package_config(name) if "::" in name else Path(name)
    if not path.is_file():
        raise ConfigError("no such model config", value=name, fix="check the path")
    config = Config.fromfile(path)
    if "model" not in config:
        raise ConfigError("a model config has a `model`", value=name)
    model: dict[str, Any] = to_plain(config.model)
    scope = name.partition("::")[0] if "::" in name else config.get("default_scope", SCOPE)
    model.setdefault("_scope_", model["type"].rpartition(".")[0] or scope)
    return model
