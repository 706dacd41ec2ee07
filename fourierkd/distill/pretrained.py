"""A student's pretrained backbone: in flows its model config, out flow weights that run no code.

MMEngine's own loader falls back to full unpickling, and ``torchvision://`` names need torchvision.
While ``safe_pretraining`` is open, whatever MMEngine, MMDetection or MMSegmentation load as
pretrained weights comes from ``local_weights`` and is read by ``checkpoint.load_checkpoint``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
)

from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.fetch import cached_path, fetch, is_address
from fourierkd.distill.model_config import ModelSpec, resolve_model
from fourierkd.errors import ConfigError, near

OPTION = "model.pretrained"
SCHEMES = ("torchvision", "modelzoo", "open-mmlab", "openmmlab", "mmcls")


def set_pretrained(model: dict[str, Any], pretrained: bool | str) -> dict[str, Any]:
    """A copy of a resolved model config with other pretrained weights.

    Args:
        model: its ``init_cfg`` entries with a ``checkpoint``, and its ``pretrained`` entries, are
            meant, at any depth.
        pretrained: True leaves them, False takes them out (random initial weights), a path or an
            address takes the place of the only one.

    Raises:
        ConfigError: another value; or a path where there is no place for it, or more than one.
    """
    model = copy.deepcopy(model)
    if pretrained is True:
        return model
    if pretrained is not False and not (isinstance(pretrained, str) and pretrained):
        raise ConfigError(f"{OPTION} is True, False or a file", value=pretrained)
    places = list(_places(model))
    if pretrained is not False and len(places) != 1:
        raise ConfigError(
            f"{OPTION} as a file takes the place of the student's only pretrained weights",
            value=f"{len(places)} places",
            fix="override init_cfg in model.student",
        )
    for node, key in places:
        if pretrained is False:
            node[key] = None
        elif key == "pretrained":
            node[key] = pretrained
        else:
            node[key] = {**node[key], "checkpoint": pretrained}
    return model


def _places(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a config names pretrained weights: dict and key."""
    children = list(node.items()) if isinstance(node, dict) else []
    for key, value in children:
        weights = value.get("checkpoint") if isinstance(value, dict) else value
        if key in ("pretrained", "init_cfg") and isinstance(weights, str):
            yield node, key
        else:
            yield from _places(value)
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _places(item)


def local_weights(name: str) -> Path:
    """A local file of the weights that a config calls ``name``.

    Args:
        name: ``torchvision://resnet50``, ``open-mmlab://resnet18_v1c``, ``mmcls://...``, an http(s)
            address or a path.

    Raises:
        ConfigError: a scheme or a name that MMEngine's tables do not have.
        CheckpointError: it cannot be downloaded.
    """
    name = _address_or_path(name)
    return fetch(name, option=OPTION) if is_address(name) else Path(os.path.expanduser(name))


def is_local(name: str) -> bool:
    """Whether the weights that a config calls ``name`` need no download.

    Raises:
        ConfigError: as ``local_weights``.
    """
    name = _address_or_path(name)
    return not is_address(name) or cached_path(name).is_file()


def pretrained_names(model: ModelSpec) -> list[str]:
    """What a model config calls its pretrained weights."""
    found = (node[key] for node, key in _places(resolve_model(model)))
    return [str(w["checkpoint"] if isinstance(w, dict) else w) for w in found]


def _address_or_path(name: str) -> str:
    """What a name of MMEngine's tables stands for."""
    scheme, found, key = name.partition("://")
    if found and not is_address(name):
        if scheme not in SCHEMES:
            raise ConfigError("weights of an unknown scheme", value=name, fix=near(scheme, SCHEMES))
        if scheme in ("torchvision", "modelzoo"):
            hub = Path(mmengine.__file__).parent / "hub" / "torchvision_0.12.json"
            table = mmengine.load(hub)
        elif scheme == "mmcls":
            table = get_mmcls_models()
        else:
            table, key = get_external_models(), get_deprecated_model_names().get(key, key)
        if key not in table:
            raise ConfigError("unknown pretrained weights", value=name, fix=near(key, table))
        name = table[key]
    return name


@contextmanager
def safe_pretraining() -> Iterator[None]:
    """Within: pretrained weights are read as ``load_checkpoint`` reads, which runs nothing."""
    original = vars(CheckpointLoader)["load_checkpoint"]

    def load(filename: str, *_: Any, **__: Any) -> dict[str, Any]:
        return load_checkpoint(local_weights(filename))

    CheckpointLoader.load_checkpoint = staticmethod(load)
    try:
        yield
    finally:
        CheckpointLoader.load_checkpoint = original
