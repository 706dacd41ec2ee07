"""One run: in flows a run folder with its request, out flow scalars, checkpoints and the result.

Every end writes ``result.json``: complete, pruned or stopped (asked for by control file or signal),
or failed with the error as its reason; then the error goes on to the caller. With several processes
(``ranks``) all of them come here, and only rank 0 writes.
"""

from __future__ import annotations

import dis
import gc
import json
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

from mmengine.dist import get_world_size, is_distributed
from torch import nn

from fourierkd.config.load import RunConfig, load_config
from fourierkd.config.schedules import check_schedules
from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.distill.refusals import refusals, told
from fourierkd.distill.register import register_all
from fourierkd.distill.taps import isolated_random_state
from fourierkd.engine.class_counts import check_class_counts
from fourierkd.engine.clock import Clock
from fourierkd.engine.cost import peak_of_process
from fourierkd.engine.data_at_start import check_at_start
from fourierkd.engine.environment import environment
from fourierkd.engine.forked import (
    STOPPING,
    LostWorkerError,
    keep_children_for_their_parent,
    lost_worker,
)
from fourierkd.engine.hooks.checkpoint import short_names
from fourierkd.engine.hooks.classes import ClassesHook
from fourierkd.engine.hooks.control import StopRun
from fourierkd.engine.hooks.ledger import LedgerHook
from fourierkd.engine.identity import KEY, check_identity, identity
from fourierkd.engine.predictions import write_predictions
from fourierkd.engine.prepare import complete_config, prepared_data
from fourierkd.engine.ranks import from_leader, leads, peer_lost, root_cause, wait
from fourierkd.engine.runner import KDRunner, teacher_sha256
from fourierkd.engine.switches import check_switches
from fourierkd.errors import DataError, FourierKDError, RunError, one_line
from fourierkd.records import (
    TEST,
    VAL,
    Best,
    Checkpoints,
    Conditions,
    Metric,
    Phase,
    Request,
    Result,
    State,
    as_scores,
    checked_direction,
    scores,
    scores_of_classes,
)
from fourierkd.run_dir import RunDir, read_json, write_atomic

# PyTorch's words for memory that is too small, and for what is wrong with a device.
_MEMORY = re.compile(r"out of memory|allocate|CUDA|cuDNN|NCCL")
SEARCH = (Phase.BASELINE, Phase.TRIAL, Phase.RUNG)  # many runs, seldom looked at one by one
LOCK_PATIENCE = 150.0  # seconds; NFS keeps the lock of a lost machine for 90
SENDERS = {"kill", "raise_signal"}  # functions of os and signal


def run(run_dir: RunDir, *, resume: bool) -> Result:
    """Train what the request asks for, score the best checkpoint if asked, write the result.

    Args:
        run_dir: a folder made by ``RunDir.create``.
        resume: go on from the last checkpoint; from the start where there is none yet.

    Returns:
        The result, as written.

    Raises:
        FourierKDError: bad input, a busy folder, a diverged loss; the result (state failed) is
        written.
        OSError: the disk is full or not writable; the result is written if it can be.
    """
    with run_dir.lock() if leads() else nullcontext():
        if leads():
            earlier = run_dir.read_result() if resume else None
            if earlier is not None and earlier.state == State.COMPLETE:
                raise RunError(
                    "a complete run cannot be resumed", value=str(run_dir.path), fix="start another"
                )
        return _train(run_dir, resume=resume)


def run_job(run_dir: RunDir, *, resume: bool) -> Result:
    """As ``run``, for whoever is started by an engine that may start a run twice, or again after
    its machine was lost: it waits for the folder (``LOCK_PATIENCE``), trains nothing where a result
    stands, and goes on where rows stand.

    Args:
        run_dir: a folder made by ``RunDir.create``.
        resume: it is known that it was begun.

    Returns:
        The result, as written now or before.

    Raises:
        RunError: another process still has the folder.
    """
    with run_dir.lock(patience=LOCK_PATIENCE):
        result = run_dir.read_result()
        if result is not None and result.state != State.STOPPED:
            return result
        return _train(run_dir, resume=resume or run_dir.scalars.exists())


def _train(run_dir: RunDir, *, resume: bool) -> Result:
    """The run, whose folder is locked."""
    with stop_signals() as signals, cheap_garbage_collection(), ExitStack() as held:
        if leads():
            for old in (run_dir.result, run_dir.predictions):
                old.unlink(missing_ok=True)
            run_dir.clear_stop()
        wait()
        job = _Job(run_dir, run_dir.read_request(), held)
        try:
            with refusals():
                job.train(signals, resume=resume)
        except StopRun as stop:
            result: Result = from_leader(job.finish(stop.state, stop.reason) if leads() else None)
            return result
        except BaseException as error:
            traceback.print_exc()
            cause = root_cause(job.in_words(error))
            if leads():
                job.fail(cause)
            if cause is error:
                raise
            raise cause from error
        result = from_leader(job.finish(State.COMPLETE, None) if leads() else None)
        return result


