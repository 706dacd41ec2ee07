"""A W&B server for each test, on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for wandb_loopback


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A W&B server on this machine, and somebody logged in to it."""
    from wandb_loopback import FAKE_KEY, LoopbackServer

    with LoopbackServer() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
        yield running
        import wandb

        wandb.teardown()
