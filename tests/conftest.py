"""What tests of several folders share. Torch and MMEngine are imported by those that need them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _wandb_ends_with_its_test() -> Iterator[None]:
    """W&B leaves the address of its service in the environment, for any later test's children.

    A fixture that unsets it for one test and ends the session sets it again when that is dead.
    """
    yield
    if os.environ.get("WANDB_SERVICE"):
        import wandb

        wandb.teardown()
        os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Home folder of somebody who never logged in to W&B; yields it."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    yield folder
    import wandb
    from wandb.sdk.lib import wbauth

    wandb.teardown()
    wbauth.unauthenticate_session(update_settings=False)
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A W&B server on this machine, and somebody logged in to it."""
    from tests.tracking.wandb_loopback import FAKE_KEY, LoopbackServer

    with LoopbackServer() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
        yield running
        import wandb

        wandb.teardown()


@pytest.fixture
def few_threads():
    """As OMP_NUM_THREADS says, else one: with tiny tensors they only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_scope():
    """``init_model``, ``init_detector`` and Runner set MMEngine's default scope."""
    from mmengine.registry import DefaultScope

    before = dict(DefaultScope._instance_dict)
    with DefaultScope.overwrite_default_scope("fourierkd"):
        yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
