"""A run is a folder: this class alone spells its file names; all else reads and writes through it.

In flow a request (what to run), scalars row by row, control from the coordinator; out flow the same
rows and the final result. Appends and atomic replacements only, so a process may be killed between
any two lines.
No torch here: the coordinator, the results table and the report import this module.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fourierkd.errors import ConfigError, RunError
from fourierkd.locks import Held, locked
from fourierkd.records import UNNAMED, Json, Request, Result, State, Stop

Row = Json  # of scalars
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
LOCK_PAUSE = 0.05  # seconds between two looks at a lock that another process has
_SEED = re.compile(r"[-_]?seed[-_]?\d+$")
_LEDGER = re.compile(r"(?P<iter>\d+)\.parquet")
_PICTURE = re.compile(r"spectra_(?P<iter>\d+)_(?P<name>.+)\.(?:png|npz)")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace ``path`` as a whole: write beside it, fsync, rename; OSError on a full disk."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder", error.filename) from error
    payload = data.encode() if isinstance(data, str) else data
    beside = path.parent / f".{path.name[:200]}.{secrets.token_hex(8)}"
    try:
        # "x": nobody's file or link; mkstemp's mode would be 0600, and this one is the umask's
        with open(beside, "xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        _name_file(error, path, instead_of=beside)
        raise


def require_writable(path: Path) -> None:
    """Before the work whose answer goes to ``path``: make its folder, and try it.

    Raises:
        ConfigError: no file can be written there.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"the answer's file must be writable ({error.strerror})",
            value=str(path),
            fix="choose another",
        ) from error


def _name_file(error: BaseException, path: Path, instead_of: Path | None = None) -> None:
    """A failed write (a full disk) does not say to which file, or names one beside it; the user is
    told.
    """
    if isinstance(error, OSError) and str(error.filename) in ("None", str(instead_of)):
        error.filename = str(path)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: a number that is not finite becomes null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def read_json(path: Path) -> Json | None:
    """The JSON object in ``path``, or None where there is no such file.

    Raises:
        RunError: it holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # also an encoding that JSON does not have
        raise RunError(f"{path} must be a JSON object ({error})", fix="delete it") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must be a JSON object", value=value, fix="delete it")
    return value


def _tail(path: Path, offset: int) -> tuple[list[Row], int]:
    """As ``RunDir.tail``, of any such file."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    rows = []
    for line in data[:end].splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a line cut by a kill
        if isinstance(row, dict) and isinstance(row.get("iter"), int):
            rows.append(row)
    return rows, offset + end


def _valid(rows: list[Row]) -> list[Row]:
    """Without events and without what they void."""
    curve: list[Row] = []
    for row in rows:
        if row.get("event") == "resume":
            curve = [r for r in curve if r["iter"] <= row["iter"]]
        else:
            curve.append(row)
    return curve


def picture_label(loss: str, level: int, levels: int) -> str:
    """What a picture of spectra is called: ``fourier``, or ``fourier.1`` of several levels."""
    return f"{loss}.{level}" if levels > 1 else loss


def cache_root() -> Path:
    """``$FOURIERKD_CACHE``, else ``$XDG_CACHE_HOME/fourierkd``, else ``~/.cache/fourierkd``.

    Raises:
        ConfigError: none of them is set, and the user has no home folder (in some containers).
    """
    own = os.environ.get("FOURIERKD_CACHE")
    if own:
        return Path(own).absolute()
    user = os.environ.get("XDG_CACHE_HOME")
    if user:
        return Path(user) / "fourierkd"
    try:
        return Path.home() / ".cache" / "fourierkd"
    except RuntimeError as error:
        raise ConfigError(
            "a cache folder is needed, and this user has no home folder",
            fix="set FOURIERKD_CACHE to a folder",
        ) from error


