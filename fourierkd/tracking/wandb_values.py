"""What W&B is told of a run, in the types it takes: config, tags, scalars and table cells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fourierkd.records import Request
from fourierkd.run_dir import RunDir, read_json

PHASE_METHOD = "phase_method"  # config key: what a study's runs are grouped by, ``final pkd``


def run_config(run_dir: RunDir, request: Request, config: dict[str, Any]) -> dict[str, Any]:
    """The W&B config: what tells runs apart at the top, the resolved config as ``run``."""
    asked = request.to_json()
    top = {key: asked[key] for key in ("method", "phase", "study", "seed", "trial")}
    parameters = {parameter_key(k): v for k, v in asked["parameters"].items()}
    environment = read_json(run_dir.environment) or {}
    plain: dict[str, Any] = _plain(
        {
            **top,
            PHASE_METHOD: f"{asked['phase']} {asked['method']}",
            "parameters": parameters,
            "metric": config.get("metric"),
            "commit": environment.get("commit"),
            "run": config,
        }
    )
    return plain


def tags(request: Request) -> list[str]:
    """Phase, method and study, each once and at most 64 characters long, as W&B wants it."""
    words = (request.phase.value, request.method, request.study)
    return list(dict.fromkeys(str(word)[:64] for word in words if word))


def parameter_key(name: str) -> str:
    """A parameter's key in W&B, which would look ``mask.low_pass.cutoff`` up inside ``mask``."""
    return name.replace(".", "_")


def loggable(value: Any) -> bool:
    """False for None and for a number that is not finite."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def cell(value: Any) -> Any:
    """A table's cell: a number, bool or text; JSON for a container, None for what is missing."""
    value = _plain(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    if isinstance(value, str) and value in ("NaT", "<NA>"):
        return None
    return None if isinstance(value, float) and value != value else value


def _plain(value: Any) -> Any:
    """``value`` in JSON's types: what is none of them becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
