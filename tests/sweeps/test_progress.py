import io

from rich.console import Console

from fourierkd.records import MINIMIZE, Metric
from fourierkd.run_dir import RunDir
from sweeps.progress import Display, length, share_done


def test_a_log_gets_plain_lines():
    file = io.StringIO()
    with Display(Metric("mIoU"), Console(file=file, soft_wrap=True)) as display:
        display.ended("teacher", "val mIoU 78", seconds=40.0, counts=False)
        display.plan(4, 1)
        display.started("trial_001")
        display.best(31.25, "trial_001")
        display.ended("trial_001", "val mIoU 31.25", seconds=30.0)
        display.ended("trial_002", "FAIL ([Errno 28] full); log: /w/run.log", seconds=30.0)
    lines = file.getvalue().splitlines()
    assert lines == [
        "teacher: val mIoU 78, 40 s",
        "[2/4] trial_001: val mIoU 31.25, 30 s; best trial: val mIoU 31.25 (trial_001), "
        "about 1 min 00 s left",
        "[3/4] trial_002: FAIL ([Errno 28] full); log: /w/run.log, 30 s; best trial: val mIoU "
        "31.25 (trial_001), about 30 s left",
    ]


def test_a_terminal_gets_bars_with_the_state_of_the_live_run(tmp_path):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    run = RunDir(tmp_path)
    run.config.write_text("train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 200}\n")
    with Display(Metric("mIoU"), console) as display:
        display.plan(4, 0)
        display.started("trial_001")
        display.rows(
            "trial_001", run, [{"iter": 50, "train/loss": 1.0}, {"iter": 50, "val/mIoU": 20.5}]
        )
        display.rows("trial_001", run, [{"iter": 60, "train/loss": 1.0}])
        display._bars.refresh()
    assert "iter 60/200  val mIoU 20.5" in file.getvalue()
    assert "0/4 runs" in file.getvalue()


def test_the_best_of_a_minimised_metric_is_the_least():
    file = io.StringIO()
    with Display(Metric("loss", MINIMIZE), Console(file=file, soft_wrap=True)) as display:
        display.plan(2, 0)
        display.best(2.0, "a")
        display.best(1.0, "b")
        display.best(3.0, "c")
        display.ended("c", "loss 3", seconds=None)
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
