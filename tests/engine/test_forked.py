"""Who ends the processes that a run forks, and what a run is told of one that died."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import torch

from fourierkd.engine.forked import LostWorkerError, lost_worker
from fourierkd.engine.run import stop_signals

FORK = multiprocessing.get_context("fork")
ORPHAN = """
import os, time
from fourierkd.engine.run import stop_signals
with stop_signals():
    if child := os.fork():
        print(child, flush=True)
        os._exit(0)
    os.closerange(0, 3)  # who reads the output waits for none
    time.sleep(600)
"""


def send(pid: int, number: int) -> None:
    """As another process does it, such as a job manager."""
    subprocess.run(["kill", f"-{number}", str(pid)], check=True)


def test_a_forked_process_ends_by_its_parents_sigterm_alone():
    """The pool of a metric ends its workers by SIGTERM and waits for them."""
    with stop_signals() as asked:
        for _ in range(30):  # at once, before Python has set the child up
            worker = FORK.Process(target=time.sleep, args=(60,))
            worker.start()
            os.kill(worker.pid, signal.SIGINT)  # Ctrl-C, which is for the run
            os.kill(worker.pid, signal.SIGTERM)
            worker.join(20)
            assert worker.exitcode == -signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == ["SIGTERM of its own"]  # those still reach the run


def test_a_stop_that_is_sent_to_all_leaves_a_forked_process_to_its_parent():
    def work(pipe):
        pipe.send("begun")
        pipe.send(pipe.recv())
        time.sleep(60)

    ours, theirs = FORK.Pipe()
    with stop_signals():
        worker = FORK.Process(target=work, args=(theirs,))
        worker.start()
        assert ours.recv() == "begun"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            send(worker.pid, number)
        ours.send("still here")
        assert ours.poll(20)
        assert ours.recv() == "still here"
        worker.terminate()
        worker.join(20)
    assert worker.exitcode == -signal.SIGTERM


def test_one_whose_parent_is_gone_ends_by_anybodys():
    told = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True
    )
    orphan = psutil.Process(int(told.stdout))
    assert orphan.status() != psutil.STATUS_ZOMBIE
    send(orphan.pid, signal.SIGTERM)
    with suppress(psutil.NoSuchProcess):  # who inherits it may not wait for it
        end = time.monotonic() + 60
        while orphan.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.05)


class Sliced(torch.utils.data.Dataset):
    """A worker that ends as ``how`` says at its second sample."""

    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            self.how()
        return index


@pytest.mark.parametrize("how", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(1)])
def test_a_worker_that_died_is_told_from_one_that_failed(how):
    with stop_signals(), pytest.raises(RuntimeError) as death:
        list(torch.utils.data.DataLoader(Sliced(how), num_workers=1))
    assert isinstance(lost_worker(death.value), LostWorkerError)
    wrapped = ValueError("something went wrong")
    wrapped.__cause__ = death.value
    assert isinstance(lost_worker(wrapped), LostWorkerError)

    def fail():
        raise OSError("unreadable")

    with stop_signals(), pytest.raises(OSError, match="unreadable") as failure:
        list(torch.utils.data.DataLoader(Sliced(fail), num_workers=1))
    assert lost_worker(failure.value) is None


@pytest.mark.parametrize("kind", [ConnectionRefusedError, EOFError])
def test_a_workers_closed_socket_is_its_death_and_others_are_not(monkeypatch, kind):
    """The kernel closes a killed worker's sockets before its parent can see that it died."""

    def closed(*arguments, **keywords):
        raise kind

    loader = iter(torch.utils.data.DataLoader(Sliced(lambda: None), num_workers=1))
    monkeypatch.setattr(loader._data_queue, "get", closed)
    with pytest.raises(kind) as death:
        next(loader)
    assert isinstance(lost_worker(death.value), LostWorkerError)
    assert lost_worker(kind()) is None
