"""A study from start to report: in flow a study config and a work dir, out flow runs and results.

Phases: teacher, arms, trials, rung (the best trials with fresh seeds), final runs, report. Every
step can be repeated: a trial that Optuna calls running is re-attached to its run folder, a run that
ended unheard is told from its result, and an unfinished one goes on from its checkpoint. So the
same command continues a study after any kill, and does nothing but rewrite a finished one's report.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourierkd.errors import FourierKDError, RunError
from fourierkd.records import Phase, Request, Result, State, Tracking
from fourierkd.run_dir import Row, RunDir
from sweeps import finish, tables
from sweeps.account import Account
from sweeps.ahead import try_ahead
from sweeps.ask import RETRY_OF, SAME_AS, Proposal, ask, live, own_trials, propose, settle, tell
from sweeps.choice import Method, final_methods, rung_methods
from sweeps.driver import Driver, Interrupted, Run, stop_on_signals
from sweeps.executors.base import Executor
from sweeps.executors.local import LocalExecutor
from sweeps.outcome import forget_failure, left_of, to_do
from sweeps.progress import Display, share_done
from sweeps.samplers import EXHAUSTIVE, make_pruner, make_sampler
from sweeps.space import branches, match
from sweeps.storage import (
    RUNS_NAME,
    check_place,
    claim,
    not_writable,
    one_writer,
    open_study,
)
from sweeps.study import StudyConfig
from sweeps.tables import trial_dir, trial_number
from sweeps.teacher import study_teacher

if TYPE_CHECKING:
    import optuna
    import pandas as pd


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
    make_sampler(config, 0)
    display = display or Display(config.metric, config.direction)
    with one_writer(work_dir):
        moved = claim(config, work_dir)
        if moved is not None:
            display.say(f"another study, no trial of which has a value, was moved to {moved}")
        account = Account()
        executor = executor or LocalExecutor(work_dir / "worker.log")
        driver = Driver(executor, display, account, patience=config.patience)
        try:
            account.merged(work_dir)  # damaged seconds are told now, not at the end
            tables.note_config(work_dir, config, command)
            driver.guard = partial(check_place, work_dir)
            if not tables.noted(work_dir).get("finished"):
                executor.start()  # it loads its packages while we load ours
            with stop_on_signals(driver), display:
                coordinator = Coordinator(config, work_dir, driver)
                try:
                    coordinator.run(retry_failed=retry_failed)
                except (FourierKDError, Interrupted):
                    executor.close()
                    check_place(work_dir)
                    finish.stopped(coordinator)  # so that what there is can be looked at
                    account.save(work_dir)  # the next session's account goes on from it
                    raise
            executor.close()
            finish.finish(coordinator)
        except OSError as error:
            raise not_writable(work_dir, error) from error
        finally:
            executor.close()


class Coordinator:
    """The only writer of one study.

    Attributes:
        config, work_dir: of the study.
        study: Optuna's.
        teacher, checkpoint: run folder of the teacher and its best checkpoint, or None.
        notes: sentences for the report.
    """

    def __init__(self, config: StudyConfig, work_dir: Path, driver: Driver) -> None:
        self.config, self.work_dir, self.driver = config, work_dir, driver
        self.display, self.account = driver.display, driver.account
        with self.account.part("optuna"):
            self.study: optuna.Study = open_study(config, work_dir)
        driver.after_run = self._after_run
        self.teacher: RunDir | None = None
        self.checkpoint: Path | None = None
        self.notes: list[str] = []
        self._retry_failed = False
        self._arms: list[Run] = []  # those outside of the space
        self._repeats: dict[Phase, list[Run]] = {}  # phase after the trials -> its runs, once known
        self._common: dict[str, Any] = {}  # options of every run
        # Arms that the space can express are trials, from which the sampler learns; the others are
        # runs beside it.
        self.arm_parameters: dict[str, dict[str, Any] | None] = {}
        self._start_points: dict[str, dict[str, Any] | None] = {}
        for kind, methods, points in (
            ("arm", config.arms, self.arm_parameters),
            ("start point", config.start_points, self._start_points),
        ):
            for name, options in methods.items():
                points[name], why = match(config.space, options)
                if why:
                    self.notes.append(f"The {kind} {name} lies outside of the search space: {why}.")

    @property
    def _outside(self) -> list[str]:
        return [name for name, parameters in self.arm_parameters.items() if parameters is None]

    @property
    def _target(self) -> int:
        """Number of Optuna's trials: ``trials`` counts the arms outside of the space too, and a
        trial that is tried again once.
        """
        again = sum(RETRY_OF in trial.user_attrs for trial in self._all_trials())
        return self.config.trials - len(self._outside) + again

    def run(self, *, retry_failed: bool = False) -> None:
        """All phases but the report."""
        config = self.config
        self._retry_failed = retry_failed
        try_ahead(config, self.work_dir, self.driver)
        if config.teacher is not None:
            self.checkpoint, self.teacher = study_teacher(config, self.work_dir, self.driver)
            tables.note(self.work_dir, teacher=str(self.teacher.path))
            self._common[config.teacher["option"]] = str(self.checkpoint)
        self._common |= {"metric": config.metric, "direction": config.direction, **config.options}
        self._arms = [self._arm(name) for name in self._outside]
        self._plan()
        self._trials()
        with self.account.part("choice"):
            rung = rung_methods(config, self.table(), self._all_trials())
        self._repeat(Phase.RUNG, rung, config.seeds_of_rung(), None)
        with self.account.part("choice"):
            finals, notes = final_methods(config, self.table(), self._all_trials())
        self.notes += notes
        self._repeat(Phase.FINAL, finals, config.seeds_of_finals(), config.final_split)

    def run_dirs(self) -> list[RunDir]:
        """All run folders as the results table has them: teacher, arms, trials, rung, finals."""
        teacher = [self.teacher] if self.teacher is not None else []
        arms = [self._run_dir(f"baseline_{name}") for name in self._outside]
        trials = [self._trial_dir(trial) for trial in self._all_trials()]
        repeats = [run.run_dir for runs in self._repeats.values() for run in runs]
        return [run for run in [*teacher, *arms, *trials, *repeats] if run.request.exists()]

    def drop_checkpoints(self) -> None:
        """Of arms and trials that nobody goes on with; at the study's end."""
        if self.config.keep_checkpoints:
            return
        arms = [arm.run_dir for arm in self._arms]
        for run_dir in [*arms, *map(self._trial_dir, self._all_trials())]:
            with suppress(RunError):  # a damaged result, which the table names
                result = run_dir.read_result()
                if result is not None and result.state in (State.PRUNED, State.FAILED):
                    run_dir.drop_checkpoints()

    def table(self) -> pd.DataFrame:
        """Results so far."""
        return tables.table(self.work_dir, self.run_dirs(), own_trials(self.study))

    def _after_run(self) -> None:
        """The table can be looked at while the study runs."""
        with self.account.part("report"):
            tables.note(self.work_dir, finished=False)
            finish.write_tables(self)

    def _plan(self) -> None:
        """Tell the display how much there is to do, as far as it is known."""
        config = self.config
        methods = 1 + len(config.arms) + len(config.reference_arms)
        counts = {
            Phase.RUNG: config.rung_trials * config.rung_seeds,
            Phase.FINAL: config.final_seeds * methods,
        } | {phase: len(runs) for phase, runs in self._repeats.items()}
        known = [*self._arms, *(run for runs in self._repeats.values() for run in runs)]
        done = sum(not to_do(run) for run in known)
        done += len({trial_number(t) for t in own_trials(self.study) if t.state.is_finished()})
        self.display.plan(config.trials + sum(counts.values()), done)

    def _drive(self, runs: list[Run]) -> None:
        """Train those of ``runs`` that have no result yet."""
        left = left_of(runs)
        self.driver.drive(lambda: next(left, None), self.config.jobs)

    # Trials

    def _trials(self) -> None:
        """The arms outside of the space, then Optuna's trials, as one queue: no core waits."""
        import optuna

        with self.account.part("optuna"):
            for key, points in (
                ("arm", self.arm_parameters),
                ("start", self._start_points),
                ("branch", self._branches()),
            ):
                known = {trial.user_attrs.get(key) for trial in self._all_trials()}
                for name, parameters in points.items():
                    if parameters is not None and name not in known:
                        self.study.enqueue_trial(parameters, user_attrs={key: name})
            settle(self.study)
            unfinished = [
                trial
                for trial in own_trials(self.study)
                if trial.state == optuna.trial.TrialState.RUNNING
            ]
            for trial in self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
                if trial.value is not None:
                    self.display.best(trial.value, self._trial_dir(trial).path.name)

            if self._retry_failed:
                for run in self._arms:
                    forget_failure(run.run_dir)
                self._enqueue_failed()
        arms = left_of(self._arms)

        def next_run() -> Run | None:
            if (arm := next(arms, None)) is not None:
                return arm
            with self.account.part("optuna"):
                while unfinished:
                    trial = live(self.study, unfinished.pop(0))
                    self.study.sampler = make_sampler(self.config, trial.number)
                    if (proposal := propose(self.config, self.study, trial)) is not None:
                        return self._trial(proposal)
                if len(own_trials(self.study)) >= self._target:
                    return None
                new = ask(self.config, self.study)
                return None if new is None else self._trial(new)

        self.driver.drive(next_run, self.config.trial_jobs)
        self._note_repeats()

    def _note_repeats(self) -> None:
        """Say what of the budget was not spent, and which trials have no run."""
        runs = len(own_trials(self.study))
        if runs < self._target:
            self.notes.append(
                f"The search ended after {runs} of {self._target} trials: "
                "the space has no other point, or the sampler proposed none."
            )
        if repeats := sum(SAME_AS in trial.user_attrs for trial in self._all_trials()):
            self.notes.append(
                f"{repeats} proposals repeat an earlier trial: they took its value, without a run."
            )

    def _branches(self) -> dict[str, dict[str, Any]]:
        """Choices that the first sampled trials take, so that none of the space is left out."""
        if self.config.sampler["type"] in EXHAUSTIVE:
            return {}
        given = [*self.arm_parameters.values(), *self._start_points.values()]
        found = branches(self.config.space, [p for p in given if p is not None])
        return {str(number): parameters for number, parameters in enumerate(found)}

    def _enqueue_failed(self) -> None:
        """Each failed trial once more: a new trial of Optuna's, whose trials cannot change once
        they have ended, in the run folder and under the number of the first.
        """
        for number, trial in self.failed_trials().items():
            kept = {k: v for k, v in trial.user_attrs.items() if k in ("arm", "start", "branch")}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, RETRY_OF: number})
        for trial in self._all_trials():
            if trial.state.name == "WAITING" and RETRY_OF in trial.user_attrs:
                forget_failure(self._trial_dir(trial))

    def failed_trials(self) -> dict[int, optuna.trial.FrozenTrial]:
        """Number -> trial, of those whose last try failed, or left a result that is gone."""
        last = {trial_number(t): t for t in own_trials(self.study)}
        return {
            number: t
            for number, t in last.items()
            if t.state.name == "FAIL"
            or (t.state.is_finished() and not self._trial_dir(t).result.exists())
        }

    def _trial(self, proposal: Proposal) -> Run:
        import optuna

        trial, options, parameters = proposal
        arm, start = trial.user_attrs.get("arm"), trial.user_attrs.get("start")
        run_dir = self._trial_dir(trial)
        known = set(self._all_trials()[trial.number].intermediate_values)
        request = self._request(
            phase=Phase.TRIAL if arm is None else Phase.BASELINE,
            method=arm or start or "trial",
            options=options,
            parameters=parameters,
            trial=trial_number(trial),
            name=run_dir.path.name,
        )

        def report(row: Row, value: float) -> str | None:
            iteration = row["iter"]
            if iteration not in known:
                trial.report(value, iteration)
                known.add(iteration)
            # Arms are never pruned: they are what everything is compared with.
            late = share_done(run_dir, row) >= self.config.prune_from
            if arm is None and late and trial.should_prune():
                return f"{self.config.metric} {value:.4g} at iteration {iteration}"
            return None

        def done(result: Result) -> None:
            states = optuna.trial.TrialState
            state, reason, value = result.state, result.reason, result.value
            if state == State.COMPLETE and value is None:
                state, reason = State.FAILED, "it ended without a value of its metric"
            with self.account.part("optuna"):
                trial.set_user_attr("run_dir", str(run_dir.path.relative_to(self.work_dir)))
                if state == State.COMPLETE and value is not None:
                    tell(self.study, trial, states.COMPLETE, float(value))
                    self.display.best(float(value), run_dir.path.name)
                    return
                if state == State.PRUNED and not self.config.keep_checkpoints:
                    run_dir.drop_checkpoints()
                trial.set_user_attr("reason", reason)
                if state == State.FAILED:
                    trial.set_user_attr("log", str(run_dir.log))
                pruned = state == State.PRUNED
                tell(self.study, trial, states.PRUNED if pruned else states.FAIL)

        name = run_dir.path.name
        return Run(run_dir, request, name, done, metric=self.config.metric, report=report)

    def _all_trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _trial_dir(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> RunDir:
        return trial_dir(self.work_dir, trial)

    # Arms, rung and final runs

    def _arm(self, name: str) -> Run:
        run_dir = self._run_dir(f"baseline_{name}")
        request = self._request(
            phase=Phase.BASELINE,
            method=name,
            options=self.config.arms[name],
            name=run_dir.path.name,
        )
        return self._plain(run_dir, request)

    def _repeat(
        self, phase: Phase, methods: list[Method], seeds: list[int], test_split: str | None
    ) -> None:
        """Train every method with every seed; seed by seed, so that a cut study has pairs."""
        runs = []
        for seed in seeds:
            for method in methods:
                run_dir = self._run_dir(f"{phase}_{method.folder}_seed{seed}")
                if self._retry_failed:
                    forget_failure(run_dir)
                request = self._request(
                    phase=phase,
                    method=method.name,
                    options=method.options,
                    parameters=method.parameters,
                    trial=method.trial,
                    seed=seed,
                    test_split=test_split,
                    name=run_dir.path.name,
                )
                runs.append(self._plain(run_dir, request))
        self._repeats[phase] = runs
        self._plan()
        self._drive(runs)

    def _plain(self, run_dir: RunDir, request: Request) -> Run:
        return Run(
            run_dir,
            request,
            run_dir.path.name,
            done=lambda result: None,
            metric=self.config.metric,
        )

    # Requests

    def _request(
        self,
        *,
        phase: Phase,
        method: str,
        options: dict[str, Any],
        name: str,
        parameters: dict[str, Any] | None = None,
        trial: int | None = None,
        seed: int | None = None,
        test_split: str | None = None,
    ) -> Request:
        config = self.config
        shown = {**config.wandb, "group": config.name, "job_type": phase.value, "name": name}
        return Request(
            config=str(config.config),
            options=_as_read({**self._common, **options}),
            seed=config.seed if seed is None else seed,
            study=config.name,
            phase=phase,
            method=method,
            trial=trial,
            parameters=_as_read(parameters or {}),
            test_split=test_split,
            wandb=Tracking(**shown),
        )

    def _run_dir(self, name: str) -> RunDir:
        return RunDir(self.work_dir / RUNS_NAME / name)


def _as_read(values: dict[str, Any]) -> dict[str, Any]:
    """As the run folder will give it back: tuples are lists there."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
