"""Several processes train one run: in flows a launcher's name, out flows their process group.

Rank 0 leads: it alone writes, and speaks on the terminal. Stops are agreed on, so that every rank
ends after the same iteration. A rank that fails tells why in the group's store; the others, whose
next collective breaks, find it there, so that the result and the one message name the cause.

Beside the default group (NCCL on CUDA, gloo on the CPU) stands a gloo group for what is no tensor
of the training: it costs no wait for the device.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

import torch
from mmengine.dist import get_rank, get_world_size, init_dist, is_distributed
from torch import distributed
from torch.distributed import ProcessGroup
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from fourierkd.errors import EXIT_BAD_INPUT, ConfigError, FourierKDError, RunError

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = datetime.timedelta(minutes=30)  # of a collective of the training
CONTROL_TIMEOUT = datetime.timedelta(hours=24)  # ranks wait while rank 0 makes the data
GRACE = 3.0  # seconds for another rank to tell why it failed
# How a collective ends whose peer has died.
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|remote process", re.IGNORECASE
)
WishT = TypeVar("WishT")
_groups: dict[str, Any] = {"control": None, "store": None}


@contextmanager
def launched(launcher: str) -> Iterator[None]:
    """Within: this process is one rank of the group that ``launcher`` started.

    Args:
        launcher: "none" for a single process; "pytorch" under torchrun; "slurm" under srun.

    Raises:
        ConfigError: the process was not started by that launcher, or there are too few GPUs.
        FourierKDError: what the body raised. On other ranks than 0 the process exits with the same
            code instead, without a word where rank 0 has told the failure.
    """
    if launcher == "none":
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
            _refuse(
                ConfigError(
                    "torchrun started several processes, and --launcher is 'none'",
                    fix="add --launcher pytorch",
                )
            )
        yield
        return
    try:
        _start(launcher)
    except FourierKDError as error:
        _refuse(error)
    try:
        yield
        wait()
    except BaseException as error:  # the group is left as it is: NCCL would wait for the dead
        if leads() and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, until the word is out
        cause = root_cause(error)
        if not leads():
            _exit_quietly(cause)
        if cause is error:
            raise
        raise cause from error
    else:
        distributed.destroy_process_group()
    finally:
        _groups.update(control=None, store=None)


def leads() -> bool:
    """Whether this process writes: rank 0, or the only one."""
    result: bool = get_rank() == 0
    return result


def wait() -> None:
    """Until every rank is here."""
    if is_distributed():
        distributed.barrier(group=_groups["control"])


def gather(value: Any) -> list[Any]:
    """``value`` of every rank, by rank; plain data and CPU tensors."""
    if not is_distributed():
        return [value]
    values = [None] * get_world_size()
    distributed.all_gather_object(values, value, group=_groups["control"])
    return values


def from_leader(value: Any) -> Any:
    """Rank 0's ``value``, on every rank."""
    if not is_distributed():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0, group=_groups["control"])
    return values[0]


def first_wish(wish: WishT | None) -> WishT | None:
    """The first rank's wish that is not None, on every rank; one small all_reduce where none is."""
    if not is_distributed():
        return wish
    wished = torch.tensor(wish is not None, dtype=torch.int32)
    distributed.all_reduce(wished, distributed.ReduceOp.MAX, group=_groups["control"])
    if not wished.item():
        return None
    result: WishT | None = next(w for w in gather(wish) if w is not None)
    return result


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """Means over ranks of values with the same keys everywhere."""
    if not is_distributed():
        return dict(values)
    numbers = torch.tensor([float(v) for v in values.values()], dtype=torch.float64)
    distributed.all_reduce(numbers, group=_groups["control"])
    return dict(zip(values, (numbers / get_world_size()).tolist(), strict=True))


def root_cause(error: BaseException) -> BaseException:
    """Why the run fails: ``error``, or, where only a peer was lost, what that peer told.

    It tells the others of ``error`` where that is the cause; repeating is free.
    """
    store = _groups["store"]
    if store is None or isinstance(error, _PeerError):
        return error
    if peer_lost(error):
        told = _told_by_others(GRACE)
        if told is not None:
            if leads():
                print(told["traceback"], file=sys.stderr)  # into the run's log
            return _PeerError(f"rank {told['rank']} failed: {told['text']}", told)
        return _PeerError(
            "another process of the run ended without a word (killed, or out of memory?); "
            "what was trained is kept: continue with --resume",
            {"rank": None, "code": 1},
        )
    bad_input = isinstance(error, FourierKDError)
    record = {
        "rank": get_rank(),
        "text": str(error) if bad_input else f"{type(error).__name__}: {error}",
        "code": EXIT_BAD_INPUT if bad_input else 1,
        "traceback": "" if bad_input else "".join(traceback.format_exception(error)),
    }
    with suppress(RuntimeError):  # the store's own process may be gone
        store.set(f"failure/{get_rank()}", json.dumps(record))
    return error


