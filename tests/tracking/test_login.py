"""Online, offline or not at all: decided from environment and files, without a prompt."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_loopback import FAKE_KEY, LoopbackServer

from fourierkd.errors import ConfigError
from fourierkd.tracking import login
from fourierkd.tracking.login import base_url, choose_mode, logged_in, reachable


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(login.socket, "create_connection", refuse)


def test_nobody_logged_in_is_offline_without_a_word(home: Path, no_network: None) -> None:
    assert not logged_in()
    assert choose_mode(None) == ("offline", "")
    assert choose_mode("disabled") == ("disabled", "")


def test_asked_for_online_but_not_logged_in_says_so(home: Path, no_network: None) -> None:
    assert choose_mode("online") == ("offline", "not logged in (wandb login)")


def test_a_key_and_a_server_are_online(server: LoopbackServer) -> None:
    assert base_url() == server.url
    assert choose_mode(None) == ("online", "")
    assert choose_mode("offline") == ("offline", "")


def test_a_netrc_entry_for_the_host_is_a_login(
    home: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    netrc = home / ".netrc"
    netrc.write_text(f"machine example.org\n login user\n password {FAKE_KEY}\n")
    assert not logged_in()
    netrc.write_text(f"machine 127.0.0.1:9\n login user\n password {FAKE_KEY}\n")
    assert logged_in()


@pytest.mark.parametrize(
    ("variable", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_wandb_mode_is_honoured(
    variable: str, mode: str, home: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert choose_mode(None) == (mode, "")


@pytest.mark.parametrize("word", ["true", "True", "1", "yes"])
def test_wandb_disabled_is_obeyed_where_no_option_says_otherwise(
    word: str, home: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("WANDB_DISABLED", word)
    assert choose_mode(None) == ("disabled", "")
    assert choose_mode("offline") == ("offline", "")
    monkeypatch.setenv("WANDB_DISABLED", "false")
    assert choose_mode(None) == ("offline", "")


def test_the_settings_file_of_wandb_login_is_honoured(home: Path, no_network: None) -> None:
    settings = home / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = http://127.0.0.1:9\nmode = offline\n")
    assert base_url() == "http://127.0.0.1:9"
    assert choose_mode(None) == ("offline", "")


def test_no_answer_is_offline_with_a_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
        assert choose_mode(None) == ("offline", f"no answer from {url}")


def test_a_proxy_is_asked_instead_of_the_host(
    monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert reachable("https://api.example.org")


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ConfigError, match="one of online, offline, disabled, got 'maybe'"):
        choose_mode("maybe")


def test_no_prompt_on_a_terminal(home: Path, tmp_path: Path) -> None:
    """With a terminal for stdin and nobody logged in, W&B itself would ask; we must not."""
    script = (
        "from fourierkd.records import Request, State, Tracking\n"
        "from fourierkd.run_dir import RunDir\n"
        "from fourierkd.tracking.wandb_backend import WandbBackend\n"
        f"run_dir = RunDir({str(tmp_path / 'run')!r})\n"
        "asked = Request(config='', seed=0, wandb=Tracking(mode='online'))\n"
        "b = WandbBackend(run_dir, asked, {})\n"
        "print(b.mode)\n"
        "b.close(State.COMPLETE)\n"
    )
    terminal, other_end = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            stdin=other_end,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    finally:
        os.close(terminal)
        os.close(other_end)
    assert done.stdout.strip() == "offline"
    assert "not logged in" in done.stderr
