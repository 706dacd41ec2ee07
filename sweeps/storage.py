"""The study's own files: in flow a study config and a work dir, out flows Optuna's study.

``study.json`` says whose study the folder holds, ``optuna.log`` is Optuna's journal, ``study.lock``
names the one process that may write. A process may die between any two bytes: a torn last line of
the journal is dropped at the next start.
"""

from __future__ import annotations

import datetime
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fourierkd.errors import StudyError, advice, one_line
from fourierkd.fingerprint import digest
from fourierkd.locks import Held, locked
from fourierkd.records import State
from fourierkd.run_dir import RunDir
from sweeps.ask import RETRY_OF, own_trials
from sweeps.samplers import make_pruner, make_sampler
from sweeps.searches import tuned_of
from sweeps.study import StudyConfig
from sweeps.study_record import STUDY_NAME, StudyRecord, read_study, record, replace_record

if TYPE_CHECKING:
    import optuna

# What Optuna raises at entries that do not follow from each other.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
JOURNAL_NAME, LOCK_NAME, RUNS_NAME = "optuna.log", "study.lock", "runs"


@contextmanager
def one_writer(work_dir: Path) -> Iterator[None]:
    """Hold the work dir for this process; made where it does not exist.

    Raises:
        StudyError: another process runs the study, or the work dir is not writable.
    """
    with ExitStack() as stack:
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(work_dir / LOCK_NAME))
        except Held as held:
            raise StudyError(
                f"a study is run by one process at a time, and {held.holder} runs this one",
                value=str(work_dir),
                fix="wait for it, stop it, or choose another --work-dir",
            ) from held
        except OSError as error:
            raise StudyError(
                f"the work dir must be a writable folder ({error.strerror})",
                value=str(work_dir),
                fix="choose another --work-dir",
            ) from error
        yield


def check_place(work_dir: Path) -> None:
    """Refuse to write where the work dir is no more; ``one_writer`` holds its lock.

    Raises:
        StudyError: it was moved or removed.
    """
    if not (work_dir / LOCK_NAME).exists():
        raise StudyError(
            "a work dir stays where it is while its study runs, and this one was moved or removed",
            value=str(work_dir),
            fix="run the same command with --work-dir where it is now, or put it back",
        )


def claim(config: StudyConfig, work_dir: Path) -> str | None:
    """Record in ``study.json`` whose study this folder holds; the caller holds the lock.

    A study of another identity in which no trial has a value makes way, so that a wrong definition
        can be corrected: its files move to ``replaced_<n>``.

    Returns:
        Where the files of such a study went, else None.

    Raises:
        StudyError: the folder holds trials of another study, or a method that has more trials than
            each shall have now.
    """
    path, moved = work_dir / STUDY_NAME, None
    try:
        recorded = read_study(work_dir)
        if recorded is not None and recorded.identity is None:
            raise _damaged(path, "it holds no identity")
        if recorded is not None and (changed := _changed(config, recorded)):
            if _has_trial(work_dir):
                raise _other_study(config, recorded, changed, work_dir)
            moved, recorded = _move_aside(work_dir), None
        if recorded is None:
            recorded = _begun(config)
            replace_record(work_dir, recorded)
        if config.tune < recorded.tune:
            _check_fewer(config.tune, work_dir)
        methods = {**recorded.methods, **config.method_files()}
        record(work_dir, methods=methods, tune=config.tune)
        return moved
    except OSError as error:
        raise not_writable(path, error) from error


def _check_fewer(tune: int, work_dir: Path) -> None:
    """Refuse fewer trials than a method has begun, also one that is not asked for now."""
    begun = {
        tunes: sum(RETRY_OF not in trial.user_attrs for trial in own_trials(study))
        for tunes, study in stored_studies(work_dir).items()
    }
    most = max(begun, key=lambda tunes: begun[tunes], default=None)
    if most is not None and begun[most] > tune:
        raise StudyError(
            f"a comparison tunes its methods with equal numbers of trials, and {most} has "
            f"{begun[most]} already",
            value=tune,
            fix=f"use --tune {begun[most]} or more, or choose another --work-dir",
        )


def _begun(config: StudyConfig) -> StudyRecord:
    """The record of a new study."""
    identity, now = config.identity(), datetime.datetime.now(datetime.timezone.utc)
    return StudyRecord(
        identity=identity,
        fingerprint=digest(identity),
        files=config.files(),
        created=now.isoformat(timespec="seconds"),
    )


