"""The search of a study: in flow Optuna's study and a plan, out flow the runs of its trials.

Every step can be repeated: a trial that Optuna calls running is re-attached to its run folder, a
run that ended unheard is told from its result, and an unfinished one goes on from its checkpoint.

With j trials at once, sampler and pruner know of a trial what the trials up to the j-th before it
came to, and nothing of the j - 1 in between, even if these have ended: results are told in the
order of the trials. So a search does not depend on which run ends first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fourierkd.records import Parameters, Phase, Result, State
from fourierkd.run_dir import Row, RunDir
from sweeps.account import Account
from sweeps.ask import (
    RETRY_OF,
    SAME_AS,
    Proposal,
    Seen,
    ask,
    live,
    own_trials,
    propose,
    settle,
    tell,
)
from sweeps.plan import Plan
from sweeps.points import branches, match
from sweeps.progress import Display, share_done
from sweeps.runs import Run, forget_failure
from sweeps.samplers import EXHAUSTIVE, make_sampler
from sweeps.searches import Searched
from sweeps.storage import open_study
from sweeps.tables import trial_dir, trial_number

if TYPE_CHECKING:
    import optuna


class Search:
    """Optuna's trials of one search, and the arms among them.

    Attributes:
        searched: which search of the study it is; its ``config`` is what is searched.
        study: Optuna's.
        outside: arms that the space cannot express: runs beside the search.
        notes: sentences for the report.
    """

    def __init__(self, plan: Plan, searched: Searched, display: Display, account: Account) -> None:
        self.searched, self.plan = searched, plan
        self.tunes, self.config = searched
        self.display, self.account = display, account
        with account.part("optuna"):
            self.study: optuna.Study = open_study(self.config, plan.work_dir, searched.name)
        self.notes: list[str] = []
        # Trials that were sent off and are not told yet, oldest first; None: it has not ended.
        self._untold: dict[int, tuple[optuna.Trial, Result] | None] = {}
        self._all_sent = False
        # Arms that the space can express are trials, from which the sampler learns.
        self._points: dict[str, dict[str, Parameters]] = {"arm": {}, "start": {}}
        self.outside: list[str] = []
        for key, kind, methods in (
            ("arm", "arm", self.config.arms),
            ("start", "start point", self.config.start_points),
        ):
            for name, options in methods.items():
                parameters, why = match(self.config.space, options)
                if parameters is not None:
                    self._points[key][name] = parameters
                    continue
                self.notes.append(f"The {kind} {name} lies outside of the search space: {why}.")
                if key == "arm":
                    self.outside.append(name)

    @property
    def ended(self) -> bool:
        """Whether every trial has ended."""
        return self._all_sent and not self._untold

    def has_ended(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial's run has, if it is told or not."""
        return trial.state.is_finished() or self._untold.get(trial.number) is not None

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All of Optuna's, by number."""
        return self.study.get_trials(deepcopy=False)

    def own_trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those that have a run."""
        return own_trials(self.study)

    def run_dir(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> RunDir:
        """The folder of a trial's run."""
        return trial_dir(self.plan.work_dir, trial, self.tunes)

    def runs(self, *, retry_failed: bool) -> Iterator[Run | None]:
        """Runs of trials until the budget is spent; the next one is asked for when it is wanted.

        None stands for "not before an earlier trial has ended".
        """
        import optuna

        with self.account.part("optuna"):
            self._enqueue_points()
            settle(self.study)
            running = optuna.trial.TrialState.RUNNING
            unfinished = [trial for trial in self.own_trials() if trial.state == running]
            for trial in self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
                if trial.value is not None:
                    self.display.best(trial.value, self.run_dir(trial).path.name)
            if retry_failed:
                for trial in unfinished:  # it may have failed and not be told yet
                    forget_failure(self.run_dir(trial))
                self._enqueue_failed()
        while True:
            with self.account.part("optuna"):
                asks = not unfinished and not self._spent
                if asks and len(self._untold) >= self.config.trial_jobs:
                    run = None
                elif (proposal := self._next(unfinished)) is not None:
                    run = self._run(proposal)
                else:
                    self._all_sent = True
                    self._tell_up_to(0)
                    return
            yield run

    def note_repeats(self) -> None:
        """Say what of the budget was not spent, and which trials have no run."""
        runs = len(self.own_trials())
        if runs < self._target:
            self.notes.append(
                f"The search ended after {runs} of {self._target} trials: "
                "the space has no other point, or the sampler proposed none."
            )
        if repeats := sum(SAME_AS in trial.user_attrs for trial in self.trials()):
            self.notes.append(
                f"{repeats} proposals repeat an earlier trial: they took its value, without a run."
            )

    def failed_trials(self) -> dict[int, optuna.trial.FrozenTrial]:
        """Number -> trial, of those whose last try failed, or left a result that is gone."""
        last = {trial_number(t): t for t in self.own_trials()}
        return {
            number: t
            for number, t in last.items()
            if t.state.name == "FAIL"
            or (t.state.is_finished() and not self.run_dir(t).result.exists())
        }

    @property
    def _target(self) -> int:
        """Number of Optuna's trials: ``trials`` counts the arms outside of the space too, and a
        trial that is tried again once.
        """
        again = sum(RETRY_OF in trial.user_attrs for trial in self.trials())
        return self.config.trials - len(self.outside) + again

    @property
    def _spent(self) -> bool:
        return len(self.own_trials()) >= self._target

    def _enqueue_points(self) -> None:
        """Arms and start points that the space can express, then a trial of each branch."""
        for key, points in (*self._points.items(), ("branch", self._branches())):
            known = {trial.user_attrs.get(key) for trial in self.trials()}
            for name, parameters in points.items():
                if name not in known:
                    self.study.enqueue_trial(parameters, user_attrs={key: name})

    def _branches(self) -> dict[str, Parameters]:
        """Choices that the first sampled trials take, so that none of the space is left out."""
        if self.config.sampler["type"] in EXHAUSTIVE:
            return {}
        given = [p for points in self._points.values() for p in points.values()]
        found = branches(self.config.space, given)
        return {str(number): parameters for number, parameters in enumerate(found)}

    def _enqueue_failed(self) -> None:
        """Each failed trial once more: a new trial of Optuna's, whose trials cannot change once
        they have ended, in the run folder and under the number of the first.
        """
        for number, trial in self.failed_trials().items():
            kept = {k: v for k, v in trial.user_attrs.items() if k in ("arm", "start", "branch")}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, RETRY_OF: number})
        for trial in self.trials():
            if trial.state.name == "WAITING" and RETRY_OF in trial.user_attrs:
                forget_failure(self.run_dir(trial))

    def _next(self, unfinished: list[optuna.trial.FrozenTrial]) -> Proposal | None:
        """A trial that was being run when the study ended, or a new one; None: no more."""
        while unfinished:
            trial = live(self.study, unfinished.pop(0))
            self.study.sampler = make_sampler(self.config, trial.number)
            if (proposal := propose(self.config, self.study, trial)) is not None:
                return proposal
        return None if self._spent else ask(self.config, self.study)

    def _run(self, proposal: Proposal) -> Run:
        trial, options, parameters = proposal
        arm, start = trial.user_attrs.get("arm"), trial.user_attrs.get("start")
        run_dir = self.run_dir(trial)
        known = set(self.trials()[trial.number].intermediate_values)
        seen = Seen(self.study, trial.number, at_once=self.config.trial_jobs)
        self._untold[trial.number] = None
        pruned = False

        def report(row: Row, value: float) -> str | None:
            nonlocal pruned
            iteration = row["iter"]
            if pruned:  # what it still validates until it has heard of that
                return None
            if iteration not in known:
                trial.report(value, iteration)
                known.add(iteration)
            # Arms are never pruned: they are what everything is compared with.
            late = share_done(run_dir, row) >= self.config.prune_from
            pruned = arm is None and late and seen.should_prune()
            return f"{self.config.metric} {value:.4g} at iteration {iteration}" if pruned else None

        def done(result: Result) -> None:
            with self.account.part("optuna"):
                self._heard(trial, run_dir, result)

        return self.plan.run(
            run_dir,
            phase=Phase.TRIAL if arm is None else Phase.BASELINE,
            method=self.tunes or arm or start or "trial",
            options=options,
            parameters=parameters,
            trial=trial_number(trial),
            tunes=self.tunes,
            done=done,
            report=report,
        )

    def _heard(self, trial: optuna.Trial, run_dir: RunDir, result: Result) -> None:
        """A trial's run has ended; Optuna is told in turn."""
        if result.state == State.COMPLETE and result.value is not None:
            self.display.best(float(result.value), run_dir.path.name)
        if result.state == State.PRUNED and not self.config.keep_checkpoints:
            run_dir.drop_checkpoints()
        self._untold[trial.number] = trial, result
        self._tell_up_to(0 if self._all_sent else self.config.trial_jobs - 1)

    def _tell_up_to(self, left: int) -> None:
        """Tell results, oldest first, until ``left`` trials are untold or one has not ended."""
        while len(self._untold) > left:
            number, heard = next(iter(self._untold.items()))
            if heard is None:
                return
            self._tell(*heard)
            del self._untold[number]

    def _tell(self, trial: optuna.Trial, result: Result) -> None:
        import optuna

        run_dir, states = self.run_dir(trial), optuna.trial.TrialState
        state, reason, value = result.state, result.reason, result.value
        if state == State.COMPLETE and value is None:
            state, reason = State.FAILED, "it ended without a value of its metric"
        trial.set_user_attr("run_dir", str(run_dir.path.relative_to(self.plan.work_dir)))
        if state == State.COMPLETE and value is not None:
            tell(self.study, trial, states.COMPLETE, float(value))
            return
        trial.set_user_attr("reason", reason)
        if state == State.FAILED:
            trial.set_user_attr("log", str(run_dir.log))
        tell(self.study, trial, states.PRUNED if state == State.PRUNED else states.FAIL)
