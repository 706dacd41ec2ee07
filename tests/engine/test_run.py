"""A run's ends, its files, and what must not depend on the method or on a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from fourierkd.commands.evaluate import evaluate
from fourierkd.data.in_use import readers
from fourierkd.data.shapes import ShapesSpec
from fourierkd.data.shapes_folder import prepare_shapes
from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.registry import HOOKS
from fourierkd.engine.hooks.checkpoint import RunCheckpointHook, check_metric, short_names
from fourierkd.engine.run import run, run_job
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import CheckpointError, ConfigError, DataError, RunError
from fourierkd.records import Best, Checkpoints, Result, State
from fourierkd.run_dir import RunDir
from tests.engine.conftest import HERE, ONE_CYCLE, TEACHER, assert_same, without_the_hook


@HOOKS.register_module(force=True)
class ActHook(Hook):
    """Call ``act(runner)`` after iteration ``at``; keep initial weights and batches in ``seen``."""

    act = staticmethod(lambda runner: None)
    seen: dict = {}  # noqa: RUF012

    def __init__(self, at: int = -1, record: bool = False) -> None:
        self.at, self.record = at, record

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.record and runner.iter < 4:
            if runner.iter == 0:
                state = runner.bare_model.student.state_dict()
                ActHook.seen = {"weights": {k: v.clone() for k, v in state.items()}, "batches": []}
            ActHook.seen["batches"].append(torch.stack(data_batch["inputs"]).clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            ActHook.act(runner)


def act_at(iteration: int, act) -> dict:
    ActHook.act = staticmethod(act)
    return {"custom_hooks": [{"type": "ActHook", "at": iteration}]}


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it may be relied on."""


def kill(runner) -> None:
    raise Killed


def last_state(run_dir: RunDir) -> dict:
    return load_checkpoint(run_dir.last_checkpoint())


