import io

import pytest
from rich.console import Console

from fourierkd.records import MINIMIZE, Metric, Phase
from fourierkd.run_dir import RunDir
from sweeps.live import Count, Live
from sweeps.progress import Display, length, share_done
from sweeps.time_left import Kind

TEACHER, TRIAL, FINAL = Phase.TEACHER, Phase.TRIAL, Phase.FINAL


def test_a_log_gets_plain_lines(tmp_path):
    file = io.StringIO()
    with Display(Metric("mIoU"), Console(file=file, soft_wrap=True)) as display:
        run = RunDir(tmp_path)
        display.ended("teacher", "val mIoU 78", phase=TEACHER, seconds=40.0, counts=False)
        display.plan({TRIAL: Count(planned=4, done=1)}, {})
        display.started("trial_001", run, TRIAL)
        display.best(31.25, "trial_001")
        display.ended("trial_001", "val mIoU 31.25", phase=TRIAL, seconds=30.0)
        text = "FAIL ([Errno 28] full); log: /w/run.log"
        display.ended("trial_002", text, phase=TRIAL, seconds=2.0, failed=True)
    lines = file.getvalue().splitlines()
    assert lines == [
        "teacher: val mIoU 78, 40 s",
        "[2/4] trial_001: val mIoU 31.25, 30 s; best trial: val mIoU 31.25 (trial_001), "
        "about 1 min 00 s left",
        "[3/4] trial_002: FAIL ([Errno 28] full); log: /w/run.log, 2 s; best trial: val mIoU "
        "31.25 (trial_001), about 30 s left",
    ]


def test_a_terminal_gets_bars_with_the_state_of_the_live_run(tmp_path):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    run = RunDir(tmp_path)
    run.config.write_text("train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 200}\n")
    with Display(Metric("mIoU"), console) as display:
        display.plan({TRIAL: Count(planned=4)}, {})
        display.started("trial_001", run, TRIAL)
        display.rows(
            "trial_001", run, [{"iter": 50, "train/loss": 1.0}, {"iter": 50, "val/mIoU": 20.5}]
        )
        display.rows("trial_001", run, [{"iter": 60, "train/loss": 1.0}])
        display._bars.refresh()
    assert "iter 60/200  val mIoU 20.5" in file.getvalue()
    assert "0/4 runs" in file.getvalue()


def test_time_left_is_foretold_by_a_live_run(tmp_path):
    file = io.StringIO()
    run = RunDir(tmp_path)
    run.config.write_text("train_cfg = {'max_iters': 100}\n")
    with Display(Metric("mIoU"), Console(file=file, soft_wrap=True)) as display:
        display.plan({TRIAL: Count(planned=3)}, {Kind.SEARCH: 2})
        display.started("trial_001", run, TRIAL)
        rows = [{"iter": 20, "seconds": 30.0}, {"iter": 60, "seconds": 110.0}]
        display.rows("trial_001", run, rows)
        display.ended("trial_000", "complete", phase=TRIAL, seconds=None)
    # 80 s of the live run, 190 s of the one that waits, two at once
    assert "[1/3] trial_000: complete; about 2 min 15 s left" in file.getvalue()


def test_what_is_live_is_kept_at_every_start_and_end(tmp_path):
    kept: list[Live] = []
    with Display(Metric("mIoU"), Console(file=io.StringIO())) as display:
        display.keep = kept.append
        display.plan({TRIAL: Count(planned=2), FINAL: Count(planned=3)}, {Kind.FULL: 2})
        display.started("a", RunDir(tmp_path / "a"), Phase.BASELINE)
        display.started("b", RunDir(tmp_path / "b"), FINAL)
        display.ended("a", "pruned", phase=Phase.BASELINE, seconds=5.0)
        display.ended("b", "FAIL", phase=FINAL, seconds=1.0, failed=True)
        display.started("c", RunDir(tmp_path / "c"), FINAL)
        display.nothing_runs()
    labels = [[run.label for run in live.runs] for live in kept]
    assert labels == [[], ["a"], ["a", "b"], ["b"], [], ["c"], []]
    assert [live.waiting().get(FINAL) for live in kept] == [3, 3, 2, 2, 2, 1, 2]
    last = kept[-1]
    assert last.counts[TRIAL] == Count(planned=2, done=1)
    assert last.counts[FINAL] == Count(planned=3, done=1, failed=1)
    assert last.ended == {Kind.SEARCH: [5.0]}
    assert last.jobs == {Kind.FULL: 2}


def test_the_best_of_a_minimised_metric_is_the_least():
    file = io.StringIO()
    with Display(Metric("loss", MINIMIZE), Console(file=file, soft_wrap=True)) as display:
        display.plan({TRIAL: Count(planned=2)}, {})
        display.best(2.0, "a")
        display.best(1.0, "b")
        display.best(3.0, "c")
        display.ended("c", "loss 3", phase=TRIAL, seconds=None)
    assert "best trial: val loss 1 (b)" in file.getvalue()


def test_length(tmp_path):
    run = RunDir(tmp_path)
    assert length(run) is None
    run.config.write_text("train_cfg = dict(by_epoch=True, max_epochs=12)\n")
    assert length(run) == ("epoch", 12)


def test_share_done(tmp_path):
    run = RunDir(tmp_path)
    assert share_done(run, {"iter": 288, "epoch": 3}) == 0.0  # not known yet
    run.config.write_text("train_cfg = dict(max_iters=480)\n")
    assert share_done(run, {"iter": 288, "epoch": 3}) == 0.6
    run.config.write_text("train_cfg = dict(by_epoch=True, max_epochs=12)\n")
    assert share_done(run, {"iter": 288, "epoch": 3}) == 0.25


@pytest.mark.parametrize(
    ("terminal", "typed", "yes"),
    [(True, "y\n", True), (True, "\n", False), (True, "", False), (False, "y\n", False)],
)
def test_a_question_is_asked_of_a_person_alone(monkeypatch, terminal, typed, yes):
    typist, file = io.StringIO(typed), io.StringIO()
    typist.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", typist)
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False)
    with Display(Metric("mIoU"), console) as display:
        assert display.asks("stop the 2 live runs too?") is yes
    assert ("stop the 2 live runs too? [y/N]" in file.getvalue()) is terminal


def test_a_bar_says_why_its_run_waits(tmp_path):
    file = io.StringIO()
    with Display(Metric("mIoU"), Console(file=file, force_terminal=True, width=120)) as display:
        display.started("trial_001", RunDir(tmp_path), TRIAL)
        display.waiting("trial_001", "Priority")
    assert "waits: Priority" in file.getvalue()
