"""Weights from elsewhere: in flow http(s) addresses, out flow local files, downloaded once.

The files stay in ``checkpoints/`` of the cache folder (``run_dir.cache_root``), where a user
without a network can put them too. Reading them is ``checkpoint.load_checkpoint``'s work, which
runs nothing that is in a file.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mmengine.logging import print_log

from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.fingerprint import BLOCK, file_sha256, sha256
from fourierkd.locks import locked
from fourierkd.options import refuse_passwords
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

    Raises:
        ConfigError: the address does not end with the name of a file.
    """
    name = unquote(urlsplit(address).path).rpartition("/")[2]  # "%2F" is a slash as well
    if name in ("", ".", "..") or "\0" in name:
        raise ConfigError(
            "an address of weights ends with the name of a file",
            value=address,
            fix="download it yourself and give the file",
        )
    folder = cache_root() / "checkpoints"
    if not _HASH.search(name):
        folder /= sha256(address.encode())[:12]
    return folder / name


def fetch(address: str, *, option: str) -> Path:
    """The local copy of the file behind ``address``; processes that want it together wait.

    Args:
        address: http(s) address.
        option: the config's key that takes a local file in its place, for messages.

    Raises:
        ConfigError: the address holds a password, or no file's name.
        CheckpointError: it cannot be downloaded whole, or its SHA-256 does not begin as its name
            says.
    """
    refuse_passwords(address)
    path = cached_path(address)
    named = _HASH.search(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / f".{path.name}.lock", wait=True):
        if not path.exists():
            print_log(f"downloading {address} to {path}", "current")
            _download(address, path, named[1] if named else "", option)
        elif named and not file_sha256(path).startswith(named[1]):
            raise CheckpointError(
                f"a downloaded file's SHA-256 must begin with {named[1]}, as its name says",
                value=str(path),
                fix=f"delete it, or trust it: give a copy of another name as {option}=FILE",
            )
    return path


class _HttpAlone(HTTPRedirectHandler):
    """Follows redirects to http(s) only; urllib's own goes to ftp as well."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not is_address(newurl):
            raise URLError(f"it leads to {urlsplit(newurl).scheme}, not to http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(address: str, path: Path, prefix: str, option: str) -> None:
    """Write beside ``path``, and rename what is whole and has the right hash."""
    try:
        with (
            build_opener(_HttpAlone).open(address, timeout=PATIENCE) as answer,
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder,
        ):
            whole = _receive(answer, Path(folder, "file"), prefix)
            whole.replace(path)
    except (URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as e:
        reason = str(getattr(e, "reason", e)) or type(e).__name__
        raise CheckpointError(
            f"the weights cannot be downloaded ({reason})",
            value=address,
            fix=f"download them elsewhere and set {option}=FILE, or put them at {path}",
        ) from e


def _receive(answer: Any, path: Path, prefix: str) -> Path:
    """Write an answer's body to ``path``; URLError where it is not what was announced."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while block := answer.read(BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
    announced = answer.headers.get("Content-Length")
    if announced is not None and size != int(announced):
        raise URLError(f"{size} of {announced} bytes came")
    if not digest.hexdigest().startswith(prefix):
        raise URLError(f"its SHA-256 begins with {digest.hexdigest()[:16]}, its name says {prefix}")
    return path
