"""Optuna's dashboard of a study: in flow the files of a work dir, out flows a page on loopback.

Only reads, so it may look while the study runs: the journal is replayed in memory, and what the
page says beyond it (name of the metric, notes, pictures) is said to that memory alone. What a
person would change on the page is refused, since it would be gone with the process.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.storages.journal import BaseJournalBackend

from fourierkd.errors import ConfigError, RunError, StudyError
from fourierkd.literals import read_literals
from fourierkd.records import Metric, Phase, Request
from fourierkd.run_dir import RunDir
from sweeps.searches import tuned_of
from sweeps.status import status
from sweeps.storage import JOURNAL_NAME, RUNS_NAME, stored_studies
from sweeps.study_record import StudyRecord, noted, read_study
from sweeps.tables import trial_number

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

HOST = "127.0.0.1"
LOOK_EVERY = 3.0  # seconds between two looks at the files; the page asks every 10
READS = ("GET", "HEAD")
REFUSED = "this page only reads: a study changes by the command that runs it"
_WITH_PICTURES = (Phase.BASELINE, Phase.TRIAL, Phase.RUNG, Phase.FINAL)


class ReadJournal(BaseJournalBackend):
    """The journal of a study as far as its writer has come, and behind it what is said here.

    The file is opened to be read, once: a study that makes way for another one takes it along.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - read as long as the page lives
        self._entries: list[dict[str, Any]] = []

    def is_at(self, path: Path) -> bool:
        """Whether the file of that path is still this one."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))
        return True  # nothing has come in its place

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Every entry from that number on; half a line at the end is left to its writer."""
        start = self._file.tell()
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.seek(start + whole)
        self._entries += [json.loads(line) for line in data[:whole].splitlines()]
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Remember entries; no file has them."""
        self._entries += logs


class Pictures:
    """Optuna's artifact store whose artifacts are pictures in run folders, by number."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}

    def number(self, path: Path) -> str:
        """The same for a path whenever it is asked for."""
        number = str(uuid.uuid5(uuid.NAMESPACE_URL, path.as_uri()))
        self._paths[number] = path
        return number

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Its bytes."""
        try:
            return open(self._paths[artifact_id], "rb")
        except (KeyError, FileNotFoundError) as error:
            raise optuna.artifacts.exceptions.ArtifactNotFound(artifact_id) from error


class Page:
    """The WSGI application: optuna-dashboard's, on what the work dir holds at each request."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir.absolute()
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        from optuna_dashboard import wsgi

        self._journal = ReadJournal(self.work_dir / JOURNAL_NAME)
        self._storage = optuna.storages.JournalStorage(self._journal)
        self._pictures = Pictures()
        self._requests: dict[Path, Request] = {}
        store: Any = self._pictures  # of whose methods only this one is asked for by a GET
        self._app: Any = wsgi(self._storage, artifact_store=store)
        self._looked = 0.0
        self._look()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] not in READS:
            body = json.dumps({"reason": REFUSED}).encode()
            head = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response("405 Method Not Allowed", head)
            return [body]
        with self._lock:
            if not self._journal.is_at(self.work_dir / JOURNAL_NAME):
                self._open()
            elif time.monotonic() - self._looked > LOOK_EVERY:
                self._look()
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def _look(self) -> None:
        """Say anew what the work dir says of its studies."""
        from optuna_dashboard import get_note, save_note

        runs = self._runs()
        for frozen in self._storage.get_all_studies():
            study = optuna.load_study(study_name=frozen.study_name, storage=self._storage)
            tunes = tuned_of(study.study_name)
            metric = noted(self.work_dir).metric or Metric("metric")
            if study.metric_names is None:  # begun by an older version
                self._say(study, "study:metric_names", [metric.name])
            known = facts(self.work_dir, tunes, [run for run, _ in runs])
            for name, value in known.items():
                if study.user_attrs.get(name) != value:
                    study.set_user_attr(name, value)
            text = note(self.work_dir, study, metric, known)
            if get_note(study) != text:
                save_note(study, text)
            self._say_pictures(study, tunes, runs)
        self._looked = time.monotonic()

    def _runs(self) -> list[tuple[RunDir, Request]]:
        for folder in sorted((self.work_dir / RUNS_NAME).glob("*")):
            if folder not in self._requests:
                with suppress(RunError):  # not written yet, or damaged, which the report says
                    self._requests[folder] = RunDir(folder).read_request()
        return [(RunDir(folder), request) for folder, request in self._requests.items()]

    def _say_pictures(
        self, study: optuna.Study, tunes: str | None, runs: list[tuple[RunDir, Request]]
    ) -> None:
        """Under keys of the study, since a trial that has ended takes none."""
        found = {}
        for trial in study.get_trials(deepcopy=False):
            own = [(run, asked) for run, asked in runs if is_of(trial, tunes, asked)]
            for name, path in pictures(own):
                number = self._pictures.number(path)
                facts = {"artifact_id": number, "filename": name, "mimetype": "image/png"}
                found[f"dashboard:artifacts:{trial._trial_id}:{number}"] = json.dumps(facts)
        attributes = self._storage.get_study_system_attrs(study._study_id)
        gone = {k for k in attributes if k.startswith("dashboard:artifacts:")} - found.keys()
        for key, value in (found | dict.fromkeys(gone, "null")).items():
            self._say(study, key, value)

    def _say(self, study: optuna.Study, key: str, value: Any) -> None:
        if self._storage.get_study_system_attrs(study._study_id).get(key) != value:
            self._storage.set_study_system_attr(study._study_id, key, value)


