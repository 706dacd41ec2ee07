"""Studies whose processes are killed at random end as if they were not: nothing is lost, doubled or
failed for good. ``FOURIERKD_SOAK_KILLS`` says how many kills (100), ``FOURIERKD_SOAK_SEED`` which.
"""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
from tiny_study import executed, outcome, run_dirs

from fourierkd.analysis import load_results

KILLS = int(os.environ.get("FOURIERKD_SOAK_KILLS", "100"))
SEED = int(os.environ.get("FOURIERKD_SOAK_SEED", "0"))
KEYS = ("--set", "final_seeds=1", "options.fake.sleep=0.1")
# Who is killed, and how: a child as by the kernel's OOM killer, all as by a job manager's end.
WAYS = {  # -> how often, beside the others
    "child": 3,
    "server": 2,
    "coordinator": 1,
    "coordinator and child": 1,
    "all": 1,
    "SIGTERM to all": 1,
    "Ctrl-C": 1,
}
# Before the study begins and while its report is written a signal ends the process as it ends any.
STOPPED = (130, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)
PAUSES = (1.0, 4.0)  # seconds between two kills; a run has checkpoints every 0.2 s


def send(process: subprocess.Popen, way: str) -> bool:
    """Kill; False where there is nobody of that kind just now."""
    coordinator = psutil.Process(process.pid)
    servers = coordinator.children()
    runs = [run for server in servers for run in server.children()]
    chosen = {
        "child": runs[:1],
        "server": servers,
        "coordinator": [coordinator],
        "coordinator and child": [*runs, coordinator] if runs else [],
        "all": [*runs, *servers, coordinator],
        "SIGTERM to all": [*runs, *servers, coordinator],
        "Ctrl-C": [coordinator],
    }[way]
    number = {"SIGTERM to all": signal.SIGTERM, "Ctrl-C": signal.SIGINT}.get(way, signal.SIGKILL)
    for member in chosen:
        member.send_signal(number)
    return bool(chosen)


def survive(start, draw: random.Random, kills: int) -> list[str]:
    """Run one study to its end, killing at most ``kills`` times; the ways that were taken."""
    taken: list[str] = []
    while True:
        process = start(*KEYS)
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=draw.uniform(*PAUSES))
                break
            if len(taken) < kills:
                (way,) = draw.choices(list(WAYS), list(WAYS.values()))
                with suppress(psutil.NoSuchProcess):  # it ended just now
                    if send(process, way):
                        taken.append(way)
        out, err = process.communicate()
        if process.returncode == 0:
            return taken
        assert process.returncode in STOPPED, (taken, out, err)


@pytest.mark.soak
def test_killed_at_random_nothing_is_lost_doubled_or_failed(start_cli, straight, tmp_path):
    draw, kills, number = random.Random(SEED), 0, 0
    while kills < KILLS:
        number += 1
        work_dir = tmp_path / f"work_{number}"
        begun = time.monotonic()
        taken = survive(
            lambda *keys, work=work_dir: start_cli(*keys, work_dir=work.name), draw, KILLS - kills
        )
        kills += len(taken)
        print(f"study {number}: {taken}, {time.monotonic() - begun:.0f} s")
        assert outcome(work_dir) == straight, taken
        runs = run_dirs(work_dir)
        assert len(runs) == 1 + 7 + 3 * 2 + 4, (taken, list(runs))
        table = load_results(work_dir)
        assert sorted(table.run_dir) == [f"runs/{name}" for name in sorted(runs)], taken
        assert set(table.state) == {"complete"}, (taken, table.reason.dropna().tolist())
        for name, run in runs.items():
            assert [row["iter"] for row in run.rows()] == list(range(1, 11)), (name, taken)
            assert sorted(set(executed(run))) == list(range(1, 11)), (name, taken)
            # again only what came after the last checkpoint
            assert len(executed(run)) <= 10 + 3 * len(taken), (name, taken)