def test_complete_run_writes_every_file_of_the_contract(make_run):
    run_dir = make_run(test_split="test")
    result = run(run_dir, resume=False)
    assert result == run_dir.read_result()
    assert result.state == "complete"
    assert result.reason is None
    assert result.metric.name == "acc"
    assert result.iters == 20
    values = {r["iter"]: r["val/acc"] for r in run_dir.rows() if "val/acc" in r}
    assert list(values) == [5, 10, 15, 20]
    assert result.best.value == max(values.values()) == values[result.best.iter]
    assert result.metrics["val/acc"] == result.best.value
    # the toy tests on its val images, so the best weights must give the best value again
    assert result.metrics["test/acc"] == pytest.approx(result.best.value)
    assert result.parameters == {"student": 130, "losses": 0, "teacher": 0}
    assert result.checkpoints == Checkpoints("checkpoints/iter_20.pth", "checkpoints/best.pth")
    assert sorted(p.name for p in run_dir.checkpoints.iterdir()) == [
        "best.pth",
        "iter_20.pth",
        "last_checkpoint",
    ]
    seconds = result.seconds
    parts = ("setup", "data", "step", "val", "test", "hooks")
    assert sum(seconds[p] for p in parts) == pytest.approx(seconds["total"], abs=0.05)
    environment = json.loads(run_dir.environment.read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["seed"] == 0
    assert environment["metric"] == "acc"
    assert environment["max_iters"] == 20
    assert not any(p.is_dir() and p.name[:2] == "20" for p in run_dir.path.iterdir())


SEG_LINES = """
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends, name="visualizer")
"""
DET_LINES = SEG_LINES.replace("Seg", "Det")
PACKAGE_RUNTIME = '_base_ = "{}::_base_/default_runtime.py"\n'


@pytest.mark.parametrize(
    "lines",
    [SEG_LINES, DET_LINES, PACKAGE_RUNTIME.format("mmseg"), PACKAGE_RUNTIME.format("mmdet")],
    ids=["mmseg_lines", "mmdet_lines", "mmseg_base", "mmdet_base"],
)
def test_visualizers_of_the_task_packages_write_into_the_run_folder(make_run, tmp_path, lines):
    config = tmp_path / "config.py"
    config.write_text(lines + (HERE / "toy_config.py").read_text())

    def draw(runner):
        runner.visualizer.add_image("iteration", np.zeros((4, 4, 3), np.uint8), step=runner.iter)

    for name in ("first", "second"):  # in one process, and by one name
        options = {**act_at(7, draw), "train_cfg.max_iters": 10}
        run_dir = make_run(name, options, config=str(config))
        assert run(run_dir, resume=False).state == "complete"
        made = sorted(
            p.relative_to(run_dir.path).as_posix() for p in run_dir.path.rglob("*.p[yn]*")
        )
        assert made == ["config.py", "vis_data/config.py", "vis_data/vis_image/iteration_6.png"]
        told = (run_dir.path / "vis_data/scalars.json").read_text().splitlines()
        shown = [row for row in map(json.loads, told) if "val/acc" in row]
        ours = [row for row in run_dir.rows() if "val/acc" in row]
        assert [(row["step"], row["val/acc"]) for row in shown] == [
            (row["iter"], row["val/acc"]) for row in ours
        ]
        assert [row["step"] for row in shown] == [5, 10]
        assert not any(p.is_dir() and p.name[:2] == "20" for p in run_dir.path.iterdir())


def test_training_rows_hold_losses_times_and_distillation_scalars(make_run):
    run_dir = make_run(options=TEACHER)
    result = run(run_dir, resume=False)
    rows = [r for r in run_dir.rows() if "train/loss" in r]
    assert [r["iter"] for r in rows] == [10, 20]
    for row in rows:
        assert row["train/loss"] == pytest.approx(
            row["train/loss_ce"] + row["train/distill.l2.loss"], rel=1e-5
        )
        assert row["time/iter"] >= row["time/data"] + row["time/teacher"] + row["time/student"]
        assert 0 < row["distill/l2/gradient_share"] < 1
        assert row["distill/l2/fixed"] == 2.0
        assert 0 < row["distill/l2/gain"] != 0.5  # 0.5 is where it starts, and it is trained
    assert result.parameters["teacher"] == 6 * 27 + 6 + 12 + 12 + 2
    assert result.parameters["losses"] == 4 * 6 + 6 + 6  # the connector and the gain
    assert result.seconds["teacher"] > 0


def test_a_fourier_loss_without_its_parts_trains_and_goes_on_from_its_checkpoint(make_run):
    loss = {"type": "FourierLoss", "fusion": False, "predictor": False, "sphere_radius": None}
    run_dir = make_run(options={**TEACHER, "model.losses.l2.loss": loss})
    result = run(run_dir, resume=False)
    assert result.parameters["losses"] == 4 * 6 + 6  # the connector
    row = [r for r in run_dir.rows() if "train/loss" in r][-1]
    assert {key for key in row if key.startswith("distill/")} == {"distill/l2/gradient_share"}
    assert any("spectra/l2/gap_0-0.125" in r for r in run_dir.rows())
    run_dir.result.unlink()
    assert run(run_dir, resume=True).best == result.best


CLIPPED = {**ONE_CYCLE, "optim_wrapper.clip_grad": {"max_norm": 35}}


EMA = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.05, "update_buffers": True}]}


