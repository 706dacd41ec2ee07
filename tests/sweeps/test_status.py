"""``status``: a study that runs, was stopped or killed, is finished or has not begun, in words."""

import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console
from tiny_study import REPO, run_dirs, wait_for

from fourierkd.errors import ConfigError
from fourierkd.records import MINIMIZE, Best, Metric, Phase, Request, Result, State
from fourierkd.run_dir import RunDir
from sweeps import status as module
from sweeps.live import Count, Live, LiveRun, read_live, write_live
from sweeps.run import main
from sweeps.status import status, watch
from sweeps.study_record import note

SLOW = ("--set", "trials=6", "final_seeds=1", "options.fake.sleep=0.03")
READER = """
import sys, time
from sweeps.status import status
from pathlib import Path
seen = set()
while not any("finished" in line for line in seen):
    lines = status(Path(sys.argv[1]))
    seen.update(lines)
    time.sleep(0.02)
print("\\n".join(sorted(seen)))
"""


def trains(work_dir, start):
    """Whether a run whose name begins so has rows."""
    live = read_live(work_dir)
    names = [run.label for run in live.runs] if live is not None else []
    return any(n.startswith(start) and RunDir(work_dir / "runs" / n).tail()[0] for n in names)


def files(work_dir):
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in work_dir.rglob("*")
        if path.is_file()
    }


def test_a_study_that_has_not_begun(tmp_path, capsys):
    assert main(["status", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'none'}: no study has begun here\n"
    assert not (tmp_path / "none").exists()


def test_the_default_is_the_default_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["status"])
    assert capsys.readouterr().out == "work_dirs/shapes_low: no study has begun here\n"


