"""What a study has so far: its runs, its trials, what a report is to say of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fourierkd.errors import RunError
from fourierkd.records import Phase, State
from fourierkd.run_dir import RunDir
from sweeps import tables
from sweeps.account import Account
from sweeps.live import Count
from sweeps.plan import Plan
from sweeps.progress import Display
from sweeps.runs import Run, to_do
from sweeps.search import Search
from sweeps.study import StudyConfig

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class StudyState:
    """One study in one session.

    Attributes:
        plan, searches: of its runs and of its trials.
        display, account: what the person sees, and where the time goes.
        teachers: their run folders, as far as they are known, by the seed of the final runs that
            they are for alone; None: for all runs, or all but those.
        arms: runs of arms that lie outside of the search space.
        repeats: phase after the trials -> its runs, as far as they are known.
        chosen: whether the runs of what the searches chose are among them.
    """

    plan: Plan
    searches: list[Search]
    display: Display
    account: Account
    teachers: dict[int | None, RunDir] = field(default_factory=dict)
    arms: list[Run] = field(default_factory=list)
    repeats: dict[Phase, list[Run]] = field(default_factory=dict)
    chosen: bool = False

    @property
    def config(self) -> StudyConfig:
        """The study's."""
        return self.plan.config

    @property
    def work_dir(self) -> Path:
        """Where all of it is written."""
        return self.plan.work_dir

    @property
    def notes(self) -> list[str]:
        """Sentences for the report; those of one of several searches begin with its method."""
        return [
            f"{search.tunes}: {note}" if search.tunes else note
            for search in self.searches
            for note in search.notes
        ]

    def run_dirs(self) -> list[RunDir]:
        """All run folders as the results table has them: teachers, arms, trials, rung, finals."""
        outside = [name for search in self.searches for name in search.outside]
        arms = [self.plan.run_dir(f"baseline_{name}") for name in outside]
        trials = [search.run_dir(trial) for search in self.searches for trial in search.trials()]
        phases = [phase for phase in (Phase.RUNG, Phase.FINAL) if phase in self.repeats]
        repeats = [run.run_dir for phase in phases for run in self.repeats[phase]]
        return [
            run
            for run in [*self.teachers.values(), *arms, *trials, *repeats]
            if run.request.exists()
        ]

    def table(self) -> pd.DataFrame:
        """Results so far."""
        trials = {search.tunes: search.own_trials() for search in self.searches}
        return tables.table(self.work_dir, self.run_dirs(), trials)

    def count(self) -> dict[Phase, Count]:
        """Runs of each phase, as far as they are known; arms count as trials."""
        config, searches = self.config, len(self.searches)
        counts = {Phase.TRIAL: self._count_trials()}
        for phase in (Phase.RUNG, Phase.FINAL):
            counts[phase] = _count(self.repeats.get(phase, []))
        rung, finals = counts[Phase.RUNG], counts[Phase.FINAL]
        if Phase.RUNG not in self.repeats:
            to_come = searches * config.rung_trials * config.rung_seeds
            counts[Phase.RUNG] = replace(rung, planned=to_come)
        if not self.chosen:
            to_come = searches * config.final_seeds
            counts[Phase.FINAL] = replace(finals, planned=finals.planned + to_come)
        return counts

    def _count_trials(self) -> Count:
        arms = _count(self.arms)
        last = {
            (search.tunes, tables.trial_number(trial)): (search, trial)
            for search in self.searches
            for trial in search.own_trials()
        }
        states = [t.state.name for search, t in last.values() if search.has_ended(t)]
        return Count(
            planned=sum(search.config.trials for search in self.searches),
            done=arms.done + len(states),
            failed=arms.failed + states.count("FAIL"),
        )

    def drop_checkpoints(self) -> None:
        """Of arms and trials that nobody goes on with; at the study's end."""
        if self.config.keep_checkpoints:
            return
        trials = [search.run_dir(trial) for search in self.searches for trial in search.trials()]
        for run_dir in [*(arm.run_dir for arm in self.arms), *trials]:
            with suppress(RunError):  # a damaged result, which the table names
                result = run_dir.read_result()
                if result is not None and result.state in (State.PRUNED, State.FAILED):
                    run_dir.drop_checkpoints()


def _count(runs: list[Run]) -> Count:
    ended = [run.run_dir.read_result() for run in runs if not to_do(run)]
    failed = [result for result in ended if result is not None and result.state == State.FAILED]
    return Count(planned=len(runs), done=len(ended), failed=len(failed))