@pytest.mark.parametrize(
    "options", [{}, TEACHER, CLIPPED, EMA], ids=["alone", "distilled", "one_cycle", "averaged"]
)
def test_killed_and_resumed_run_equals_the_uninterrupted_one_bitwise(make_run, options):
    whole = make_run("whole", options)
    run(whole, resume=False)
    (killer,) = act_at(13, kill)["custom_hooks"]
    hooks = {"custom_hooks": [*options.get("custom_hooks", []), killer]}
    cut = make_run("cut", {**options, **hooks})
    with pytest.raises(Killed):
        run(cut, resume=False)
    assert cut.last_checkpoint().name == "iter_10.pth"
    without_the_hook(cut, options)
    result = run(cut, resume=True)
    assert result.iters == 20
    a, b = last_state(whole), last_state(cut)
    assert a.keys() == b.keys()
    assert ("ema_state_dict" in a) == (options is EMA)
    for part in a.keys() - {"meta"}:  # it has the seconds
        assert_same(a[part], b[part], part)

    def curve(run_dir):
        keys = ("iter", "train/loss", "val/acc")
        return [{k: r[k] for k in keys if k in r} for r in run_dir.rows()]

    assert curve(whole) == curve(cut)
    assert whole.read_result().best == cut.read_result().best
    assert_same(
        load_checkpoint(whole.best_checkpoint())["state_dict"],
        load_checkpoint(cut.best_checkpoint())["state_dict"],
    )
    seconds = [r["seconds"] for r in cut.rows()]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("buffers", [False, True])
def test_averaged_weights_are_scored_as_best_pth_is_alone(make_run, buffers):
    """A hook that swaps weights for evaluation has other ones at the end than best.pth."""
    hook = {"type": "EMAHook", "momentum": 0.3, "update_buffers": buffers}
    values = [1.0, 9.0, 2.0, 3.0]  # the best is not the last
    options = {"custom_hooks": [hook], **given(values, "acc")}
    run_dir = make_run(options=options, test_split="test")
    result = run(run_dir, resume=False)
    assert result.best.iter == 10
    scored = evaluate(HERE / "toy_config.py", run_dir.best_checkpoint(), split="test")
    assert result.metrics["test/acc"] == scored["acc"]
    last = evaluate(HERE / "toy_config.py", run_dir.last_checkpoint(), split="test")
    assert last["acc"] != scored["acc"]


def test_killed_between_the_last_checkpoint_and_the_result_it_ends_with_the_same_result(make_run):
    run_dir = make_run(test_split="test")
    whole = run(run_dir, resume=False)
    rows = run_dir.rows()
    run_dir.result.unlink()
    again = run(run_dir, resume=True)
    for key in ("state", "best", "metrics", "iters", "checkpoints"):
        assert getattr(again, key) == getattr(whole, key), key
    assert [row for row in run_dir.rows() if "event" not in row] == rows


def test_resume_works_with_a_sampler_that_cannot_skip(make_run):
    sampler = {
        "train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True},
        "train_dataloader.dataset.length": 60,  # one epoch: MMEngine sleeps 2 s between two
    }
    whole = make_run("whole", sampler)
    run(whole, resume=False)
    cut = make_run("cut", {**sampler, **act_at(7, kill)})
    with pytest.raises(Killed):
        run(cut, resume=False)
    without_the_hook(cut, sampler)
    run(cut, resume=True)
    assert_same(last_state(whole)["state_dict"], last_state(cut)["state_dict"])


def test_initial_weights_and_batches_do_not_depend_on_the_method(make_run):
    seen = []
    for name, options in (("alone", {}), ("distilled", TEACHER)):
        record = {"custom_hooks": [{"type": "ActHook", "record": True}]}
        run(make_run(name, {**options, **record, "train_cfg.max_iters": 5}), resume=False)
        seen.append(ActHook.seen)
    assert len(seen[0]["batches"]) == 4
    assert_same(seen[0], seen[1])
    other = make_run("other", {**record, "train_cfg.max_iters": 5}, seed=1)
    run(other, resume=False)
    assert not torch.equal(ActHook.seen["batches"][0], seen[0]["batches"][0])
    assert not torch.equal(
        ActHook.seen["weights"]["features.weight"], seen[0]["weights"]["features.weight"]
    )


