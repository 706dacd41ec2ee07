"""A study from start to report: in flow a study config and a work dir, out flow runs and results.

Teacher, then one queue: arms and trials, the rung (the best trials with fresh seeds), final runs.
Final runs of arms wait for nothing, so they take the places that are free while the last trials or
the rung are being run. Every step can be repeated, so the same command continues a study after any
kill, and does nothing but rewrite a finished one's report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from fourierkd.errors import FourierKDError
from fourierkd.records import Phase
from sweeps import finish
from sweeps.account import Account
from sweeps.ahead import try_ahead
from sweeps.budget import schedules_within
from sweeps.choice import (
    Contender,
    arm_contenders,
    rung_contenders,
    still_open,
    tuned_contender,
)
from sweeps.driver import Driver, Interrupted, stop_on_signals
from sweeps.executors.base import LOG_NAME, Executor
from sweeps.executors.local import LocalExecutor
from sweeps.live import Live, write_live
from sweeps.plan import Plan
from sweeps.progress import Display
from sweeps.runs import Run, forget_failure, left_of, to_do
from sweeps.samplers import make_pruner, make_sampler
from sweeps.search import Search
from sweeps.searches import searches
from sweeps.state import StudyState
from sweeps.storage import check_place, claim, not_writable, one_writer
from sweeps.study import StudyConfig
from sweeps.study_record import note, note_config, noted
from sweeps.teacher import study_teacher
from sweeps.time_left import Kind


def run_study(
    config: StudyConfig,
    work_dir: Path,
    *,
    command: str = "",
    retry_failed: bool = False,
    executor: Executor | None = None,
    display: Display | None = None,
) -> None:
    """Run or continue a study up to its report.

    Args:
        config: the study.
        work_dir: where all of it is written.
        command: what the person typed, for the report.
        retry_failed: failed arms, trials and final runs are tried again.
        executor: what trains the runs; None: this machine.
        display: where progress is shown.

    Raises:
        StudyError: the study cannot start, continue or finish; nothing that was done is lost.
        Interrupted: stopped by Ctrl-C; the same command goes on.
    """
    work_dir = work_dir.absolute()
    make_pruner(config.pruner)  # before anything is written
    searched = searches(config)
    for one in searched:
        make_sampler(one.config, 0)
    display = display or Display(config.measure)
    with one_writer(work_dir):
        moved = claim(config, work_dir)
        if moved is not None:
            display.say(f"another study, no trial of which has a value, was moved to {moved}")
        account = Account()
        executor = executor or LocalExecutor(work_dir / LOG_NAME)
        needs, patience = config.needs, config.patience
        driver = Driver(executor, display, account, needs=needs, patience=patience)
        try:
            account.merged(work_dir)  # damaged seconds are told now, not at the end
            note_config(work_dir, config, command)
            driver.guard = partial(check_place, work_dir)
            write_live(work_dir, Live())  # what an earlier session left is over
            display.keep = partial(write_live, work_dir)
            if not noted(work_dir).finished:
                executor.start(needs, 1)  # it loads its packages while we load ours
            with stop_on_signals(driver), display:
                plan = Plan(config, work_dir)
                found = [Search(plan, one, display, account) for one in searched]
                state = StudyState(plan, found, display, account)
                try:
                    Coordinator(state, driver, retry_failed=retry_failed).run()
                except (FourierKDError, Interrupted):
                    executor.close(detach=True)
                    check_place(work_dir)
                    display.nothing_runs()
                    finish.stopped(state)  # so that what there is can be looked at
                    account.save(work_dir)  # the next session's account goes on from it
                    raise
            executor.close()
            finish.finish(state)
        except OSError as error:
            raise not_writable(work_dir, error) from error
        finally:
            executor.close()


class Coordinator:
    """Takes a study through its phases; the only writer of its state."""

    def __init__(self, state: StudyState, driver: Driver, *, retry_failed: bool) -> None:
        self.state, self.driver, self.retry_failed = state, driver, retry_failed
        self.config, self.plan, self.searches = state.config, state.plan, state.searches
        self.finalists: list[Contender] = []  # methods of the final runs, once all are known
        driver.after_run = self._after_run

    def run(self) -> None:
        """All phases but the report."""
        config, state = self.config, self.state
        if config.max_seeds:
            from fourierkd.analysis.planning import outlook

            methods = len(config.arms | config.reference_arms) + bool(config.trials)
            state.display.say(outlook(math.comb(methods, 2)))
        try_ahead(config, state.work_dir, self.driver)
        self.plan.within = schedules_within(config, state.work_dir, self.driver)
        if self.searches or not config.own_teachers:
            self._teach(None)
        if config.own_teachers:
            for seed in config.seeds_of_finals():
                self._teach(seed)
        state.arms = [
            self.plan.arm(name, search.searched)
            for search in self.searches
            for name in search.outside
        ]
        finals = self.plan.repeats(Phase.FINAL, self._arms(), config.seeds_of_finals())
        state.repeats[Phase.FINAL] = finals
        self._begin([*state.arms, *finals])
        independent = left_of(finals)
        shared = (
            config.trial_jobs == config.jobs
        )  # else a run's threads would hang on its neighbours
        search = self._search(independent if shared else iter(()))
        rest = self._chosen(independent)
        if shared:
            between = self._meanwhile(independent, lambda: all(s.ended for s in self.searches))
            self.driver.drive(chain(search, between, rest), config.jobs)
        else:
            self.driver.drive(search, config.trial_jobs)
            self.driver.drive(rest, config.jobs)
        self._until_decided()

    def _teach(self, final_seed: int | None) -> None:
        """Give runs their teacher, which is trained where there is none yet.

        Args:
            final_seed: whose final runs it is for, where each seed has its own; None: for all.
        """
        config, state = self.config, self.state
        if config.teacher is None:
            return
        checkpoint, run_dir = study_teacher(
            config, state.work_dir, self.driver, final_seed=final_seed
        )
        state.teachers[final_seed] = run_dir
        if final_seed is None:
            note(state.work_dir, teacher=str(run_dir.path))
            options = self.plan.common
        else:
            known = noted(state.work_dir).final_teachers
            note(state.work_dir, final_teachers={**known, str(final_seed): str(run_dir.path)})
            options = self.plan.of_seed.setdefault(final_seed, {})
        options[config.teacher["option"]] = str(checkpoint)

    def _search(self, meanwhile: Iterator[Run]) -> Iterator[Run | None]:
        """Arms and trials, one search after the other; runs of ``meanwhile`` where one waits."""
        yield from left_of(self.state.arms)
        for search in self.searches:
            for run in search.runs(retry_failed=self.retry_failed):
                yield next(meanwhile, None) if run is None else run

    def _chosen(self, independent: Iterator[Run]) -> Iterator[Run | None]:
        """What waits for the searches: the rung, and the final runs of what they chose."""
        config, state = self.config, self.state
        for search in self.searches:
            search.note_repeats()
        with state.account.part("choice"):
            table = state.table()
            methods = [
                contender
                for search in self.searches
                for contender in rung_contenders(search.searched, table, search.trials())
            ]
        rung = self.plan.repeats(Phase.RUNG, methods, config.seeds_of_rung())
        state.repeats[Phase.RUNG] = rung
        self._begin(rung)
        yield from left_of(rung)
        yield from self._meanwhile(independent, lambda: not any(map(to_do, rung)))
        with state.account.part("choice"):
            methods, table = [], state.table()
            for search in self.searches:
                tuned, why_none = tuned_contender(search.searched, table, search.trials())
                search.notes += [why_none] if why_none else []
                methods += [tuned] if tuned is not None else []
        finals = self.plan.repeats(Phase.FINAL, methods, config.seeds_of_finals())
        state.chosen = True
        state.repeats[Phase.FINAL] = sorted(  # seed by seed, the tuned ones first
            [*finals, *state.repeats[Phase.FINAL]], key=lambda run: run.request.seed
        )
        self._begin(finals)
        yield from left_of(finals)
        yield from independent
        self.finalists = [*methods, *self._arms()]

    def _arms(self) -> list[Contender]:
        """Methods of the final runs that wait for no search."""
        return arm_contenders(self.config, [search.searched for search in self.searches])

    def _until_decided(self) -> None:
        """Seed by seed, final runs of what is undecided against the baseline, and of the baseline.

        A round looks at the seeds before it alone, so a study that goes on takes the same steps.
        """
        config, state = self.config, self.state
        for seed in config.seeds_to_add():
            with state.account.part("choice"):
                undecided = still_open(config, state.table())
            if not undecided:
                return
            if config.own_teachers:
                self._teach(seed)
            found = self.plan.repeats(Phase.FINAL, self.finalists, [seed])
            asked = (config.baseline, *undecided)
            runs = [run for run in found if run.request.method in asked or not to_do(run)]
            state.repeats[Phase.FINAL] += runs
            self._begin(runs)
            if any(map(to_do, runs)):
                state.display.say(f"undecided: {', '.join(undecided)}; seed {seed} is added")
            self.driver.drive(left_of(runs), config.jobs)

    def _meanwhile(self, runs: Iterator[Run], over: Callable[[], bool]) -> Iterator[Run | None]:
        """Runs that wait for nothing, until something else is over; None where there is none."""
        while not over():
            yield next(runs, None)

    def _begin(self, runs: list[Run]) -> None:
        """Runs of this study are known from here on."""
        if self.retry_failed:
            for run in runs:
                forget_failure(run.run_dir)
        jobs = {Kind.SEARCH: self.config.trial_jobs, Kind.FULL: self.config.jobs}
        self.state.display.plan(self.state.count(), jobs)

    def _after_run(self) -> None:
        """The table can be looked at while the study runs."""
        with self.state.account.part("report"):
            note(self.state.work_dir, finished=False)
            finish.write_tables(self.state)
