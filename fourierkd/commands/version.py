"""``fourierkd --version``: the versions that decide what a training gives; nothing is imported."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = {
    "fourierkd": "fourierkd",
    "torch": "torch",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
}


def version_lines() -> list[str]:
    """``name version`` of each package, Python last; ``not installed`` where one is not."""
    lines = []
    for name, package in PACKAGES.items():
        try:
            lines.append(f"{name} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return [*lines, f"python {platform.python_version()}"]
