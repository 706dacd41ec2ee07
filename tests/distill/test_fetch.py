"""Downloaded weights: once, whole, with the hash their name says; else one line with the remedy."""

from __future__ import annotations

import functools
import hashlib
import http.server
import multiprocessing
import socket
import threading
from pathlib import Path

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.fetch import cached_path, fetch
from fourierkd.errors import CheckpointError, ConfigError

ZOO = "https://download.openmmlab.com/mmdetection/v2.0/x/"
OPTION = "model.teacher.checkpoint"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def site(tmp_path):
    """A folder served over http; ``asked`` counts the requests by path."""
    folder = tmp_path / "site"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

        def log_error(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()
    server.server_close()


def publish(folder: Path, content: bytes, stem: str = "net") -> str:
    """Write a file as the zoos name it; its name is returned."""
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    return name


def test_names_of_the_zoos_are_files_of_the_cache(cache):
    escaped = ZOO + "reppoints_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth?download=1"
    assert cached_path(escaped) == cache / "reppoints_gn-neck+head_2x_coco_20200329-f87da1ea.pth"
    plain = cached_path("https://a.org/pvt_v2_b2.pth"), cached_path("https://b.org/pvt_v2_b2.pth")
    assert {p.name for p in plain} == {"pvt_v2_b2.pth"}
    assert plain[0] != plain[1]  # two files of one name


def test_a_file_is_downloaded_once(site, cache):
    address, folder, asked = site
    name = publish(folder, b"weights")
    path = fetch(f"{address}/{name}", option=OPTION)
    assert path == cache / name
    assert path.read_bytes() == b"weights"
    (folder / name).unlink()
    assert fetch(f"{address}/{name}", option=OPTION) == path
    assert asked == [f"/{name}"]


def _fetch(address: str) -> str:
    return str(fetch(address, option=OPTION))


def test_processes_download_together_once(site, cache):
    address, folder, asked = site
    name = publish(folder, b"x" * 3_000_000)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert set(pool.map(_fetch, [f"{address}/{name}"] * 4)) == {str(cache / name)}
    assert len(asked) == 1


def test_a_file_of_another_hash_is_refused_and_not_kept(site, cache):
    address, folder, _ = site
    (folder / "net-0123abcd.pth").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="its name says 0123abcd") as error:
        fetch(f"{address}/net-0123abcd.pth", option=OPTION)
    assert "model.teacher.checkpoint=FILE" in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name for p in cache.iterdir()] == [".net-0123abcd.pth.lock"]
    (cache / "net-0123abcd.pth").write_bytes(b"put there by hand")
    with pytest.raises(CheckpointError, match="SHA-256 must begin with 0123abcd.*delete it"):
        fetch(f"{address}/net-0123abcd.pth", option=OPTION)


@pytest.mark.parametrize("inside", ["%2F", "x%2F", "..%2F..%2F"])
def test_a_download_is_named_by_the_last_part_and_is_no_path(site, cache, tmp_path, inside):
    address, folder, _ = site
    name = publish(folder, b"weights")
    escaped = str(tmp_path / "outside").replace("/", "%2F")
    for where in (f"{address}/{inside}{name}", f"{address}/{escaped}%2F{name}"):
        assert cached_path(where) == cache / name
    plain = cached_path(f"{address}/%2Ftmp%2Fusercustomize.py")
    assert plain.name == "usercustomize.py"
    assert plain.parent.parent == cache


@pytest.mark.parametrize(
    "end", ["", "/", "/..", "/.", "/a%2F", "/a%2F..", "/a%00b.pth", "?x=a.pth"]
)
def test_an_address_without_a_files_name_is_refused(end):
    with pytest.raises(ConfigError, match="ends with the name of a file"):
        cached_path(f"http://127.0.0.1:9{end}")


@pytest.fixture
def answer():
    """An address whose server sends the given head, and then a body of three bytes."""
    servers = []

    def serve(head: str) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def send() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\nabc".encode())

        threading.Thread(target=send, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/net.pth"

    yield serve
    for server in servers:
        server.close()


def test_a_download_that_breaks_off_is_not_kept(answer):
    where = answer("200 OK\r\nContent-Length: 1400")
    with pytest.raises(CheckpointError, match="3 of 1400 bytes came"):
        fetch(where, option=OPTION)
    assert not cached_path(where).exists()


def test_a_redirect_away_from_http_is_not_followed(answer):
    where = answer("302 Found\r\nLocation: ftp://127.0.0.1:9/net.pth")
    with pytest.raises(CheckpointError, match="leads to ftp"):
        fetch(where, option=OPTION)


def test_a_password_is_in_no_message(capfd):
    with pytest.raises(ConfigError, match="holds no user and password") as error:
        fetch("https://me:s3cret@127.0.0.1:9/net.pth", option=OPTION)
    out, err = capfd.readouterr()
    assert "s3cret" not in str(error.value) + out + err


def test_without_a_network_the_remedy_is_named(site, cache):
    address, _, _ = site
    for where, reason in ((f"{address}/none-0123abcd.pth", "ile not found"),
                          ("http://127.0.0.1:9/none-0123abcd.pth", "refused")):  # fmt: skip
        with pytest.raises(CheckpointError, match=reason) as error:
            fetch(where, option=OPTION)
        assert f"set model.teacher.checkpoint=FILE, or put them at {cache}" in str(error.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("fourierkd.distill.fetch.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}/none-0123abcd.pth"
        with pytest.raises(CheckpointError, match="timed out"):
            fetch(where, option=OPTION)
    assert socket.getdefaulttimeout() is None


def test_a_teacher_by_address(site, toy, tmp_path):
    address, folder, _ = site
    loss = {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FeatureL2"}}

    def build(checkpoint: str) -> Distiller:
        return Distiller(toy(), {"model": toy(), "checkpoint": checkpoint}, {"l2": loss})

    trained = build("random").teacher.model
    torch.save({"meta": {}, "state_dict": trained.state_dict()}, tmp_path / "t.pth")
    name = publish(folder, (tmp_path / "t.pth").read_bytes())
    model = build(f"{address}/{name}")
    for key, value in model.teacher.model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])
    assert model.teacher.sha256.startswith(name[4:12])