def test_coordinator_prunes_and_the_run_can_go_on(make_run):
    run_dir = make_run(
        options=act_at(
            7, lambda runner: runner.run_dir.ask_stop(State.PRUNED, "worse than the median")
        )
    )
    result = run(run_dir, resume=False)
    assert (result.state, result.reason) == ("pruned", "worse than the median")
    assert result.iters == 7
    assert run_dir.last_checkpoint().name == "iter_7.pth"
    without_the_hook(run_dir, {})
    assert run(run_dir, resume=True).state == "complete"
    whole = make_run("whole")
    run(whole, resume=False)
    assert_same(last_state(whole)["state_dict"], last_state(run_dir)["state_dict"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_with_a_checkpoint(make_run, number):
    before = signal.getsignal(number)
    run_dir = make_run(options=act_at(8, lambda runner: os.kill(os.getpid(), number)))
    result = run(run_dir, resume=False)
    assert (result.state, result.reason) == ("stopped", f"signal {number.name} of its own")
    assert run_dir.last_checkpoint().name == "iter_8.pth"
    assert signal.getsignal(number) is before


def test_epochs_stop_at_once_and_resume_from_the_last_epoch(make_run):
    epochs = {
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 4, "val_interval": 2},
        "train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True},
        "param_scheduler": None,
    }
    whole = make_run("whole", epochs)
    run(whole, resume=False)
    cut = make_run(
        "cut", {**epochs, **act_at(11, lambda r: r.run_dir.ask_stop(State.STOPPED, "now"))}
    )
    assert run(cut, resume=False).state == "stopped"
    assert cut.last_checkpoint().name == "iter_8.pth"  # 4 iterations an epoch, validated after 2
    without_the_hook(cut, epochs)
    assert run(cut, resume=True).iters == 16
    assert_same(last_state(whole)["state_dict"], last_state(cut)["state_dict"])


def test_diverged_loss_fails_and_is_named(make_run):
    run_dir = make_run(options={"model.student": {"type": "ToyModel", "fail_at": 6}})
    with pytest.raises(RunError, match="loss is not finite at iter 6: loss_ce"):
        run(run_dir, resume=False)
    result = run_dir.read_result()
    assert result.state == "failed"
    assert result.reason.startswith("RunError: loss is not finite at iter 6: loss_ce")
    assert run_dir.last_checkpoint().name == "iter_5.pth"


def test_mmengines_own_weight_loader_is_refused(make_run):
    with pytest.raises(ConfigError, match="load_from is not read from a config.*got 'any.pth'"):
        run(make_run(options={"load_from": "any.pth"}), resume=False)


def given(values: list[float], metric: str = "error", **more) -> dict:
    """Options of a run whose validations give ``values``."""
    texts = [str(value) for value in values]  # an option is JSON, which has no NaN
    evaluator = {"type": "GivenValues", "values": texts, "name": metric}
    return {"metric": metric, "val_evaluator": evaluator, **more}


def refuse(text: str):
    raise AssertionError(f"{text} is not JSON")


@pytest.mark.parametrize(
    ("direction", "best"), [("minimize", (15, 0.5)), ("maximize", (5, 3.0)), (None, (5, 3.0))]
)
def test_the_best_checkpoint_is_the_best_in_the_metrics_direction(make_run, direction, best):
    run_dir = make_run(options=given([3.0, 1.0, 0.5, 2.0], direction=direction))
    result = run(run_dir, resume=False)
    assert result.metric.direction == direction or direction is None
    assert (result.best.iter, result.best.value) == best
    kept = load_checkpoint(run_dir.best_checkpoint())["meta"]
    assert (kept["best"]["iter"], kept["best"]["value"]) == best


def test_a_direction_is_one_of_two(make_run):
    with pytest.raises(ConfigError, match="'maximize' or 'minimize', got 'down'"):
        run(make_run(options={"direction": "down"}), resume=False)


@pytest.mark.parametrize("nothing", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_validation_without_a_value_is_passed_over(make_run, nothing, direction):
    values = [nothing, 2.0, nothing, nothing]
    run_dir = make_run(options=given(values, direction=direction))
    result = run(run_dir, resume=False)
    assert result.state == "complete"
    assert result.best == Best(10, 2.0)
    json.loads(run_dir.result.read_text(), parse_constant=refuse)
    assert run_dir.read_result().metrics == {"val/error": 2.0, "val/other": None}
    rows = [row for row in run_dir.rows() if "val/error" in row]
    assert [row["val/error"] for row in rows] == [None, 2.0, None, None]


def test_a_run_without_any_value_fails_and_says_so(make_run):
    run_dir = make_run(options=given([float("nan")] * 4))
    with pytest.raises(RunError, match="no validation gave a value of error, got nan"):
        run(run_dir, resume=False)
    result = run_dir.read_result()
    assert (result.state, result.best) == ("failed", None)
    assert result.reason.startswith("RunError: no validation gave a value of error")
    assert result.checkpoints.last == "checkpoints/iter_20.pth"  # nothing is lost


def test_what_coco_calls_minus_one_is_no_value(make_run):
    """No object of that size or class: pycocotools says -1, which would tie with every other."""
    found = short_names({"coco/bbox_mAP": -1, "coco/bbox_AR@100": -1.0, "x/error": -1.0}, None)
    assert np.isnan([found["bbox_mAP"], found["bbox_AR@100"]]).all()
    assert found["error"] == -1.0  # any other metric may be negative
    run_dir = make_run(options=given([-1.0] * 4, "bbox_mAP"))
    with pytest.raises(RunError, match="no validation gave a value of bbox_mAP"):
        run(run_dir, resume=False)


def test_a_detector_that_finds_nothing_scores_zero():
    assert short_names({}, "bbox_mAP") == {"bbox_mAP": 0.0}
    assert short_names({}, "mIoU") == {}  # no metric of a detector: it stays unknown
    assert short_names(None, None) == {}
    assert short_names({"coco/bbox_mAP": 0.25}, "bbox_mAP") == {"bbox_mAP": 0.25}


def test_a_wrong_metric_is_named_even_where_a_detector_finds_nothing():
    with pytest.raises(ConfigError, match="got 'bbox_map'; did you mean 'bbox_mAP'"):
        RunCheckpointHook("bbox_map").after_val_epoch(None, {})


@pytest.mark.parametrize(
    ("metric", "evaluator", "hint"),
    [
        ("mIuO", {"type": "mmseg.IoUMetric"}, "mIoU"),
        ("mIoU", {"type": "IoUMetric", "iou_metrics": ["mDice"]}, "mDice"),
        ("bbox_mAp", {"type": "mmdet.CocoMetric", "ann_file": "x"}, "'bbox_mAP'"),
        ("segm_mAP", [{"type": "mmdet.CocoMetric", "metric": "bbox"}], "bbox_mAP"),
        ("bbox_mAP", {"type": "mmdet.CocoMetric", "metric": "proposal"}, "AR@100"),
    ],
)
def test_a_mistyped_metric_is_found_before_anything_is_trained(metric, evaluator, hint):
    with pytest.raises(ConfigError, match=f"one that the evaluator gives.*{hint}"):
        check_metric(metric, evaluator)


@pytest.mark.parametrize(
    ("metric", "evaluator"),
    [
        ("mIoU", {"type": "mmseg.IoUMetric"}),
        ("mFscore", {"type": "IoUMetric", "iou_metrics": ("mIoU", "mFscore")}),
        ("coco/bbox_mAP_50", {"type": "mmdet.CocoMetric", "metric": ["bbox", "segm"]}),
        ("AR@100", {"type": "mmdet.CocoMetric", "metric": "proposal"}),
        ("AR@10", {"type": "mmdet.CocoMetric", "metric": "proposal", "proposal_nums": [10]}),
        ("acc", {"type": "ToyAccuracy"}),
        ("acc", [{"type": "mmseg.IoUMetric"}, {"type": "ToyAccuracy"}]),
    ],
)
def test_a_metric_that_may_come_is_accepted(metric, evaluator):
    check_metric(metric, evaluator)


def test_unknown_metric_lists_the_evaluators(make_run):
    run_dir = make_run(options={"metric": "mIoU"})
    with pytest.raises(ConfigError, match="one that the evaluator gives, got 'mIoU'; known: acc"):
        run(run_dir, resume=False)
    assert run_dir.read_result().state == "failed"


def test_missing_data_root_is_named(make_run, tmp_path):
    with pytest.raises(DataError, match=r"data_root must be a folder, got '/.*nowhere'"):
        run(make_run(options={"data_root": str(tmp_path / "nowhere")}), resume=False)


def test_a_run_keeps_its_generated_data_from_being_replaced(make_run, tmp_path):
    place = tmp_path / "shapes"
    data = {"kind": "shapes", "size": 2, "image_size": 16, "radius": [3, 5]}
    seen = []

    def replace(runner):
        seen.append(readers(place))
        prepare_shapes(place, ShapesSpec(size=3, image_size=16, radius=(3, 5)), force=True)

    options = {"data_root": str(place), "prepare_data": data, **act_at(7, replace)}
    run_dir = make_run(options=options)
    with pytest.raises(DataError, match=f"while they are read.*wait for {run_dir.path}$"):
        run(run_dir, resume=False)
    assert seen == [[str(run_dir.path)]]
    assert readers(place) == []  # let go by a run that fails, too


def test_full_disk_fails_the_run_and_keeps_the_checkpoint(make_run, monkeypatch):
    def fill(runner):
        def full(self, row):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.scalars))

        monkeypatch.setattr(RunDir, "append", full)

    run_dir = make_run(options=act_at(8, fill))
    with pytest.raises(OSError, match="No space left"):
        run(run_dir, resume=False)
    assert "No space left on device" in run_dir.read_result().reason
    assert run_dir.last_checkpoint().name == "iter_5.pth"