class _Job:
    """What a run has come to, so that every end can tell it."""

    def __init__(self, run_dir: RunDir, request: Request, held: ExitStack) -> None:
        self.run_dir, self.request, self.held = run_dir, request, held
        self.clock = Clock()
        self.runner: KDRunner | None = None
        self.tracker: Any = None
        self.metric: Metric | None = None
        self.facts: dict[str, Any] = {}  # what environment.json holds
        self.warnings: list[str] = []
        self.first = 0  # iteration that this process starts from
        self.validated = False  # whether an earlier process did
        self.test_metrics: dict[str, float] = {}

    def train(self, signals: list[str], *, resume: bool) -> None:
        """All of the run but its result."""
        run_dir, split = self.run_dir, self.request.test_split
        config = load_config(self.request.config, self.request.options)
        complete_config(config, split)
        if config.get("metric"):
            self.metric = Metric(config.metric, checked_direction(config.direction))
        check_switches(config)
        self.warnings = check_schedules(config, in_study=self.request.study is not None)
        checkpoint = run_dir.last_checkpoint() if resume else None
        if leads():
            self.held.enter_context(prepared_data(config, reader=str(run_dir.path)))
            now = identity(config)
            if resume:
                check_identity(run_dir, config, now)
            self.warnings += check_at_start(config, without=() if split == TEST else (TEST,))
            self.warnings += check_class_counts(config)
            self._write_facts(config, now)
            if resume:
                self.first = load_checkpoint(checkpoint)["meta"]["iter"] if checkpoint else 0
                rows = (row for row in run_dir.rows() if row.get("iter", 0) <= self.first)
                self.validated = any(scores(row) for row in rows)
                run_dir.void_after(self.first)
            self.tracker = self._tracker(config)  # it sends the curve so far
        wait()
        register_all()
        self.runner = KDRunner(
            config,
            run_dir,
            seed=self.request.seed,
            clock=self.clock,
            tracker=self.tracker,
            resume_from=checkpoint,
        )
        self.runner.signals = signals
        self.runner.register_hook(ClassesHook())
        self.runner.register_hook(LedgerHook(config.pair))
        if split == TEST:
            with isolated_random_state():
                self.runner.test_loop  # noqa: B018 - built now: a mistake there costs no training
        self.runner.train()
        if self.runner.iterations == 0:
            raise DataError("a run trains at least one iteration", value=0, fix="see run.log")
        if split is not None:
            self.test_metrics = score_best(self.runner, split)
        if self.request.phase not in SEARCH:
            self._predict(self.runner)

    def _predict(self, runner: KDRunner) -> None:
        """Pictures of what the best checkpoint says."""
        with self.clock.part("predictions"):
            load_best(runner)
            write_predictions(runner)
        if self.tracker is not None:
            with self.clock.part("tracking"):
                self.tracker.predictions()

    def _write_facts(self, config: RunConfig, now: dict[str, str | None]) -> None:
        """The resolved config, and what it runs on."""
        run_dir = self.run_dir
        run_dir.checkpoints.mkdir(exist_ok=True)
        write_atomic(run_dir.config, config.pretty_text)
        self.facts = {
            **environment(),
            "seed": self.request.seed,
            "metric": config.get("metric"),
            "max_iters": config.train_cfg.get("max_iters"),
            "ranks": get_world_size(),
            "warnings": self.warnings,
            KEY: now,
        }
        write_atomic(run_dir.environment, json.dumps(self.facts, indent=1) + "\n")

    def _tracker(self, config: RunConfig) -> Any:
        if self.request.wandb.mode == "disabled":
            return None
        from fourierkd.tracking.wandb_backend import WandbBackend

        with self.clock.part("tracking"):
            return WandbBackend(self.run_dir, self.request, config.to_dict())

    def in_words(self, error: BaseException) -> BaseException:
        """``error`` as one line where it ends a run before anything is trained and validated.

        Nearly always the config is wrong there, in a way that some class says in its own words; the
        run's log has all of them. Memory that is too small and a lost rank are something else.
        A lost worker is named whenever it is.
        """
        if (lost := lost_worker(error)) is not None:
            return lost
        runner = self.runner
        trained = runner is not None and runner.iterations > self.first
        validated = self.validated or (runner is not None and runner.validated)
        if (
            (trained and validated)
            or not isinstance(error, Exception)
            or isinstance(error, FourierKDError | OSError | MemoryError)
            or _MEMORY.search(str(error))
            or peer_lost(error)
        ):
            return error
        step = "validation" if trained else "iteration"
        return RunError(
            f"the run ends before its first {step} is done ({told(error)})",
            fix="correct the config or the data; the run's log has the whole traceback",
        )

    def fail(self, error: BaseException) -> None:
        """Write the result of a run that ``error`` ends; one that can go on is stopped."""
        stops = isinstance(error, KeyboardInterrupt | LostWorkerError)
        state = State.STOPPED if stops else State.FAILED
        try:
            self.finish(state, f"{type(error).__name__}: {one_line(error)}")
        except OSError:
            traceback.print_exc()  # a full disk: the exit code has to tell

    def _parameters(self) -> dict[str, int]:
        if self.runner is None:
            return {}
        counts = parameter_counts(self.runner.bare_model)
        report = read_json(self.run_dir.inherited)  # of the run's first start
        if report is not None:
            counts["inherited"] = sum(part["values"] for part in report.values())
        return counts

    def _peak_mib(self) -> float | None:
        if self.runner is None:
            return None
        return peak_of_process(next(self.runner.bare_model.parameters()).device)

    def _classes(self, best: int | None) -> dict[str, dict[str, float | None]]:
        """By split: each class's part of the metric, of the best checkpoint."""
        if self.metric is None:
            return {}
        found = {}
        for split in (VAL, TEST):
            # scored on val, the test metrics are those of the best validation
            where = VAL if split == TEST and self.request.test_split == VAL else split
            rows = self.run_dir.class_rows(where)
            if split == TEST and not self.test_metrics:
                continue
            row = rows.get(best) if best is not None else next(iter(reversed(rows.values())), None)
            if row is not None:
                found[split] = scores_of_classes(row, self.metric)
        return {split: classes for split, classes in found.items() if classes}

    def _teacher_maps(self) -> dict[str, Any] | None:
        """How many maps were kept, or why the teacher ran at every step; None without a teacher."""
        teacher = getattr(self.runner and self.runner.bare_model, "teacher", None)
        if teacher is None:
            return None
        if teacher.maps is None:
            return {"kept": 0, "why_live": teacher.why_live}
        return {"kept": len(teacher.maps), "why_live": teacher.maps.why_live}

    def finish(self, state: State, reason: str | None) -> Result:
        """Write the result, and return it."""
        runner, run_dir = self.runner, self.run_dir
        best = runner.best if runner is not None else None
        metrics = as_scores(best["metrics"] if best else {}) | as_scores(self.test_metrics, TEST)
        if self.tracker is not None:
            with self.clock.part("tracking"):
                self.tracker.close(state, metrics)
        last, best_path = run_dir.last_checkpoint(), run_dir.best_checkpoint()
        result = Result(
            state=state,
            reason=reason,
            metric=self.metric,
            best=Best(best["iter"], best["value"]) if best else None,
            metrics=metrics,
            classes=self._classes(best["iter"] if best else None),
            iters=runner.iterations if runner is not None else 0,
            seconds=self.clock.report(),
            parameters=self._parameters(),
            peak_mib=self._peak_mib(),
            conditions=Conditions.of(
                self.facts, teacher_sha256(runner.bare_model) if runner is not None else None
            ),
            teacher_maps=self._teacher_maps(),
            checkpoints=Checkpoints(
                last=str(last.relative_to(run_dir.path)) if last else None,
                best=str(best_path.relative_to(run_dir.path)) if best_path.exists() else None,
            ),
        )
        run_dir.write_result(result)
        return result