def _changed(config: StudyConfig, recorded: StudyRecord) -> list[str]:
    """Keys of the identity that differ from the folder's, and ``methods`` where a file does."""
    ours = config.identity()
    # older versions do not say
    older = {"data": ours["data"], "search_options": {}, "budget": None, "teacher_seeds": False}
    theirs = {**older, **(recorded.identity or {})}
    keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    # more methods may come, each stays what it was
    return [*keys, "methods"] if _differing(config.method_files(), recorded.methods) else keys


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Files of both that have other digests."""
    return [name for name, sha in ours.items() if theirs.get(name, sha) != sha]


def _other_study(
    config: StudyConfig, recorded: StudyRecord, changed: list[str], work_dir: Path
) -> StudyError:
    files = _differing(config.files(), recorded.files)
    files += _differing(config.method_files(), recorded.methods)
    of = f" (in {', '.join(files)})" if files else ""
    name = (recorded.identity or {}).get("name")
    return StudyError(
        f"this work dir holds the study {name!r}, and {', '.join(changed)} "
        f"differ{'s' if len(changed) == 1 else ''} from it{of}",
        value=str(work_dir),
        fix="choose another --work-dir or name, or undo the change",
    )


def open_study(config: StudyConfig, work_dir: Path, name: str | None = None) -> optuna.Study:
    """Optuna's study of this folder, made where there is none; the caller holds the lock.

    Args:
        config: the study.
        work_dir: its folder.
        name: of Optuna's study; None: the study's. Several searches are studies of one journal.

    Raises:
        StudyError: the journal cannot be read or written.
    """
    import optuna

    # Absolute: Optuna's lock spins for ever on a relative path once its owner was killed.
    path, name = (work_dir / JOURNAL_NAME).absolute(), name or config.name
    try:
        _repair(path)
        storage = _journal(path)
        sampler, pruner = make_sampler(config, 0), make_pruner(config.pruner)
        known = optuna.get_all_study_summaries(storage)
        if any(summary.study_name == name for summary in known):
            return optuna.load_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner
            )
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=sampler,
            pruner=pruner,
            direction=config.measure.direction.value,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([config.metric])  # for Optuna's dashboard
        return study
    except OSError as error:
        raise not_writable(path, error) from error
    except DAMAGE as error:
        raise _damaged(path, error) from error


def stored_studies(work_dir: Path) -> dict[str | None, optuna.Study]:
    """Optuna's studies of this folder, to be read only, by what they tune (``Searched.tunes``).

    Raises:
        StudyError: the journal is damaged.
    """
    import optuna

    path = (work_dir / JOURNAL_NAME).absolute()
    if not path.exists():
        return {}
    try:
        storage = _journal(path)
        names = [s.study_name for s in optuna.get_all_study_summaries(storage)]
        return {tuned_of(n): optuna.load_study(study_name=n, storage=storage) for n in names}
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    """The storage of a journal whose lines are entries."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _check_journal(path)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))


def _check_journal(path: Path) -> None:
    """Optuna stops at a line that it does not know, with a traceback, and not always at once."""
    if not path.exists():
        return
    *lines, _ = path.read_bytes().split(b"\n")  # the last one may be in the making
    for number, line in enumerate(lines, 1):
        try:
            known = isinstance(json.loads(line)["op_code"], int)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise _damaged(path, f"line {number} is no entry of a journal: {line[:60]!r}")


def _damaged(path: Path, error: object) -> StudyError:
    return StudyError(
        f"{path} is damaged ({one_line(error)})",
        fix="restore it, or choose another --work-dir",
    )


def not_writable(path: Path, error: OSError) -> StudyError:
    """The one line for a disk that is full or not to be written; what there is stays whole."""
    first = f"{advice(error)}, then " if advice(error) else ""
    return StudyError(
        f"the study's files must be writable ({error.strerror})",
        value=str(error.filename or path),
        fix=f"{first}run the same command to go on",
    )


def _repair(path: Path) -> None:
    """Drop what a killed writer left: half a line at the journal's end, and Optuna's own lock."""
    with suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")
    if not path.exists():
        return
    with open(path, "r+b") as file:
        data = file.read()
        if not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def has_finished_run(work_dir: Path) -> bool:
    """Whether any run of the study ended as it should."""
    return any(True for _ in _finished(work_dir))


def _has_trial(work_dir: Path) -> bool:
    """Whether a trial, or what follows the trials, ended as it should; arms beside it do not."""
    return any(
        run.read_request().trial is not None or not run.path.name.startswith("baseline_")
        for run in _finished(work_dir)
    )


def _finished(work_dir: Path) -> Iterator[RunDir]:
    for folder in (work_dir / RUNS_NAME).glob("*"):
        run_dir = RunDir(folder)
        result = run_dir.read_result()
        if result is not None and result.state in (State.COMPLETE, State.PRUNED):
            yield run_dir


def _move_aside(work_dir: Path) -> str:
    number = 1
    while (target := work_dir / f"replaced_{number}").exists():
        number += 1
    target.mkdir()
    for name in (
        STUDY_NAME,
        JOURNAL_NAME,
        RUNS_NAME,
    ):  # study.json first: a cut leaves no wrong owner
        with suppress(FileNotFoundError):
            os.rename(work_dir / name, target / name)
    return str(target)
