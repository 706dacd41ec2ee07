"""What a run runs on: out flow versions, commit, device and threads.

No environment variables but a job's number, so no secrets.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from fourierkd.errors import ConfigError

PACKAGES = {
    "numpy": "numpy",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
    "optuna": "optuna",
    "wandb": "wandb",
    "fourierkd": "fourierkd",
}


def environment() -> dict[str, Any]:
    """Versions, commit, ``dirty``, device, device names, threads, host, job, processor, platform.

    MMEngine's own collection starts compilers to ask for their versions, and takes seconds.
    """
    cuda = torch.cuda.is_available()
    return {
        **code(),
        "device": "cuda" if cuda else "cpu",
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "job": job(),
        "cpu_count": os.cpu_count(),
        "processor": processor(),
        "platform": platform.platform(),
    }


def job() -> str | None:
    """What a job manager calls this process's job, such as ``Slurm job 12``; None: nobody did."""
    number = os.environ.get("SLURM_JOB_ID")
    return f"Slurm job {number}" if number else None


def where() -> str:
    """This process in words: its number, host and job."""
    words = f"process {os.getpid()} on {platform.node()}"
    return f"{words}, {job()}" if job() else words


def find_device(name: str | None) -> torch.device:
    """The named device, else CUDA where there is one, else the CPU.

    Raises:
        ConfigError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("no such device", value=name, fix="use --device cpu") from error
    return device


@functools.cache
def processor() -> str:
    """Name of the processor; its architecture where the system gives no name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name":
                return name.strip()
    return platform.processor() or platform.machine()


@functools.cache
def code() -> dict[str, Any]:
    """What cannot change while a process lives: versions and the commit of this checkout."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    versions["torch"] = torch.__version__  # with its build: a wheel's metadata may not have +cu130
    for name, package in PACKAGES.items():
        try:
            versions[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[name] = getattr(sys.modules.get(name), "__version__", None)
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"versions": versions, "commit": commit, "dirty": bool(status) if commit else None}


def _git(*arguments: str) -> str | None:
    """Output of git in the folder of this package; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
