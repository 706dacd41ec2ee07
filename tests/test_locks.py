"""Locks: who holds one, who inherits it, and what a file system without them is told."""

import errno
import multiprocessing
import os
import signal
import socket
import threading
import time

import pytest
from torch.utils.data import DataLoader, Dataset

from fourierkd import locks
from fourierkd.errors import RunError
from fourierkd.locks import Held, holder, locked
from fourierkd.run_dir import RunDir


def test_the_holder_is_named_with_host_and_process(tmp_path):
    name = f"process {os.getpid()} on {socket.gethostname()}"
    with locked(tmp_path / "lock"):
        with pytest.raises(Held) as held, locked(tmp_path / "lock"):
            pass
        assert held.value.holder == name
        assert (tmp_path / "lock").read_text() == name  # who asked did not write over it
        refused = pytest.raises(RunError, match=f"one process at a time, and {name} has it")
        with refused, RunDir(tmp_path).lock():
            pass
    with locked(tmp_path / "lock"):
        pass


def test_a_holder_is_seen_without_asking_for_the_lock(tmp_path):
    path = tmp_path / "lock"
    assert holder(path) is None
    name = f"process {os.getpid()} on {socket.gethostname()}"
    with locked(path):
        before = path.stat()
        assert holder(path) == (name, True)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    gone = multiprocessing.get_context("fork").Process(target=int)
    gone.start()
    gone.join()
    path.write_text(f"process {gone.pid} on {socket.gethostname()}")
    assert holder(path)[1] is False
    path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    os.utime(path, (1e9, 1e9))  # long before this process began: its number was another's
    assert holder(path) == (name, False)
    path.write_text("process 1 on another-machine")
    assert holder(path) == ("process 1 on another-machine", None)
    for content in ("", "process 99999999999999999999 on " + socket.gethostname()):
        path.write_text(content)
        assert holder(path) in (None, (content, False))


class Sleepy(Dataset):
    """Its sample takes for ever; it tells who reads it."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.path.write_text(str(os.getpid()))
        time.sleep(1000)


def train(folder):
    with RunDir(folder).lock():
        next(iter(DataLoader(Sleepy(folder / "worker"), num_workers=1)))


def test_a_loader_worker_that_hangs_does_not_keep_its_dead_run_locked(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=train, args=(tmp_path,))
    process.start()
    end = time.monotonic() + 60
    while not (tmp_path / "worker").exists() or not (tmp_path / "worker").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    worker = int((tmp_path / "worker").read_text())
    try:
        with pytest.raises(RunError, match=f"process {process.pid} on "), RunDir(tmp_path).lock():
            pass
        process.kill()
        process.join()
        os.kill(worker, 0)  # it is still there
        with RunDir(tmp_path).lock():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_who_waits_comes_after_the_holder(tmp_path):
    order = []

    def wait():
        with locked(tmp_path / "lock", wait=True):
            order.append("waited")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("held")
    thread.join(60)
    assert order == ["held", "waited"]


@pytest.mark.parametrize("wait", [False, True])
def test_a_link_is_not_followed(tmp_path, wait):
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock", wait=wait):
        pass
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_is_told_as_such(tmp_path, monkeypatch, wait):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.raises(RunError) as error, locked(tmp_path / "lock", wait=wait):
        pass
    assert "the file system must give a lock (No locks available)" in str(error.value)
    assert "nobody holds it" in str(error.value)
