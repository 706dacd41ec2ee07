"""The study's teachers: in flows what to train one from, out flows the path of its best checkpoint.

A study has one teacher. With ``teacher_seeds`` each seed of its final runs has one of its own: the
same request with other seeds, none of them that of the teacher which the search saw. So the pairs
of a comparison are independent in their teachers too, and no trial was chosen for one of these.

A teacher is trained once and cached by content under ``teachers/<key>/`` of the cache folder: the
key is a hash of its request, the sources of its config, its data and the packages' versions, so
that whatever would change the teacher changes the key. The cache entry is a run folder, so an
interrupted training goes on like any run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fourierkd.errors import StudyError, advice
from fourierkd.fingerprint import changed_since, digest, file_sha256
from fourierkd.locks import Held, locked
from fourierkd.records import Phase, Request, Result, State, Tracking
from fourierkd.run_dir import RunDir, cache_root
from sweeps.driver import Driver
from sweeps.executors.local import threads_of_a_run
from sweeps.fingerprint import config_sources, data_identity, versions
from sweeps.runs import Run, forget_failure
from sweeps.storage import has_finished_run
from sweeps.study import StudyConfig
from sweeps.study_record import StudyRecord, TeacherFile, read_study, record

FOLDER = "teachers"  # of the cache folder
KEY_LENGTH = 20
TEACHER_JOBS = 1  # nothing runs beside it


def teacher_request(study: StudyConfig) -> Request:
    """The request of the teacher's run; the same for every study that wants this teacher."""
    teacher = study.teacher or {}
    return Request(
        config=str(teacher["config"]),
        options=json.loads(json.dumps(study.teacher_options())),
        seed=teacher["seed"],
        phase=Phase.TEACHER,
        method="teacher",
        wandb=Tracking(**{**study.wandb, "group": "teachers", "job_type": "teacher"}),
    )


def teacher_key(study: StudyConfig) -> str:
    """What the teacher depends on, as a hash; with another number of threads it is another one."""
    teacher = study.teacher or {}
    request = teacher_request(study).to_json()
    options = request["options"]
    del request["config"], request["wandb"], request["tunes"]  # the last came with later versions
    content = {
        "request": request,
        "sources": config_sources(teacher["config"]),
        "data": data_identity(teacher["config"], options),
        "versions": versions(),
        "threads": threads_of_a_run(study.needs, TEACHER_JOBS),
    }
    return digest(content)[:KEY_LENGTH]


def study_teacher(
    study: StudyConfig, work_dir: Path, driver: Driver, *, final_seed: int | None = None
) -> tuple[Path, RunDir]:
    """A teacher of the study: the one that its first run had, else the cached or a new one.

    Args:
        study, work_dir: whose teacher.
        driver: trains it.
        final_seed: whose final runs it is for, where each seed has its own; None: for all.

    Returns:
        As ``prepare_teacher``.

    Raises:
        StudyError: runs have a teacher that is gone or another file now; as ``prepare_teacher``.
    """
    recorded = read_study(work_dir) or StudyRecord()
    own, whose = recorded.final_teachers, "its runs"
    known = recorded.teacher
    if final_seed is not None:
        study = dataclasses.replace(study, teacher=_teacher_of(study, final_seed))
        known, whose = own.get(str(final_seed)), f"its runs of seed {final_seed}"
    if known is not None and has_finished_run(work_dir):
        run_dir = RunDir(known.run_dir)
        moved = RunDir(cache_root() / FOLDER / run_dir.path.name)
        if not (run_dir.path / known.checkpoint).is_file() and moved.path.is_dir():
            run_dir = moved  # the cache as a whole
        path = run_dir.path / known.checkpoint
        check_weights(path, known.sha256, f"the teacher that {whose} had")
        return path, run_dir
    path, run_dir = prepare_teacher(study, driver)
    place = str(path.relative_to(run_dir.path))
    found = TeacherFile(str(run_dir.path), place, file_sha256(path))
    if final_seed is None:
        record(work_dir, teacher=found)
    else:
        record(work_dir, final_teachers={**own, str(final_seed): found})
    return path, run_dir


def _teacher_of(study: StudyConfig, final_seed: int) -> dict[str, Any]:
    """The teacher of one final seed; the first of them comes after that of the search."""
    teacher, first = study.teacher or {}, study.first_final_seed
    return {**teacher, "seed": teacher["seed"] + 1 + final_seed - first}


def check_weights(path: Path, sha256: str, what: str) -> None:
    """Refuse other weights than a study began with.

    Raises:
        StudyError: the file is gone, or has another SHA-256.
    """
    changed = changed_since(path, sha256)
    if changed is not None:
        raise StudyError(
            f"a study keeps its teachers: {what} (sha256 {sha256[:16]}) {changed}",
            value=str(path),
            fix="restore that file, or choose another --work-dir",
        )


def prepare_teacher(study: StudyConfig, driver: Driver) -> tuple[Path, RunDir]:
    """Train the teacher unless it is cached.

    Returns:
        (its best checkpoint, its run folder).

    Raises:
        StudyError: the training failed, or the cache cannot be written.
    """
    run_dir = RunDir(cache_root() / FOLDER / teacher_key(study))
    try:
        with _lock(run_dir, driver.display.say, lambda: driver.interrupts > 0):
            result = run_dir.read_result()
            if result is None or result.state != State.COMPLETE:
                seed = teacher_request(study).seed
                driver.display.say(f"training the teacher, once, with seed {seed}: {run_dir.path}")
                forget_failure(run_dir)
                ends: list[Result] = []
                run = Run(
                    run_dir, teacher_request(study), "teacher", done=ends.append, counts=False
                )
                driver.drive(iter([run]), TEACHER_JOBS)
                if ends[0].state != State.COMPLETE:
                    raise StudyError(
                        f"the teacher could not be trained ({ends[0].reason})",
                        fix=f"see {run_dir.log}, then run the same command",
                    )
    except OSError as error:
        raise StudyError(
            f"the teacher cache must be writable ({error.strerror})",
            value=str(error.filename or run_dir.path),
            fix=f"{advice(error) or 'correct that'}, or set FOURIERKD_CACHE to another folder",
        ) from error
    path = best_checkpoint(run_dir)
    if path is None:
        raise StudyError(
            "the teacher's run left no best checkpoint",
            value=str(run_dir.path),
            fix="give its config a validation and a metric",
        )
    return path, run_dir


def best_checkpoint(run_dir: RunDir) -> Path | None:
    """The best checkpoint of a run that has ended; None where it has none."""
    result = run_dir.read_result()
    named = result.checkpoints.best if result is not None else None
    path = run_dir.path / named if named else run_dir.best_checkpoint()
    return path if path.is_file() else None


@contextmanager
def _lock(
    run_dir: RunDir, say: Callable[[str], None], interrupted: Callable[[], bool]
) -> Iterator[None]:
    """One study trains a teacher, another that wants it waits."""
    run_dir.path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        told = False
        while True:
            try:
                stack.enter_context(locked(run_dir.path.with_suffix(".lock")))
                break
            except Held as held:
                if not told:
                    say(f"waiting for {held.holder}, which trains the same teacher")
                    told = True
                if interrupted():
                    raise KeyboardInterrupt from None
                time.sleep(0.2)
        yield
