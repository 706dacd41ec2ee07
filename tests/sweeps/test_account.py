import json
import signal

import pytest
from tiny_study import finish, wait_for

from fourierkd.run_dir import RunDir
from sweeps.account import Account, duration, overhead, sentence


def test_parts_add_up():
    account = Account()
    account.add_run(
        "trial", 10.0, {"train": 8.0, "val": 0.5, "test": 0.5, "setup": 0.25, "total": 9.25}
    )
    assert account.parts["training"] == pytest.approx(8.0)
    assert account.parts["evaluation"] == pytest.approx(1.0)
    assert account.parts["start-up"] == pytest.approx(1.0)  # its own 0.25 and the process's 0.75
    assert sum(account.parts.values()) == pytest.approx(10.0)


def test_a_resumed_run_counts_this_session_only():
    account = Account()
    account.add_run("trial", 5.0, {"train": 18.0, "val": 2.0})
    assert account.parts["training"] == pytest.approx(4.5)
    assert sum(account.parts.values()) == pytest.approx(5.0)


def test_sessions_add_up_and_the_teacher_is_apart(tmp_path):
    for _ in range(2):
        account = Account()
        account.add_run("teacher", 60.0, {})
        account.add_run("trial", 10.0, {"train": 9.0})
        seconds = account.save(tmp_path)
    assert seconds["training"] == 18.0
    assert seconds["total"] == 20.0
    assert seconds["teacher"] == 120.0
    assert overhead(seconds) == pytest.approx(0.1)
    assert Account().save(tmp_path) == seconds  # a session without runs
    assert sentence(seconds).startswith(
        "process time: 20 s, of which training 90.0 %, everything else 10.0 %"
    )
    assert "the teacher took 2 min 00 s" in sentence(seconds)


def test_the_clock_of_the_wall_counts_once_and_stands_apart(tmp_path, monkeypatch):
    now = iter([100.0, 112.0, 500.0, 505.0])
    monkeypatch.setattr("sweeps.account.time.monotonic", lambda: next(now))
    for _ in range(2):
        account = Account()
        for _ in range(2):  # side by side
            account.add_run("trial", 10.0, {"train": 10.0})
        seconds = account.save(tmp_path)
    assert seconds == {"training": 40.0, "start-up": 0.0, **seconds}
    assert seconds["total"] == 40.0
    assert seconds["clock"] == 17.0
    assert list(seconds)[-1] == "clock"
    assert sentence(seconds).endswith("; by the clock 17 s")


def test_a_part_is_timed(tmp_path):
    account = Account()
    with account.part("report"):
        pass
    assert 0 <= account.parts["report"] < 1
    assert account.save(tmp_path) == {"total": 0.0}  # nothing was trained: nothing is booked


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_time_of_an_interrupted_session_is_kept(start_cli, tmp_path):
    process = start_cli("--set", "final_seeds=0", "trials=3", "options.fake.sleep=0.05")
    run = RunDir(tmp_path / "work" / "runs" / "trial_001")
    wait_for((run.path / "executed.txt").exists, process)
    process.send_signal(signal.SIGTERM)
    finish(process, code=130)
    first = json.loads((tmp_path / "work" / "study_time.json").read_text())["seconds"]
    finish(start_cli("--set", "final_seeds=0", "trials=3", "options.fake.sleep=0.05"))
    both = json.loads((tmp_path / "work" / "study_time.json").read_text())["seconds"]
    assert 0.5 < first["training"] < both["training"]
