"""Whether W&B can be used online, decided without a prompt.

In flow environment, settings file and netrc, out flows a mode. Nothing here asks the user anything,
and only ``reachable`` opens a socket: for 3 s at most, and only for a user who is logged in.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fourierkd.errors import ConfigError, one_line

MODES = ("online", "offline", "disabled")
PROBE_SECONDS = 3.0
_YES = ("true", "t", "yes", "y", "on", "1")
_ALIASES = {"dryrun": "offline", "run": "online", "shared": "online"}


def default_project() -> str:
    """Where runs go that name no project: WANDB_PROJECT, else ``fourierkd``."""
    return os.environ.get("WANDB_PROJECT") or "fourierkd"


def switched_off() -> bool:
    """Whether WANDB_DISABLED says so, in one of the words that W&B takes for yes."""
    return os.environ.get("WANDB_DISABLED", "").strip().lower() in _YES


def preload() -> None:
    """Import what a run needs of wandb, so that the children of a server that forks save 0.8 s.

    Starts nothing: wandb's service process belongs to the process that first calls ``wandb.init``.
    """
    import importlib

    for module in (
        "wandb",
        "wandb.sdk.launch",  # imported inside every first init, half of its time
        "wandb.analytics.opentelemetry.opentelemetry_proxy",  # inside the first log
        "wandb.sdk.lib.wbauth",
        "wandb.sdk.lib.service.service_connection",
        "requests",
        "yaml",
        "PIL.JpegImagePlugin",
        "PIL.PngImagePlugin",
    ):
        with suppress(ImportError):  # not this version's name: the run itself imports what it needs
            importlib.import_module(module)


def base_url() -> str:
    """Address of the W&B server: by WANDB_BASE_URL, ``wandb login --host``, else W&B's own."""
    import wandb

    return str(wandb.setup().settings.base_url)


def logged_in() -> bool:
    """True where WANDB_API_KEY, an identity token or a netrc entry for the server exists."""
    return _no_login() is None


def _no_login() -> str | None:
    """Why there is no login; None where there is one."""
    try:
        from wandb.sdk.lib import wbauth

        found = wbauth.authenticate_session(
            host=base_url(), source="fourierkd", prompt=False, update_session=False
        )
    except (ImportError, TypeError):  # another wandb version's private names: ask the environment
        found = os.environ.get("WANDB_API_KEY")
    except Exception as error:  # a key that wandb itself refuses is no login
        return one_line(error)
    return None if found else "not logged in (wandb login)"


def reachable(url: str) -> bool:
    """True where something listens at ``url``; True without a look behind a proxy."""
    parts = urlsplit(url)
    if not parts.hostname or (getproxies().get(parts.scheme) and not proxy_bypass(parts.hostname)):
        return True
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def choose_mode(requested: str | None) -> tuple[str, str]:
    """The mode a run uses, and a line that says why where it is not the one asked for.

    Args:
        requested: ``online``, ``offline``, ``disabled``, or None for WANDB_DISABLED, WANDB_MODE,
            the settings file, then online for those who are logged in.

    Returns:
        (mode, reason): one of MODES; the reason is empty where nothing was overruled.

    Raises:
        ConfigError: ``requested`` is another word.
    """
    if requested is not None and requested not in MODES:
        raise ConfigError("wandb.mode is one of online, offline, disabled", value=requested)
    if requested is None and switched_off():
        return "disabled", ""
    explicit = requested or os.environ.get("WANDB_MODE")
    mode = explicit or _settings_mode()
    mode = _ALIASES.get(mode, mode)
    if mode != "online":
        return (mode, "") if mode in MODES else ("offline", f"WANDB_MODE={mode} is no mode")
    if problem := _no_login():
        # Working without an account is normal and needs no line; a wrong key or an ask does.
        return "offline", problem if explicit or os.environ.get("WANDB_API_KEY") else ""
    url = base_url()
    return ("online", "") if reachable(url) else ("offline", f"no answer from {url}")


def _settings_mode() -> str:
    import wandb

    return str(wandb.setup().settings.mode)
