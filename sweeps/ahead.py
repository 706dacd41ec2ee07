"""What a study will ask of its runs, tried before its teacher is trained: in flows the study, out
flows a refusal in one line, or the hashes of the weights that it names.

Every arm, reference arm and start point is built once without training (``serving.dry_build``), and
every branch of the space at its lowest, its highest and its middle values, with each value of a
``suggest.categorical``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from fourierkd.errors import StudyError
from fourierkd.fingerprint import digest
from fourierkd.records import Json, Options, Parameters, Request
from fourierkd.run_dir import read_json, write_atomic
from sweeps.driver import Driver, Interrupted
from sweeps.executors.base import LOG_NAME, End, Question
from sweeps.fingerprint import versions
from sweeps.points import SuggestsValues, branches, match, resolve
from sweeps.searches import searches
from sweeps.space import Space
from sweeps.study import StudyConfig
from sweeps.study_record import StudyRecord, read_study, record
from sweeps.teacher import check_weights

FILE = "check.json"  # of the work dir, while it lasts; the answer lies beside it
TRIES = 2
LOOK = 0.1  # seconds between two looks for an answer
NO_WEIGHTS = "random"  # in place of those of the teacher, which is not trained yet


def try_ahead(config: StudyConfig, work_dir: Path, driver: Driver) -> None:
    """Refuse a study of which a run cannot be built, or whose weights are not those of before.

    What was tried is recorded, and not tried again.

    Raises:
        StudyError: the first of its runs that is refused, and why; other weights.
        Interrupted: by Ctrl-C.
    """
    recorded = read_study(work_dir) or StudyRecord()
    for path, sha256 in recorded.weights.items():
        check_weights(Path(path), sha256, "the weights of a teacher")
    asked = requests(config)
    tried = digest(
        [
            {n: r.to_json() for n, r in asked.items()},
            config.files(),
            config.method_files(),
            versions(),
        ]
    )
    if recorded.tried == tried:
        return
    with driver.account.part("start-up"):
        found = _try(asked, work_dir, driver)
    record(work_dir, tried=tried, weights={**found, **recorded.weights})


def _try(asked: Mapping[str, Request], work_dir: Path, driver: Driver) -> dict[str, str]:
    """Have requests built; returns file -> SHA-256 of the weights that they name."""
    told = answer("check", asked, work_dir / FILE, driver)
    if told["error"] is not None:
        raise StudyError(f"{told['name']} cannot be run: {told['error']}")
    return dict(told["teachers"])


def answer(question: Question, asked: Mapping[str, Request], path: Path, driver: Driver) -> Json:
    """What a process of the executor's answers to requests.

    Args:
        question: what is asked of them.
        asked: the requests by name.
        path: of the file that holds them meanwhile.
        driver: of the executor.

    Raises:
        StudyError: the process died.
        Interrupted: by Ctrl-C.
    """
    beside = path.with_name(f"{path.name}.answer")
    beside.unlink(missing_ok=True)
    write_atomic(path, json.dumps({name: request.to_json() for name, request in asked.items()}))
    for _ in range(TRIES):  # the server may die before it is ready
        driver.executor.ask(question, path)
        end = _wait(path, driver)
        if (told := _read(beside, driver.executor.settle)) is not None:
            break
    for file in (path, beside):
        file.unlink(missing_ok=True)
    if told is None:
        raise StudyError(
            f"what the study asks of its runs could not be tried ({end.words})",
            fix=f"see {path.with_name(LOG_NAME)}",
        )
    return told


def requests(config: StudyConfig) -> dict[str, Request]:
    """Name, as a person would say it, -> request of a run."""
    found: dict[str, Request] = {}
    common: Options = {"metric": config.metric, "direction": config.direction}
    if config.teacher is not None:
        found["the teacher"] = Request(
            config=str(config.teacher["config"]),
            options=config.teacher_options(),
            seed=config.seed,
        )
        common[config.teacher["option"]] = NO_WEIGHTS
    common |= config.options
    own = {f"the arm {name}": options for name, options in config.arms.items()}
    own |= {f"the reference arm {name}": o for name, o in config.reference_arms.items()}
    own |= {
        f"the start point {name}": options
        for name, options in config.start_points.items()
        if match(config.space, options)[0] is not None  # another one is left out
    }
    cheap = config.search_options
    own |= {
        f"a trial with {parameters}": {**cheap, **options}
        for _, searched in searches(config)
        for options, parameters in points(searched.space)
    }
    for name, options in own.items():
        found[name] = Request(
            config=str(config.config),
            options={**common, **options},
            seed=config.seed,
            study=config.name,
            test_split=config.final_split,
        )
    return found


def points(space: Space) -> Iterator[tuple[Options, Parameters]]:
    """Options and parameters of points that together see every branch and every end of a range.

    Example:
        >>> from sweeps.space import suggest
        >>> [options for options, _ in points({"a": suggest.float(0, 1), "b": 2})]
        [{'a': 0, 'b': 2}, {'a': 1, 'b': 2}, {'a': 0.5, 'b': 2}]
    """
    seen = set()
    for branch in branches(space) or [{}]:
        number, most = 0, 3
        while number < most:
            point = _Point(branch, number)
            options, parameters = resolve(space, point)
            most = max(most, point.most)
            number += 1
            text = json.dumps(options, sort_keys=True)
            if text not in seen:
                seen.add(text)
                yield options, parameters


class _Point(SuggestsValues):
    """Suggests the ``number``-th of a few values of each parameter, and a branch's choices."""

    def __init__(self, branch: Mapping[str, Any], number: int) -> None:
        self.branch, self.number = branch, number
        self.most = 0  # values that a categorical parameter has

    @override
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            high = low + math.floor((high - low) / step + 1e-8) * step
        middle = math.sqrt(low * high) if log else (low + high) / 2
        if step is not None:
            middle = low + round((middle - low) / step) * step
        return (low, high, middle)[self.number % 3]

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return round(self.suggest_float(name, low, high, step=step, log=log))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self.branch:
            return self.branch[name]
        self.most = max(self.most, len(choices))
        return choices[self.number % len(choices)]


def _read(path: Path, settle: float) -> Json | None:
    """The answer, which may be seen ``settle`` seconds late; None where there is none."""
    end = time.monotonic() + settle
    while (told := read_json(path)) is None and time.monotonic() < end:
        time.sleep(LOOK)
    return told


def _wait(path: Path, driver: Driver) -> End:
    while True:
        for end in driver.executor.poll(driver.executor.interval):
            if end.run == path:
                return end
        if driver.interrupts:
            raise Interrupted
