"""Whose classes a config means: in flow its values, out flows ``_scope_`` beside unprefixed types.

MMEngine looks a ``type`` up in the default scope, ours, unless its dict says another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fourierkd.config.keys import LOADERS
from fourierkd.distill.registry import HOOKS, TASK_SCOPES

SCOPES = ("mmdet", "mmseg", "mmengine", "mmcv")
EVALUATORS = ("val_evaluator", "test_evaluator")


def scope_children(value: Any) -> None:
    """Let what is inside ``type="mmseg.X"`` be built in scope mmseg, without its own prefix."""
    if isinstance(value, dict):
        kind = value.get("type")
        scope = kind.partition(".")[0] if isinstance(kind, str) and "." in kind else None
        if scope in SCOPES:
            value.setdefault("_scope_", scope)
        for item in value.values():
            scope_children(item)
    elif isinstance(value, list | tuple):
        for item in value:
            scope_children(item)


def scope_own(values: Mapping[str, Any]) -> None:
    """Let data, metrics and hooks of a config of MMDetection's or MMSegmentation's own style, which
    says its ``default_scope``, be that package's.

    In place; ours keep their names.
    """
    scope = values.get("default_scope")
    if scope not in TASK_SCOPES:
        return
    for loader in LOADERS:
        for key in ("dataset", "sampler", "batch_sampler"):
            _give((values.get(loader) or {}).get(key), scope)
    for evaluator in EVALUATORS:
        parts = values.get(evaluator)
        for part in parts if isinstance(parts, list | tuple) else [parts]:
            _give(part, scope)
    for hook in _hooks(values):
        if "." not in hook["type"] and HOOKS.get(hook["type"]) is None:
            _give(hook, scope)


def scope_hooks(values: Mapping[str, Any]) -> None:
    """Let what a package's hook builds later, outside of its own dict, be of its package.

    An average of weights, and the pipeline that ``PipelineSwitchHook`` puts in at a late epoch.
    """
    for hook in _hooks(values):
        scope = hook.get("_scope_") or values.get("default_scope")
        if scope not in TASK_SCOPES:
            continue
        average = hook.get("ema_type")
        if isinstance(average, str) and "." not in average:
            hook["ema_type"] = f"{scope}.{average}"
        for step in hook.get("switch_pipeline") or ():
            _give(step, scope)


def _give(part: Any, scope: str) -> None:
    if isinstance(part, dict) and "." not in str(part.get("type", ".")):
        part.setdefault("_scope_", scope)


def _hooks(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    default = (values.get("default_hooks") or {}).values()
    for hook in (*default, *(values.get("custom_hooks") or ())):
        if isinstance(hook, dict) and isinstance(hook.get("type"), str):
            yield hook
