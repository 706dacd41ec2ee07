"""What stands in docs/api.md: it runs, it is light to import, and it is typed."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


def test_the_page_runs(monkeypatch):
    monkeypatch.chdir(REPO)
    found = doctest.testfile(str(REPO / "docs/api.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0


@pytest.mark.parametrize(
    ("name", "light"),
    [
        ("fourierkd.losses", ("mmengine", "mmcv", "pandas", "optuna", "wandb", "scipy")),
        ("fourierkd.spectral", ("mmengine", "mmcv", "pandas", "optuna", "wandb", "scipy")),
        ("fourierkd.analysis", ("torch", "mmengine", "optuna", "wandb", "plotly", "matplotlib")),
    ],
)
def test_importing_it_loads_nothing_heavy(name, light):
    code = (
        f"import sys, {name}; print(*({{m.partition('.')[0] for m in sys.modules}} & set({light})))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == []
    module = importlib.import_module(name)
    for part in module.__all__:
        assert getattr(module, part).__doc__, part
    assert module.__all__ == sorted(module.__all__)
    assert (REPO / "fourierkd/py.typed").is_file()
