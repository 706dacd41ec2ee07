"""The scope finds our classes, MMEngine's, and a package's once it is registered."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mmengine import registry as root

from fourierkd.distill import registry
from fourierkd.distill.register import register_all
from fourierkd.errors import ConfigError


def test_names_resolve_through_the_scope():
    register_all(["mmseg", "mmdet"])
    register_all(["mmseg"])
    ours = ("Distiller", "FourierLoss", "FeatureL2", "SpectralL2", "IoUAwareLoss")
    for name in (*ours, "ConvModule", "mmseg.EncoderDecoder"):
        assert registry.MODELS.get(name).__name__ == name.rpartition(".")[2]
    assert root.MODELS.get("fourierkd.Distiller") is registry.MODELS.get("Distiller")
    assert registry.HOOKS.get("CheckpointHook") is not None


def test_an_unknown_package_is_named():
    with pytest.raises(ConfigError, match="package of scope 'nothing_here' must be importable"):
        register_all(["nothing_here"])


def test_importing_the_scope_imports_no_task_package():
    code = (
        "import sys; from fourierkd.distill.register import register_all; register_all(); "
        "print([m for m in ('mmdet', 'mmseg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