def test_full_disk_for_the_result_too_raises_the_first_error(make_run, monkeypatch):
    def full(self, *args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunDir, "append", full)
    monkeypatch.setattr(RunDir, "write_result", full)
    run_dir = make_run()
    with pytest.raises(OSError, match="No space left"):
        run(run_dir, resume=False)
    assert run_dir.read_result() is None


def test_kill_while_a_checkpoint_is_written_leaves_the_earlier_one(make_run, monkeypatch):
    run_dir = make_run()
    real = os.replace

    def replace(source, target):
        if str(target).endswith("iter_10.pth"):
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        run(run_dir, resume=False)
    monkeypatch.undo()
    assert run_dir.last_checkpoint().name == "iter_5.pth"
    assert run(run_dir, resume=True).state == "complete"


def test_complete_run_is_not_resumed_and_nothing_is_lost(make_run):
    run_dir = make_run()
    run(run_dir, resume=False)
    before = {p: p.read_bytes() for p in run_dir.path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match="complete run cannot be resumed"):
        run(run_dir, resume=True)
    assert {p: p.read_bytes() for p in run_dir.path.rglob("*") if p.is_file()} == before


def test_resume_refuses_another_teacher(make_run, tmp_path):
    from toy import ToyModel

    def options(name: str) -> dict:
        path = tmp_path / f"{name}.pth"
        torch.save({"state_dict": ToyModel(width=6).state_dict()}, path)
        return {**TEACHER, "model.teacher.checkpoint": str(path)}

    run_dir = make_run(options={**options("first"), **act_at(7, kill)})
    with pytest.raises(Killed):
        run(run_dir, resume=False)
    without_the_hook(run_dir, options("second"))
    with pytest.raises(CheckpointError, match="resumed with its own teacher"):
        run(run_dir, resume=True)


