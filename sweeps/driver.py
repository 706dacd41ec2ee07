"""Trains runs through an executor: in flow runs to do, out flow results, whoever dies meanwhile.

The driver writes the run folder, sends it off, tails its scalars, passes values on, asks it to
stop, and sees to it that every ended run has a result. It knows nothing of Optuna: a ``Run`` brings
what is to happen with values and results.
"""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fourierkd.errors import StudyError, near
from fourierkd.records import Phase, Result, State, scores
from fourierkd.run_dir import Row
from sweeps.account import Account, duration
from sweeps.executors.base import End, Executor, Needs, Verdict
from sweeps.progress import Display
from sweeps.runs import Run, check_same, failed, failure_kind
from sweeps.watch import Pulse

SAME_FAILURES = 3
# How often a run is sent off again without a new checkpoint in between: one that was preempted has
# done nothing wrong.
RESTARTS, PREEMPTIONS = 2, 100
# Seconds for runs to save and stop after Ctrl-C: one that works (a validation cannot be cut) has
# the longest, one that is silent the shortest and twice the longest pause it has had so far.
STOP_PATIENCE, LONGEST_STOP = 5.0, 60.0
# Errors of the input, not of a trial's parameters: the study has to wait for a person.
INPUT_ERRORS = ("DataError", "CheckpointError")
# So has it at a full disk, which would make failures of runs that nothing else is wrong with.
DISK_FULL = tuple(f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT))


class Interrupted(Exception):  # noqa: N818 - not an error
    """The person at the terminal stopped the study; live runs saved what they could."""


