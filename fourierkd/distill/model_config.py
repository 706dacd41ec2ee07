"""Model configs: in flows a name, a name with overrides, or a dict; out flows one plain dict.

The dict carries ``_scope_``, so MMEngine builds it and everything inside it from the right
package's registry.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.model import BaseModel

from fourierkd.distill.config_files import read_file, to_plain
from fourierkd.distill.refusals import refusal
from fourierkd.distill.registry import MODELS, SCOPE, register_scope
from fourierkd.errors import ConfigError, near

ModelSpec = str | Mapping[str, Any]


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


def _from_file(name: Any) -> dict[str, Any]:
    if not isinstance(name, str):
        raise ConfigError("a model's config is a path or a package's name", value=name)
    config = read_file(name)
    model: Any = config.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("type"), str):
        raise ConfigError("a model config has a `model` with a type", value=name)
    scope = name.partition("::")[0] if "::" in name else config.get("default_scope", SCOPE)
    model.setdefault("_scope_", model["type"].rpartition(".")[0] or scope)
    return model