def score_best(runner: KDRunner, split: str) -> dict[str, float]:
    """Metrics of the best checkpoint (of the last weights where there is none) on ``split``."""
    if split == VAL and runner.best is not None:
        return dict(runner.best["metrics"])
    load_best(runner)
    loop = runner.test_loop if split == TEST else runner.val_loop
    return short_names(loop.run(), runner.cfg.get("metric"))


def load_best(runner: KDRunner) -> None:
    """The best checkpoint's weights into the model; where there is none the last ones stay."""
    wait()  # rank 0 has written it
    if runner.best is not None:
        best = load_checkpoint(runner.run_dir.best_checkpoint())
        runner.load_weights(best, resume=False)


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters of ``student``, ``teacher`` and ``losses`` (with connectors)."""

    def count(*names: str) -> int:
        parts = [getattr(model, name) for name in names if getattr(model, name, None) is not None]
        return sum(p.numel() for part in parts for p in part.parameters())

    teacher = getattr(getattr(model, "teacher", None), "model", None)
    return {
        "student": count("student") if hasattr(model, "student") else count_all(model),
        "teacher": count_all(teacher) if teacher is not None else 0,
        "losses": count("losses", "connectors"),
    }


def count_all(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


@contextmanager
def cheap_garbage_collection() -> Iterator[None]:
    """Keep what is loaded out of collections: MMEngine asks for one per data set (0.5 s)."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def is_sending(frame: FrameType | None) -> bool:
    """Whether a signal interrupts the very call that sent it: a hook that stops its own run."""
    if frame is None or SENDERS.isdisjoint(frame.f_code.co_names):
        return False
    code = frame.f_code.co_code
    return dis.opname[code[frame.f_lasti]].startswith(("CALL", "PRECALL"))


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect SIGTERM and SIGINT for ControlHook; a second SIGINT raises KeyboardInterrupt.

    One that the run's own code sends is told apart: the run ends as its config wants.

    Not under a launcher: with Ctrl-C a rank gets one from the terminal and one from torchrun.
    """
    asked: list[str] = []

    def note(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and name in asked and not is_distributed():
            raise KeyboardInterrupt
        asked.append(f"{name} of its own" if is_sending(frame) else name)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, note) for number in STOPPING}
    keep_children_for_their_parent()
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