class Driver:
    """Runs until there are no more.

    Args:
        executor: where runs are trained.
        display: what the person sees.
        account: where the time goes.
        needs: of each run.
        patience: seconds of silence after which a run hangs; None: as its own pace says.
    """

    def __init__(
        self,
        executor: Executor,
        display: Display,
        account: Account,
        *,
        needs: Needs | None = None,
        patience: float | None = None,
    ) -> None:
        self.executor, self.display, self.account = executor, display, account
        self.needs, self.patience = needs or Needs(), patience
        self.guard: Callable[[], None] = lambda: None  # raises where nothing may be written
        self.after_run: Callable[[], None] = lambda: None  # of a run that ended in this session
        self.interrupts = 0  # set by the signal handler
        self.by_hand = False  # and whether it was Ctrl-C
        self._live: dict[Path, Run] = {}
        self._jobs = 1
        self._next_look = 0.0  # at the folders, by the monotonic clock
        self._failures: list[str] = []

    def drive(self, runs: Iterator[Run | None], jobs: int) -> None:
        """Train ``runs`` until there are no more and all have ended, ``jobs`` at once.

        Args:
            runs: None stands for "not before another run has ended".
            jobs: at least 1.

        Raises:
            StudyError: three failures of one kind in a row, bad input, or a metric that no run has.
            Interrupted: after Ctrl-C, once the live runs have stopped.
        """
        self._jobs = jobs
        more = True
        while True:
            while more and len(self._live) < jobs and not self.interrupts:
                try:
                    run = next(runs)
                except StopIteration:
                    more = False
                    break
                if run is None:
                    break
                self._begin(run)
            if self.interrupts:
                self._stop_all()
            if not self._live:
                if more:
                    continue
                return
            self._look()

    def _look(self) -> None:
        """Hear which runs ended; every ``interval`` seconds look at the folders of all others."""
        for end in self.executor.poll(max(0.0, self._next_look - time.monotonic())):
            if end.run in self._live:
                self._live[end.run].ended = (end, time.monotonic())
        self.guard()
        for path, run in list(self._live.items()):
            if run.ended is not None and self._settled(run, run.ended[1]):
                del self._live[path]
                self._end(run, run.ended[0])
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self.executor.interval
        waiting = self.executor.waiting()
        for path, run in self._live.items():
            if run.ended is None:
                self._watch(run, begun=path not in waiting)
                if path in waiting:
                    self.display.waiting(run.label, waiting[path])

    def _settled(self, run: Run, since: float) -> bool:
        """Whether what an ended run wrote is seen here by now."""
        late = time.monotonic() - since >= self.executor.settle
        return late or self.interrupts > 0 or run.run_dir.read_result() is not None

    def _begin(self, run: Run) -> None:
        # Asked first: what lives may end, and write a result, between the two questions.
        lives = bool(self.executor.alive([run.run_dir]))
        result = run.run_dir.read_result()
        if result is not None and result.state != State.STOPPED:
            self._follow(run)  # it ended, but nobody heard of it
            self._finish(run, result, seconds=None)
            return
        known = run.run_dir.request.exists()
        if known:
            check_same(run.run_dir, run.request)
        if not lives:
            run.run_dir.result.unlink(missing_ok=True)
            run.run_dir.clear_stop()
            run.run_dir.create(run.request)
        run.pulse = Pulse(run.run_dir, every=self.executor.interval)
        run.started = time.monotonic()
        self._send(run, resume=known)

    def _send(self, run: Run, *, resume: bool) -> None:
        run.ended, run.ended_for, run.begun = None, None, False
        self.display.started(run.label, run.run_dir, run.request.phase)
        self.executor.start(self.needs, self._jobs)
        self.executor.submit(run.run_dir, resume=resume)
        self._live[run.run_dir.path] = run
        run.pulse.begin()

    def _watch(self, run: Run, *, begun: bool) -> None:
        self._follow(run)
        # A starting child forgets old stop requests, perhaps this one.
        if run.stop is not None and run.run_dir.stop_asked() is None:
            run.run_dir.ask_stop(*run.stop)
        if begun and not run.begun:
            run.pulse.begin()
            if self.executor.outlives:  # a queue; what a run waits for on this machine is its start
                run.started = time.monotonic()
        run.begun = begun
        limit = run.pulse.limit(self.patience)
        if run.pulse.look() > limit and begun:
            self._kill(run, f"it gave no sign of life for {duration(limit)}")

    def _kill(self, run: Run, why: str) -> None:
        if run.ended_for is None:
            run.ended_for = why
            self.executor.kill(run.run_dir)

    def _follow(self, run: Run) -> None:
        """Pass on what the run wrote since the last look."""
        rows, run.offset = run.run_dir.tail(run.offset)
        for row in rows:
            if run.metric is not None and scores(row):
                self._validated(run, row, run.metric)
        self.display.rows(run.label, run.run_dir, rows)

    def _validated(self, run: Run, row: Row, metric: str) -> None:
        known = scores(row)
        if metric not in known:
            self.executor.kill(run.run_dir)
            run.run_dir.result.unlink(missing_ok=True)  # whatever it says is about another metric
            raise StudyError(
                "metric must be one that the run's validation reports",
                value=metric,
                fix=near(metric, known),
            )
        value = known[metric]
        if not isinstance(value, int | float) or row["iter"] in run.seen:
            return
        run.seen[row["iter"]] = value
        why = run.report(row, value)
        if why is not None and run.stop is None:
            run.stop = (State.PRUNED, why)

    def _end(self, run: Run, end: End) -> None:
        self._follow(run)
        wall = time.monotonic() - run.started
        result = run.run_dir.read_result()
        if self.interrupts and (result is None or result.state == State.STOPPED):
            self.account.add_run(run.request.phase, wall, result.seconds if result else {})
            return
        if result is None or result.state == State.STOPPED:
            died = run.ended_for or end.words
            why = died if result is None else f"stopped from outside ({result.reason})"
            if end.verdict == "cancelled" and run.ended_for is None:
                result = failed(run, f"Cancelled: {end.words}", wall)  # a person wants no other try
            elif self._again(run, end.verdict, why):
                return
            else:
                how = f"Died: {died}" if result is None else f"Stopped: {result.reason}"
                times = f"{run.restarts.total()} times without a checkpoint in between"
                result = failed(run, f"{how}, {times}", wall)
        if result.state == State.FAILED:
            self._refuse_bad_input(run, result)
        self.account.add_run(run.request.phase, wall, result.seconds)
        self._finish(run, result, seconds=wall)

    def _again(self, run: Run, verdict: Verdict, why: str) -> bool:
        """Send a run off again that could not end by itself; False where that leads nowhere."""
        checkpoint = run.run_dir.last_checkpoint()
        if checkpoint != run.checkpoint:
            run.restarts.clear()
        run.checkpoint = checkpoint
        run.restarts[verdict == "preempted"] += 1
        if run.restarts[False] > RESTARTS or run.restarts[True] > PREEMPTIONS:
            return False
        where = "its last checkpoint" if checkpoint else "its start"
        self.display.say(f"{run.label}: {why}; going on from {where}")
        run.run_dir.result.unlink(missing_ok=True)
        run.run_dir.clear_stop()
        self._send(run, resume=True)
        return True

    def _finish(self, run: Run, result: Result, *, seconds: float | None) -> None:
        run.done(result)
        split, metric = run.request.split, result.metric
        value = result.score(split)
        text = f"FAIL ({result.reason}); log: {run.run_dir.log}"
        if result.state == State.PRUNED:
            text = f"pruned ({result.reason})"
        elif result.state == State.COMPLETE:
            text = "complete"
            if metric is not None and value is not None:
                text = f"{split} {metric.name} {value:.4g}"
        self.display.ended(
            run.label,
            text,
            phase=run.request.phase,
            seconds=seconds,
            failed=result.state == State.FAILED,
            counts=run.counts,
        )
        if seconds is None:
            return
        self.after_run()
        if result.state != State.FAILED:
            self._failures.clear()
            return
        self._failures.append(failure_kind(result))
        if self._failures[-SAME_FAILURES:] == [self._failures[-1]] * SAME_FAILURES:
            raise StudyError(
                f"the last {SAME_FAILURES} runs failed in the same way ({result.reason})",
                fix=f"see {run.run_dir.log}; after correcting it, the same command goes on, and "
                "--retry-failed tries these runs again",
            )

    def _refuse_bad_input(self, run: Run, result: Result) -> None:
        kind, phase, reason = failure_kind(result), run.request.phase, result.reason or ""
        full = any(code in reason for code in DISK_FULL)
        if full or kind in INPUT_ERRORS or (kind == "ConfigError" and phase != Phase.TRIAL):
            run.run_dir.result.unlink()  # so that the same command tries again
            raise StudyError(
                f"{run.label} cannot run ({reason})",
                fix=("free some space" if full else "correct it")
                + f", then run the same command; log: {run.run_dir.log}",
            )

    def _stop_all(self) -> None:
        """Ask the live runs to save and stop, wait for them, and raise ``Interrupted``; those that
        outlive this process go on, unless the person at the terminal wants them to stop.
        """
        if self._live and self.executor.outlives and not self._wants_all_to_stop():
            self.display.say(f"{len(self._live)} runs go on; the same command takes them over")
            raise Interrupted
        if self._live:
            self.display.say(
                "stopping: live runs save their state (Ctrl-C again ends them at once)"
            )
        waiting = self.executor.waiting()
        for path, run in self._live.items():
            run.stop = (State.STOPPED, "interrupted")
            run.run_dir.ask_stop(*run.stop)
            if path in waiting:
                self._kill(run, "it had not begun")
        late = self.executor.settle  # until a run sees that it is asked
        end = time.monotonic() + LONGEST_STOP + late
        while self._live and time.monotonic() < end:
            self._look()
            for run in self._live.values():
                if run.pulse.silent > STOP_PATIENCE + late + 2 * run.pulse.pace:
                    self._kill(run, "it did not stop")
        for run in self._live.values():
            self.executor.kill(run.run_dir)
        raise Interrupted

    def _wants_all_to_stop(self) -> bool:
        question = f"stop the {len(self._live)} live runs too, which else go on?"
        return self.by_hand and self.display.asks(question)


@contextmanager
def stop_on_signals(driver: Driver) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask live runs to save and stop; a second one ends all at once."""

    def note(number: int, _: object) -> None:
        driver.interrupts += 1
        driver.by_hand = number == signal.SIGINT
        if driver.interrupts > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
