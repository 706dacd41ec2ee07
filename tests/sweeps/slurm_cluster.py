"""A Slurm of two nodes on this machine, of Debian's packages: munge, a controller, two daemons."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
NODES = ("n1", "n2")

CONFIG = """
ClusterName=two
SlurmctldHost={host}({address})
SlurmUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=30
KillWait=5
MinJobAge=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_min_interval=100000,bf_interval=2
NodeName={nodes[0]} NodeHostname={host} NodeAddr={address} Port={ports[1]} CPUs=2
NodeName={nodes[1]} NodeHostname={host} NodeAddr={address} Port={ports[2]} CPUs=2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why there can be no such cluster here; None: there can."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"no {missing[0]} here (apt-get install slurmctld slurmd slurm-client munge)"
    return "munged and slurmd want root" if os.geteuid() else None


class Cluster:
    """Started, with ``config`` for SLURM_CONF; ``close`` ends its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "slurm.conf"
        for name in ("state", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.config.write_text(
            CONFIG.format(
                folder=folder,
                host=socket.gethostname(),
                address="127.0.0.1",
                nodes=NODES,
                ports=free_ports(3),
            )
        )
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.config),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self.processes = {
            "munged": self._start(
                *("munged", "--foreground", "--force", f"--socket={folder}/munge.socket"),
                *(f"--key-file={key}", f"--pid-file={folder}/munge.pid"),
                *(f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"),
            )
        }
        wait_for((folder / "munge.socket").exists)
        self.start_controller()
        for node in NODES:
            self.start_node(node)

    def start_controller(self) -> None:
        """The controller, again after ``kill``."""
        self.processes["slurmctld"] = self._start("slurmctld", "-D")

    def start_node(self, name: str) -> None:
        """A node, again after ``kill``; it is waited for."""
        self.processes[name] = self._start("slurmd", "-D", "-N", name)
        wait_for(lambda: self.call("sinfo", "-h", "-n", name, "-o", "%t") in ("idle", "mix"))

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "output", "ab") as log:
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def call(self, *command: str) -> str:
        """Output of a command."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """Number, state and node of every job that Slurm knows."""
        text = self.call("squeue", "--states=all", "--noheader", "--format=%i|%T|%N")
        return [tuple(line.split("|")) for line in text.splitlines()]

    def kill(self, name: str) -> None:
        """The controller alone, or a node with all that runs on it."""
        family = [psutil.Process(self.processes[name].pid)]
        if name in NODES:
            for one in psutil.process_iter():
                if self._is_of(one, name):
                    steps = [above for above in one.parents() if above.name() == "slurmstepd"]
                    family += [*steps, one]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.processes.pop(name).wait()

    def _is_of(self, process: psutil.Process, node: str) -> bool:
        """Whether a process belongs to a job on a node."""
        with suppress(psutil.Error):
            names = process.environ()
            ours = names.get("SLURM_CONF") == str(self.config)
            return ours and names.get("SLURMD_NODENAME") == node
        return False

    def close(self) -> None:
        self.call("scancel", "--state=RUNNING", "--user=root")
        for name in (*NODES, "slurmctld", "munged"):
            if name in self.processes:
                self.kill(name)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)