def is_of(trial: optuna.trial.FrozenTrial, tunes: str | None, asked: Request) -> bool:
    """Whether a run is a trial's own, of the rung, or a final one with its parameters."""
    if asked.phase == Phase.FINAL:  # booked on no trial, and called by what was tuned
        same = bool(trial.params) and asked.parameters == trial.params
        return same and tunes in (None, asked.method)
    return asked.trial == trial_number(trial) and asked.tunes == tunes


def pictures(runs: list[tuple[RunDir, Request]]) -> Iterator[tuple[str, Path]]:
    """Name and file of the newest spectra and of predictions, in each phase of the first run that
    has any.

    Args:
        runs: of one trial.
    """
    for phase in _WITH_PICTURES:
        for run in (run for run, asked in runs if asked.phase == phase):
            spectra = list(run.saved_pictures().values())[-1:]
            shown = [path for pictures in spectra for path in pictures.values()]
            shown += [run.pictures / Path(row["picture"]).name for row in run.prediction_rows()]
            yield from ((f"{run.path.name}/{path.name}", path) for path in shown)
            if shown:
                break


def facts(work_dir: Path, tunes: str | None, runs: list[RunDir]) -> dict[str, str]:
    """What a search is of, as far as that is known: config, teacher, data and command.

    Args:
        work_dir: of the study.
        tunes: what the search tunes; None: it is the study's one.
        runs: of the study.
    """
    recorded = read_study(work_dir) or StudyRecord()
    found = {
        "tunes": tunes,
        "config": recorded.report.config,
        "teacher": _teacher(recorded),
        "data": _data(runs),
        "command": recorded.report.command,
    }
    return {name: value for name, value in found.items() if value}


def note(work_dir: Path, study: optuna.Study, metric: Metric, known: Mapping[str, str]) -> str:
    """How a study stands, what is best so far, and what is ``known`` of it, as Markdown."""
    lines = [f"- {line.strip()}" for line in status(work_dir)]
    lines += ["", *_best(study, metric), ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in known.items()]
    return "\n".join([*lines, "", f"({REFUSED}.)"])


def _best(study: optuna.Study, metric: Metric) -> list[str]:
    try:
        best = study.best_trial
    except ValueError:
        return ["No trial of this search has a value yet."]
    head = f"Best trial of this search: {best.number}, val {metric.name} {best.value:.4g}"
    rows = [f"| {name} | {_cell(_short(value))} |" for name, value in best.params.items()]
    return [head, "", "| parameter | value |", "|---|---|", *rows] if rows else [head]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    return "`" + str(value).replace("`", "'").replace("|", "\\|") + "`"


def _teacher(recorded: StudyRecord) -> str:
    if recorded.teacher is not None:
        return f"{recorded.teacher.run_dir} (SHA-256 {recorded.teacher.sha256[:12]})"
    return ", ".join(f"{name} (SHA-256 {sha[:12]})" for name, sha in recorded.weights.items())


def _data(runs: list[RunDir]) -> str:
    """The folder of the data, of which every run's config says the same."""
    first = next((run.config for run in runs if run.config.exists()), None)
    with suppress(ConfigError):  # one that imports modules is not read
        return str(read_literals(first).get("data_root", "")) if first is not None else ""
    return ""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal for the address."""


def serve(work_dir: Path, port: int, tell: Callable[[str], object] = print) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        work_dir: of a study that has a search.
        port: on loopback; 0: any that is free.
        tell: gets the line with the address.

    Raises:
        ConfigError: optuna-dashboard is not installed, or the port is taken.
        StudyError: no search has begun there, or its journal is damaged.
    """
    try:
        import optuna_dashboard  # noqa: F401 - an extra; is it there
    except ImportError:
        raise ConfigError(
            "--optuna needs optuna-dashboard", fix="pip install 'fourierkd[dashboard]'"
        ) from None
    noted(work_dir)
    if not stored_studies(work_dir):
        raise StudyError(
            f"Optuna's dashboard shows a search, and none has begun here (there is no "
            f"{JOURNAL_NAME} with a study)",
            value=str(work_dir),
            fix=f"start the study; of one without trials: python sweeps/run.py report {work_dir}",
        )
    try:
        server = make_server(HOST, port, Page(work_dir), _Server, _Quiet)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the dashboard needs a port of its own ({reason})",
            value=port,
            fix="choose another one: --port 0 takes any that is free",
        ) from error
    with server:
        tell(f"Optuna's dashboard of {work_dir}: http://{HOST}:{server.server_port}/dashboard")
        tell("it only reads, also while the study runs; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