def peer_lost(error: BaseException) -> bool:
    """Whether a collective broke because another rank ended."""
    return is_distributed() and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


class _PeerError(RunError):
    """The run ends because another rank failed."""

    def __init__(self, message: str, told: dict[str, Any]) -> None:
        super().__init__(message)
        self.told = told


def _told_by_others(seconds: float) -> dict[str, Any] | None:
    store, end = _groups["store"], time.monotonic() + seconds
    others = [rank for rank in range(get_world_size()) if rank != get_rank()]
    while True:
        try:
            for rank in others:
                if store.check([f"failure/{rank}"]):
                    told: dict[str, Any] = json.loads(store.get(f"failure/{rank}"))
                    return told
        except RuntimeError:
            return None
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def _exit_quietly(error: BaseException) -> NoReturn:
    """End a rank that does not lead; it speaks only of a failure that rank 0 cannot tell."""
    told = error.told if isinstance(error, _PeerError) else _told_by_others(GRACE)
    if told is not None:  # the same bad input ends every rank
        time.sleep(1.0)  # torchrun ends the others as soon as one ends: let rank 0 speak
        sys.exit(told["code"])
    print(f"fourierkd: error: rank {get_rank()}: {error}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT if isinstance(error, FourierKDError) else 1)


def _refuse(error: FourierKDError) -> NoReturn:
    """Before there is a group: the rank that will lead speaks, the others end."""
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0:
        raise error
    sys.exit(EXIT_BAD_INPUT)


def _start(launcher: str) -> None:
    environment: MutableMapping[str, str] = os.environ
    if launcher == "slurm":
        environment.update(slurm_environment(environment))
    missing = [name for name in TORCHRUN if name not in environment]
    if missing:
        raise ConfigError(
            f"--launcher pytorch needs torchrun's environment ({', '.join(missing)} is not set)",
            fix="start it by: torchrun --nproc_per_node=N -m fourierkd train CONFIG "
            "--launcher pytorch",
        )
    # else every rank would take all cores
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    arguments = {"store": store, "rank": rank, "world_size": size}
    if torch.cuda.is_available():
        if launcher == "slurm" and torch.cuda.device_count() == 1:
            environment["LOCAL_RANK"] = "0"  # Slurm may show each task its own GPU alone
        local = int(environment["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"each process of a node needs a GPU of its own, and {torch.cuda.device_count()} "
                "are visible",
                value=f"local rank {local}",
                fix="start fewer processes, or set CUDA_VISIBLE_DEVICES= to train on the CPU",
            )
        init_dist("pytorch", backend="nccl", timeout=TIMEOUT.total_seconds(), **arguments)
    else:  # MMEngine's init_dist would set a CUDA device
        distributed.init_process_group("gloo", timeout=TIMEOUT, **arguments)
    control: ProcessGroup = distributed.new_group(timeout=CONTROL_TIMEOUT, backend="gloo")
    _groups.update(control=control, store=PrefixStore("fourierkd", store))


def slurm_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables from those of ``srun``; what is set already stays.

    The master is the first host of the step's node list, its port one that follows from the job's
    number, so that two jobs on a node do not meet.

    Raises:
        ConfigError: the process is no task of a Slurm step.
    """
    needed = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODELIST")
    missing = [name for name in needed if name not in environment]
    if missing:
        raise ConfigError(
            f"--launcher slurm needs srun's environment ({', '.join(missing)} is not set)",
            fix="start it by: srun --ntasks=N --gpus-per-task=1 python -m fourierkd train CONFIG "
            "--launcher slurm",
        )
    nodes = environment.get("SLURM_STEP_NODELIST", environment["SLURM_NODELIST"])
    found = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "MASTER_ADDR": environment.get("MASTER_ADDR", first_host(nodes)),
        "MASTER_PORT": environment.get(
            "MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", 0)) % 20000)
        ),
    }
    if "OMP_NUM_THREADS" not in environment and "SLURM_CPUS_PER_TASK" in environment:
        found["OMP_NUM_THREADS"] = environment["SLURM_CPUS_PER_TASK"]
    return found


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: ``gpu[003-005,9],login1`` is ``gpu003``."""
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])+", nodes)
    if first is None:
        raise ConfigError("SLURM_NODELIST must name a host", value=nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])
