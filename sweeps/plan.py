"""What a study asks of its runs: in flow methods, seeds and phases, out flow ``Run``s.

Nothing here knows Optuna, and nothing is written: a ``Run`` is a folder's path, a ``Request`` and
what is to happen with its values and its result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fourierkd.records import Json, Options, Parameters, Phase, Request, Result, Tracking
from fourierkd.run_dir import Row, RunDir
from sweeps.choice import Contender
from sweeps.runs import Run
from sweeps.searches import Searched
from sweeps.storage import RUNS_NAME
from sweeps.study import StudyConfig


class Plan:
    """Makes the runs of one study.

    Attributes:
        common: dotted options of every run.
        within: method -> dotted options that keep its runs within the study's budget.
        of_seed: seed -> dotted options of its runs: the teacher that is theirs alone.
    """

    def __init__(self, config: StudyConfig, work_dir: Path) -> None:
        self.config, self.work_dir = config, work_dir
        self.common: Options = {
            "metric": config.metric,
            "direction": config.direction,
            **config.options,
        }
        self.within: Mapping[str, Options] = {}
        self.of_seed: dict[int, Options] = {}

    def run_dir(self, name: str) -> RunDir:
        """The folder of a run."""
        return RunDir(self.work_dir / RUNS_NAME / name)

    def arm(self, name: str, searched: Searched) -> Run:
        """An arm beside its search, with the search's seed."""
        return self.run(
            self.run_dir(f"baseline_{name}"),
            phase=Phase.BASELINE,
            method=name,
            options=searched.config.arms[name],
            tunes=searched.tunes,
        )

    def repeats(
        self, phase: Phase, methods: Iterable[Contender], seeds: Iterable[int]
    ) -> list[Run]:
        """Every method with every seed; seed by seed, so that a cut study has pairs."""
        methods = list(methods)
        return [
            self.run(
                self.run_dir(f"{phase}_{method.folder}_seed{seed}"),
                phase=phase,
                method=method.name,
                options=method.options,
                parameters=method.parameters,
                trial=method.trial,
                tunes=method.tunes,
                seed=seed,
            )
            for seed in seeds
            for method in methods
        ]

    def run(
        self,
        run_dir: RunDir,
        *,
        phase: Phase,
        method: str,
        options: Options,
        parameters: Parameters | None = None,
        trial: int | None = None,
        tunes: str | None = None,
        seed: int | None = None,
        done: Callable[[Result], None] = lambda _: None,
        report: Callable[[Row, float], str | None] = lambda *_: None,
    ) -> Run:
        """One run; its name is its folder's.

        Args:
            run_dir: its folder.
            phase, method, options, parameters, trial, tunes: of its request.
            seed: None: that of the search.
            done, report: of the ``Run``.
        """
        config, name = self.config, run_dir.path.name
        cheap = config.search_options if phase in (Phase.BASELINE, Phase.TRIAL) else {}
        within = self.within.get(method, {})
        seed = config.seed if seed is None else seed
        common = {**self.common, **within, **cheap, **self.of_seed.get(seed, {})}
        shown = {**config.wandb, "group": config.name, "job_type": phase.value, "name": name}
        request = Request(
            config=str(config.config),
            options=_as_read({**common, **options}),
            seed=seed,
            study=config.name,
            phase=phase,
            method=method,
            trial=trial,
            tunes=tunes,
            parameters=_as_read(parameters or {}),
            test_split=config.final_split if phase == Phase.FINAL else None,
            wandb=Tracking(**shown),
        )
        return Run(run_dir, request, name, done, metric=config.metric, report=report)


def _as_read(values: Json) -> Json:
    """As the run folder will give it back: tuples are lists there."""
    plain: Json = json.loads(json.dumps(values))
    return plain