def test_resume_refuses_a_checkpoint_of_another_model(make_run):
    run_dir = make_run(options=act_at(7, kill))
    with pytest.raises(Killed):
        run(run_dir, resume=False)
    wider = {"model.student": {"type": "ToyModel", "width": 8}}
    without_the_hook(run_dir, wider)
    with pytest.raises(CheckpointError, match="of another model"):
        run(run_dir, resume=True)


def test_wandb_offline_gets_the_rows_and_its_time_is_booked_apart(make_run, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    run_dir = make_run(options=TEACHER, wandb={"mode": "offline", "project": "test"})
    result = run(run_dir, resume=False)
    assert result.state == "complete"
    assert result.seconds["tracking"] > 0
    (log,) = run_dir.wandb.glob("offline-run-*/*.wandb")
    data = log.read_bytes()
    keys = (b"val/acc", b"train/distill.l2.loss", b"spectra/l2/gap_0-0.125", b"spectra/l2")
    for key in (*keys, b"ledger/features/coherence_0.5-1"):
        assert key in data


def test_a_second_process_is_refused(make_run):
    run_dir = make_run()
    with run_dir.lock(), pytest.raises(RunError, match="one process at a time"):
        run(run_dir, resume=False)


def test_a_job_waits_for_the_folder(make_run, monkeypatch):
    monkeypatch.setattr("fourierkd.engine.run.LOCK_PATIENCE", 0.2)
    run_dir = make_run()
    with ExitStack() as held:
        held.enter_context(run_dir.lock())
        with pytest.raises(RunError, match=f"process {os.getpid()} on .* has it"):
            run_job(RunDir(run_dir.path), resume=False)
        monkeypatch.setattr("fourierkd.engine.run.LOCK_PATIENCE", 60.0)
        threading.Timer(0.5, held.close).start()
        assert run_job(RunDir(run_dir.path), resume=False).state == State.COMPLETE
    assert [row["iter"] for row in run_dir.rows() if "train/loss" in row] == [10, 20]


@pytest.mark.parametrize("state", [State.COMPLETE, State.PRUNED, State.FAILED])
def test_a_job_trains_nothing_where_a_result_stands(make_run, state):
    run_dir = make_run()
    run_dir.write_result(Result(state=state, reason="told before", iters=7))
    assert run_job(run_dir, resume=True) == run_dir.read_result()
    assert run_dir.read_result().iters == 7
    assert not run_dir.scalars.exists()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_job_that_is_started_again_goes_on(make_run, how):
    """As a queue does it after its machine was lost, or took it away: by the same command."""

    def end(runner):
        if how == "killed":
            raise Killed
        os.kill(os.getpid(), signal.SIGTERM)

    options = act_at(12, end)
    run_dir = make_run(options=options)
    if how == "killed":
        with pytest.raises(Killed):
            run_job(run_dir, resume=False)
        run_dir.result.unlink()
    else:
        assert run_job(run_dir, resume=False).state == State.STOPPED
    without_the_hook(run_dir, {})
    result = run_job(run_dir, resume=False)
    assert (result.state, result.iters) == (State.COMPLETE, 20)
    (resumed,) = [row for row in run_dir.tail()[0] if row.get("event") == "resume"]
    assert resumed["iter"] == {"killed": 10, "stopped": 12}[how]


@pytest.mark.parametrize(
    ("minutes", "saved"),
    [(10.0, [5, 10, 15, 20]), (None, [5, 10, 15, 20]), (1e-9, list(range(1, 21)))],
)
def test_checkpoints_by_time_beside_those_of_validations(make_run, monkeypatch, minutes, saved):
    """Where the run can be cut only, and without a trace in what is trained."""
    given = []
    save = KDRunner.save_last

    def save_last(self, iteration, epoch):
        given.append(iteration)
        save(self, iteration, epoch)

    monkeypatch.setattr(KDRunner, "save_last", save_last)
    hook = {"type": "RunCheckpointHook", "minutes": minutes}
    run_dir = make_run("timed", {"default_hooks": {"checkpoint": hook}})
    run(run_dir, resume=False)
    assert sorted(set(given)) == saved
    plain = make_run("plain")
    run(plain, resume=False)
    states = [load_checkpoint(r.last_checkpoint())["state_dict"] for r in (run_dir, plain)]
    assert_same(*states)


def test_a_run_gives_signs_of_life_while_it_trains_and_validates(make_run, monkeypatch):
    beats = []
    monkeypatch.setattr("fourierkd.engine.runner.BEAT", -1.0)
    monkeypatch.setattr(RunDir, "beat", lambda self: beats.append(self.signs()))
    run(make_run(), resume=False)
    assert len(beats) > 2 * (20 + 4)  # each iteration of both
