"""Weights from elsewhere: in flow http(s) addresses, out flow local files, downloaded once.

The files stay in ``checkpoints/`` of the cache folder (``run_dir.cache_root``), where a user
without a network can put them too. Reading them is ``checkpoint.load_checkpoint``'s work, which
runs nothing that is in a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import re
import socket
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import torch
from mmengine.logging import print_log

from fourierkd.distill.checkpoint import sha256
from fourierkd.errors import CheckpointError
from fourierkd.run_dir import cache_root

PATIENCE = 30.0  # seconds without an answer
# "-1d2dac9c.pth": the model zoos end a name with the start of the file's SHA-256
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def is_address(name: str) -> bool:
    """Whether ``name`` is an http(s) address and no path."""
    return name.startswith(("http://", "https://"))


def cached_path(address: str) -> Path:
    """Where the file behind ``address`` lies once it is downloaded.

    A name without a hash is no identity: such a file gets a folder named by its whole address.
    """
    name = unquote(PurePosixPath(urlsplit(address).path).name)
    folder = cache_root() / "checkpoints"
    if not _HASH.search(name):
        folder /= hashlib.sha256(address.encode()).hexdigest()[:12]
    return folder / (name or "checkpoint.pth")


def fetch(address: str, *, option: str) -> Path:
    """The local copy of the file behind ``address``; processes that want it together wait.

    Args:
        address: http(s) address.
        option: the config's key that takes a local file in its place, for messages.

    Raises:
        CheckpointError: it cannot be downloaded, or its SHA-256 does not begin as its name says.
    """
    path = cached_path(address)
    named = _HASH.search(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            print_log(f"downloading {address} to {path}", "current")
            _download(address, path, named[1] if named else None, option)
        elif named and not sha256(path).startswith(named[1]):
            raise CheckpointError(
                f"a downloaded file's SHA-256 must begin with {named[1]}, as its name says",
                value=str(path),
                fix=f"delete it, or trust it: give a copy of another name as {option}=FILE",
            )
    return path


def _download(address: str, path: Path, prefix: str | None, option: str) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # torch's function takes none, and some networks just drop
    try:  # torch writes beside the path and renames what is whole and has the right hash
        torch.hub.download_url_to_file(address, str(path), hash_prefix=prefix, progress=False)
    except (URLError, http.client.HTTPException, RuntimeError, ConnectionError, TimeoutError) as e:
        reason = str(getattr(e, "reason", e)) or type(e).__name__
        raise CheckpointError(
            f"the weights cannot be downloaded ({reason})",
            value=address,
            fix=f"download them elsewhere and set {option}=FILE, or put them at {path}",
        ) from e
    finally:
        socket.setdefaulttimeout(timeout)