def test_two_look_at_a_study_while_it_runs(start_cli, tmp_path, straight):
    work_dir = tmp_path / "work"
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(work_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO,
        )
        for _ in range(2)
    ]
    process = start_cli(*SLOW)
    try:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        told = [reader.communicate(timeout=60) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
    for lines, errors in told:
        assert errors == ""
        assert f"tiny ({work_dir}): running, process {process.pid} on " in lines
        assert re.search(r"trial_\d+: iter \d+/\d+, val score [\d.-]+, for \d+ s", lines), lines
        assert re.search(r"runs: 3 of \d+ done, 0 of them failed; waiting: \d of the search", lines)
        assert re.search(r"time left: about \d+", lines)
        assert f"tiny ({work_dir}): finished" in lines


def test_what_a_live_run_is_trained_on(start_cli, tmp_path, capsys):
    work_dir = tmp_path / "work"
    process = start_cli(*SLOW)
    wait_for(lambda: trains(work_dir, "trial"), process, seconds=60.0)
    main(["status", str(work_dir)])
    lines = capsys.readouterr().out.splitlines()
    (name,) = [line.partition(":")[0] for line in lines if line.startswith("trial_")]
    parameters = RunDir(work_dir / "runs" / name).read_request().parameters
    assert f"fourier.loss_weight {parameters['fourier.loss_weight']:.4g}" in lines[-1]
    process.kill()
    process.communicate()
    main(["status", str(work_dir)])
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("was killed while 1 run trained")
    assert any(line.startswith("to go on: python sweeps/run.py study ") for line in rest)
    assert not any(line.startswith("time left") for line in rest)


def test_a_study_that_was_stopped_and_one_that_is_finished(start_cli, tmp_path, capsys):
    work_dir = tmp_path / "work"
    process = start_cli(*SLOW)
    wait_for(lambda: trains(work_dir, "trial"), process, seconds=60.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    main(["status", str(work_dir)])
    assert f"tiny ({work_dir}): was stopped\n" in capsys.readouterr().out
    process = start_cli(*SLOW)
    process.communicate(timeout=300)
    before = files(work_dir)
    main(["status", str(work_dir)])
    out = capsys.readouterr().out
    assert f"tiny ({work_dir}): finished\n" in out
    done = [run for run in run_dirs(work_dir).values() if run.result.exists()]
    assert f"runs: {len(done)} of {len(done)} done, 0 of them failed\n" in out
    assert "to go on" not in out
    assert files(work_dir) == before  # it only reads


def test_failed_runs_are_counted(run_tiny, capsys):
    fail = {"options.fake.fail": "exception", "options.fake.fail_above": 0.99}
    work_dir = run_tiny(trials=6, final_seeds=1, **fail)
    failed = [r for r in run_dirs(work_dir).values() if r.read_result().state == State.FAILED]
    main(["status", str(work_dir)])
    assert f"{len(failed)} of them failed" in capsys.readouterr().out


def ended(work_dir, name, value, *, phase=Phase.TRIAL, method="trial", **parameters):
    run = RunDir(work_dir / "runs" / name)
    run.create(
        Request(config="c.py", seed=0, phase=phase, method=method, parameters=parameters, trial=1)
    )
    run.write_result(Result(state=State.COMPLETE, best=Best(iter=1, value=value)))


@pytest.fixture
def by_hand(tmp_path):
    """A work dir of a study that was stopped, in which nothing has ended."""

    def make(metric):
        note(tmp_path, title="mine", metric=metric, baseline="student_alone")
        return tmp_path

    return make


def test_the_best_trial_against_the_baseline(by_hand):
    work_dir = by_hand(Metric("mIoU"))
    assert status(work_dir) == [
        f"mine ({work_dir}): was stopped",
        "runs: 0 done, 0 failed; how many there will be is not known",
    ]
    ended(work_dir, "trial_001", 40.0, lr=0.0123456)
    assert status(work_dir)[2:] == [
        "best trial: val mIoU 40 (trial_001); student_alone has no value with this seed",
        "  lr 0.01235",
    ]
    alone = {"phase": Phase.BASELINE, "method": "student_alone"}
    ended(work_dir, "baseline_student_alone", 41.0, **alone)
    assert "no trial beats student_alone (41) yet; best trial: val mIoU 40 (trial_001)" in status(
        work_dir
    )
    ended(work_dir, "final_student_alone", 99.0, phase=Phase.FINAL, method="student_alone")
    ended(work_dir, "trial_002", 43.5)
    assert status(work_dir)[2] == (
        "best trial: val mIoU 43.5 (trial_002), better than student_alone (41) by 2.5, with one "
        "seed each"
    )


def test_of_an_error_the_least_is_best(by_hand):
    work_dir = by_hand(Metric("loss", MINIMIZE))
    ended(work_dir, "baseline_student_alone", 2.0, phase=Phase.BASELINE, method="student_alone")
    ended(work_dir, "trial_001", 3.0)
    assert status(work_dir)[2].startswith("no trial beats student_alone (2) yet")
    ended(work_dir, "trial_002", 1.5)
    assert "val loss 1.5 (trial_002), better than student_alone (2) by 0.5" in status(work_dir)[2]


def test_a_study_on_another_machine(by_hand):
    work_dir = by_hand(Metric("mIoU"))
    (work_dir / "study.lock").write_text("process 7 on far-away")
    run = RunDir(work_dir / "runs/trial_003")
    run.create(Request(config="c.py", seed=0, phase=Phase.TRIAL, trial=3))
    run.config.write_text("train_cfg = {'max_iters': 200}\n")
    run.append({"iter": 10, "seconds": 5.0, "val/mIoU": 30.0})
    run.append({"iter": 50, "seconds": 25.0})
    live = LiveRun(label="trial_003", run_dir=str(run.path), phase=Phase.TRIAL, since=time.time())
    counts = {Phase.TRIAL: Count(planned=4, done=1), Phase.RUNG: Count(planned=6)}
    write_live(work_dir, Live(counts=counts, runs=[live]))
    lines = status(work_dir)
    assert lines[0].endswith(
        "running or killed; process 7 on far-away runs it, which is not seen from here"
    )
    assert "runs: 1 of 10 done, 0 of them failed; waiting: 2 of the search, 6 of the rung" in lines
    assert re.fullmatch(
        r"trial_003: iter 50/200, val mIoU 30, for 0 s, about 1 min 1\d s left", lines[-1]
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"runs": 5}', b'{"more": 1}'])
def test_a_damaged_record_of_what_runs_is_no_matter(by_hand, content):
    work_dir = by_hand(Metric("mIoU"))
    (work_dir / "live.json").write_bytes(content)
    assert status(work_dir)[0].endswith("was stopped")


def test_watch_looks_again_until_ctrl_c(by_hand, monkeypatch):
    work_dir = by_hand(Metric("mIoU"))
    looks = iter([lambda: ended(work_dir, "trial_001", 40.0)])

    def sleep(_):
        for look in looks:
            return look()
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    file = io.StringIO()
    watch(work_dir, Console(file=file, force_terminal=True, width=80))
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    assert "0 done, 0 failed" in shown
    assert "best trial: val mIoU 40 (trial_001)" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_watch_needs_a_terminal(tmp_path):
    with pytest.raises(ConfigError, match="--watch draws on a terminal; leave it out"):
        main(["status", str(tmp_path), "--watch"])


def test_live_json_is_what_it_was(tmp_path):
    (tmp_path / "study.lock").touch()
    run = LiveRun(label="a", run_dir="/w/a", phase=Phase.FINAL, since=1.5)
    live = Live(counts={Phase.FINAL: Count(planned=2, done=1, failed=1)}, runs=[run])
    write_live(tmp_path, live)
    assert read_live(tmp_path) == live
    assert json.loads((tmp_path / "live.json").read_text())["counts"]["final"]["planned"] == 2