class RunDir:
    """One run's folder.

    ======================  =====================================================================
    ``request.json``        what was asked: config, options, seed, study, phase, method, trial
    ``config.py``           the resolved config; ``environment.json`` versions, device, commit
    ``inherited.json``      which weights of the teacher the student started from, if any
    ``scalars.jsonl``       one JSON object a line: iter, epoch, seconds, ``group/name`` scalars
    ``classes.jsonl``       one a validation or test: iter, split, classes, scores of each class
    ``classes_<split>.npz`` of the best checkpoint: confusion matrix, or precision-recall curves
    ``control.json``        written by the coordinator: ``{"action": "stop", "state", "reason"}``
    ``result.json``         written last and atomically: state, reason, metrics, seconds
    ``checkpoints/``        ``last_checkpoint`` names the newest whole one; ``best.pth``
    ``pictures/``           spectra as ``spectra_<iter>_<loss>_<level>.png`` and ``.npz``;
                            ``predictions_<name>.png`` and, of all of them, ``predictions.npz``
    ``predictions.jsonl``   one a picture of predictions: image, rule, score, files; written last
    ``spectra/``            the spectral ledger, ``<iter>.parquet`` for each validation
    ``attribution.csv``     what each band of the tapped map is worth (``fourierkd attribute``)
    ``report.html``         curves, scores and classes of the run, ``report.png`` its curves
                            (``fourierkd report``)
    ``run.log``             console of the child process; ``wandb/`` the W&B folder
    ``vis_data/``           what a ``visualizer`` of the config draws and writes
    ======================  =====================================================================
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.request = self.path / "request.json"
        self.config = self.path / "config.py"
        self.environment = self.path / "environment.json"
        self.inherited = self.path / "inherited.json"
        self.scalars = self.path / "scalars.jsonl"
        self.classes = self.path / "classes.jsonl"
        self.predictions = self.path / "predictions.jsonl"
        self.control = self.path / "control.json"
        self.result = self.path / "result.json"
        self.log = self.path / "run.log"
        self.checkpoints = self.path / "checkpoints"
        self.pictures = self.path / "pictures"
        self.prediction_arrays = self.pictures / "predictions.npz"
        self.spectra = self.path / "spectra"
        self.attribution = self.path / "attribution.csv"
        self.report = self.path / "report.html"
        self.wandb = self.path / "wandb"
        self._lock = self.path / "lock"
        self._holds = False
        self._last = self.checkpoints / "last_checkpoint"

    def create(self, request: Request) -> RunDir:
        """Make the folder and record what is asked of the run.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            text = json.dumps(request.to_json(), indent=1, allow_nan=False)
            write_atomic(self.request, text + "\n")
        except ValueError as error:
            raise RunError(
                "numbers in a run's options are finite", value=request.options
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RunError(
                f"the work dir must be writable ({error.strerror})",
                value=str(self.path),
                fix="choose another --work-dir",
            ) from error
        return self

    def called(self, method: str) -> str:
        """What a run of ``method`` is called beside others: so, or by its folder's name, without
        what follows ``seed``, where it was made by hand and names none."""
        if method != UNNAMED:
            return method
        return _SEED.sub("", self.path.name) or self.path.name

    def read_request(self) -> Request:
        """What was asked; RunError where the folder holds no run."""
        request = read_json(self.request)
        if request is None:
            raise RunError(
                "a run folder holds request.json", value=str(self.path), fix="check the path"
            )
        return Request.from_json(request, self.request, fix="delete its folder")

    @contextmanager
    def lock(self, *, patience: float = 0.0) -> Iterator[None]:
        """Hold the run for this process.

        Args:
            patience: seconds to wait for another process that trains it.

        Raises:
            RunError: it still does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + patience
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(self._lock))
                    break
                except Held as held:
                    if time.monotonic() >= end:
                        raise RunError(
                            "a run folder is trained by one process at a time, and "
                            f"{held.holder} has it",
                            value=str(self.path),
                            fix="wait for it or stop it",
                        ) from held
                    time.sleep(LOCK_PAUSE)
            self._holds = True
            try:
                yield
            finally:
                self._holds = False

    def beat(self) -> None:
        """Child's side, while it holds the lock: a sign of life, which writes no byte.

        Raises:
            RunError: the folder is not where it was.
        """
        if self._holds:  # not in an evaluation by hand
            try:
                os.utime(self._lock)
            except FileNotFoundError as error:
                raise self._moved() from error

    def _moved(self) -> RunError:
        return RunError(
            "a run folder stays where it is while it is trained, and this one was moved or removed",
            value=str(self.path),
            fix="put it back, then go on with the run",
        )

    def signs(self) -> tuple[int, ...]:
        """What changes while a run lives, the size of its scalars first (see ``sweeps.watch``)."""
        found = []
        for path in (self.scalars, self.log, self._lock, self._last, self.result):
            try:
                stat = path.stat()
            except OSError:
                found += [0, 0]
            else:
                found += [stat.st_size, stat.st_mtime_ns]
        return tuple(found)

    def append(self, row: Row) -> None:
        """Append one scalars row (needs ``iter``); a number that is not finite becomes null."""
        self._append(self.scalars, row)

    def append_classes(self, row: Row) -> None:
        """Append what one evaluation says of each class, as ``append`` does it.

        Args:
            row: ``iter`` of the weights, ``split``, ``classes`` (names) and ``scores`` (name ->
                one value a class).
        """
        self._append(self.classes, row)

    def void_after(self, iteration: int) -> None:
        """The run goes on from ``iteration``: what was logged past it counts no longer."""
        event = {"event": "resume", "iter": iteration}
        self.append(event)
        if self.classes.exists():
            self.append_classes(event)
        for later, path in self.ledger_files().items():
            if later > iteration:
                path.unlink(missing_ok=True)

    def _append(self, path: Path, row: Row) -> None:
        line = (json_text(row) + "\n").encode()
        try:
            descriptor = os.open(path, _APPEND, 0o666)
        except FileNotFoundError as error:
            raise self._moved() from error
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last writer died inside a line
            while line:  # a disk may fill up in the middle of it
                line = line[os.write(descriptor, line) :]
        except OSError as error:
            _name_file(error, path)
            raise
        finally:
            os.close(descriptor)

    def tail(self, offset: int = 0) -> tuple[list[Row], int]:
        """Whole rows from byte ``offset`` on, and the offset to go on from."""
        return _tail(self.scalars, offset)

    def rows(self) -> list[Row]:
        """All rows of the one curve: a ``resume`` row drops what was logged past it before."""
        return _valid(self.tail()[0])

    def class_rows(self, split: str) -> dict[int, Row]:
        """Iteration -> what ``classes.jsonl`` says of it on ``split``, in order."""
        rows = _valid(_tail(self.classes, 0)[0])
        return {row["iter"]: row for row in rows if row.get("split") == split}

    def class_arrays(self, split: str) -> Path:
        """Where the arrays of classes lie: ``iter``, ``classes`` (K) and what there is of
        ``confusion`` (K, K) or ``<kind>_precision`` (K, T, R), ``thresholds`` (T), ``recall`` (R).
        """
        return self.path / f"classes_{split}.npz"

    def ask_stop(self, state: State, reason: str) -> None:
        """Coordinator's side: ask the child to stop and to end in ``state`` (pruned or stopped)."""
        write_atomic(self.control, json.dumps(Stop(state=state, reason=reason).to_json()))

    def stop_asked(self) -> Stop | None:
        """Child's side, cheap enough for every iteration: the stop request, if there is one."""
        if not self.control.exists():
            return None
        asked = read_json(self.control)
        return None if asked is None else Stop.from_json(asked, self.control, fix="delete it")

    def clear_stop(self) -> None:
        """Forget an old stop request, so that a stopped run can continue."""
        self.control.unlink(missing_ok=True)

    def write_result(self, result: Result) -> None:
        """End the run."""
        if not self.path.is_dir():
            raise self._moved()
        write_atomic(self.result, json_text(result.to_json(), indent=1) + "\n")

    def read_result(self) -> Result | None:
        """The result, or None while the run is not at its end; RunError where it is damaged."""
        result = read_json(self.result)
        fix = "delete it, and the run goes on from its last checkpoint"
        return None if result is None else Result.from_json(result, self.result, fix)

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint, if any (``last_checkpoint`` is written after the file)."""
        if not self._last.exists():
            return None
        path = self.checkpoints / Path(self._last.read_text().strip()).name
        return path if path.exists() else None

    def checkpoint(self, iteration: int) -> Path:
        """Where the checkpoint of an iteration lies."""
        return self.checkpoints / f"iter_{iteration}.pth"

    def keep_only(self, checkpoint: Path) -> None:
        """Make a whole ``checkpoint`` the last one, then drop those of other iterations."""
        write_atomic(self._last, checkpoint.name + "\n")
        for old in self.checkpoints.glob("iter_*.pth"):
            if old != checkpoint:
                old.unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Free their space; a run that goes on then begins again."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def best_checkpoint(self) -> Path:
        """Where the best checkpoint lies."""
        return self.checkpoints / "best.pth"

    def ledger_file(self, iteration: int) -> Path:
        """Where the spectral ledger of a validation lies."""
        return self.spectra / f"{iteration:06d}.parquet"

    def ledger_files(self) -> dict[int, Path]:
        """Iteration -> the spectral ledger of its validation, in order."""
        found = {}
        for path in self.spectra.glob("*.parquet"):
            match = _LEDGER.fullmatch(path.name)
            if match:
                found[int(match["iter"])] = path
        return dict(sorted(found.items()))

    def picture(self, iteration: int, name: str, suffix: str = ".png") -> Path:
        """Path of a picture or its data: ``spectra_<iter>_<name><suffix>``."""
        return self.pictures / f"spectra_{iteration:06d}_{name}{suffix}"

    def saved_pictures(self) -> dict[int, dict[str, Path]]:
        """Iteration -> label (see ``picture_label``) -> picture, in order."""
        found: dict[int, dict[str, list[Path]]] = {}
        for path in sorted(self.pictures.glob("spectra_*.png")):
            match = _PICTURE.fullmatch(path.name)
            if match:
                loss = match["name"].rpartition("_")[0]
                found.setdefault(int(match["iter"]), {}).setdefault(loss, []).append(path)
        return {
            iteration: {
                picture_label(loss, level, len(paths)): path
                for loss, paths in losses.items()
                for level, path in enumerate(paths)
            }
            for iteration, losses in found.items()
        }

    def prediction_picture(self, name: str) -> Path:
        """Where the picture of predictions of that name (``1``, ``worst``) lies."""
        return self.pictures / f"predictions_{name}.png"

    def prediction_rows(self) -> list[Row]:
        """What ``predictions.jsonl`` says of each picture; empty where the run has none."""
        return _tail(self.predictions, 0)[0]

    def newest_pictures(self) -> dict[str, int]:
        """Name -> iteration of the newest picture or data saved under that name, by name."""
        newest: dict[str, int] = {}
        for path in self.pictures.glob("spectra_*"):
            match = _PICTURE.fullmatch(path.name)
            if match:
                name, iteration = match["name"], int(match["iter"])
                newest[name] = max(iteration, newest.get(name, iteration))
        return dict(sorted(newest.items()))
