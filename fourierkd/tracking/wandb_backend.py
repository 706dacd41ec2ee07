"""Weights & Biases for one run: in flow rows, pictures and tables, out flows a W&B run.

The run folder stays the truth: whatever goes wrong inside W&B is one warning line, after which
tracking is off and the run goes on. Everything W&B writes lies in ``RunDir.wandb``; the run's id is
kept there too, so a resumed run continues the same W&B run. Nobody logged in, or no server: the run
is kept offline, and ``sync_command`` gives the line that uploads it later.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fourierkd.errors import ConfigError, RunError
from fourierkd.run_dir import Row, RunDir, read_json, write_atomic
from fourierkd.tracking.login import choose_mode
from fourierkd.tracking.wandb_values import cell, loggable, run_config, tags

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("fourierkd.tracking")
_Method = TypeVar("_Method", bound=Callable[..., Any])

INIT_SECONDS = 10.0
FINISH_SECONDS = 15.0
GROUPS = ("train", "val", "test", "time", "distill", "spectra")
RECORD = "fourierkd.json"  # inside RunDir.wandb: {"id": str, "segments": {folder: delivered}}


def _guarded(method: _Method) -> _Method:
    """Turn tracking off, with one line, where W&B raises."""

    @functools.wraps(method)
    def call(self: WandbBackend, *args: Any, **kwargs: Any) -> Any:
        if self._run is None:
            return None
        try:
            with _folders(self._dir):
                return method(self, *args, **kwargs)
        except Exception as error:
            self._off(error)
            return None

    return call  # type: ignore[return-value]


class WandbBackend:
    """One W&B run, with its own run object: ``wandb.run`` and other live runs are left alone.

    Args:
        run_dir: Folder of the run; ``run_dir.wandb`` receives all of W&B's files.
        request: The run's request (``docs/design.md``). ``request["wandb"]`` holds project, group,
            job_type, name, mode, and optionally entity, tags, notes.
        config: The resolved run config; it becomes ``run`` in the W&B config, beside method, phase,
            study, seed, trial, parameters, metric and commit.

    Raises:
        ConfigError: ``request["wandb"]["mode"]`` is not a mode.

    Cost offline: 0.3 s to start in a process that ran ``preload``, 0.5 ms a row, 10 ms to close.
    """

    def __init__(self, run_dir: RunDir, request: dict[str, Any], config: dict[str, Any]) -> None:
        self._dir = run_dir
        self._run: Any = None
        self._kept: dict[str, Any] = {}  # what RECORD holds
        self._segment = ""  # folder of this process's part of the run
        self.mode = "disabled"
        wandb_request = request.get("wandb") or {}
        requested = wandb_request.get("mode")
        try:
            with _folders(run_dir):
                self.mode, reason = choose_mode(requested)
                if reason:
                    _log.warning("W&B: %s; this run is kept offline in %s", reason, run_dir.wandb)
                if self.mode != "disabled":
                    self._start(wandb_request, request, config)
        except ConfigError:
            raise
        except Exception as error:
            self._off(error)

    def _start(
        self, wandb_request: dict[str, Any], request: dict[str, Any], config: dict[str, Any]
    ) -> None:
        self._kept = read_json(self._dir.wandb / RECORD) or {"id": _new_id(), "segments": {}}
        arguments = {
            "id": self._kept["id"],
            # A first segment is uploaded from row 0 on, so that syncing it twice is harmless.
            "resume": "allow" if self._kept["segments"] else None,
            "config": run_config(self._dir, request, config),
            "project": wandb_request.get("project") or "fourierkd",
            "entity": wandb_request.get("entity"),
            "group": wandb_request.get("group") or request.get("study"),
            "job_type": wandb_request.get("job_type") or request.get("phase"),
            "name": wandb_request.get("name") or self._dir.path.name,
            "tags": list(wandb_request.get("tags") or tags(request)),
            "notes": wandb_request.get("notes"),
        }
        try:
            self._run = self._init(arguments)
        except Exception as error:
            if self.mode != "online":
                raise
            _log.warning("W&B: %s; this run is kept offline in %s", _line(error), self._dir.wandb)
            self.mode = "offline"
            self._kept["id"] = _new_id()  # W&B's service holds on to the failed one
            self._run = self._init({**arguments, "id": self._kept["id"], "resume": None})
        self._segment = Path(self._run.settings.sync_dir).name
        self._record(delivered=False)
        self._run.define_metric("iter", hidden=True)
        for group in GROUPS:
            self._run.define_metric(f"{group}/*", step_metric="iter")
        if metric := config.get("metric"):
            self._run.define_metric(f"val/{metric}", step_metric="iter", summary="max")

    def _init(self, arguments: dict[str, Any]) -> Any:
        import wandb

        self._dir.wandb.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            init_timeout=INIT_SECONDS,
            label_disable=True,
            save_code=False,
            symlink=False,
            use_dot_wandb=False,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=1.0,  # a killed run loses 1 s of rows, not 15
        )
        return wandb.init(
            dir=str(self._dir.path),
            mode=self.mode,  # type: ignore[arg-type]
            reinit="create_new",
            settings=settings,
            **arguments,
        )

    @property
    def url(self) -> str | None:
        """Address of the run's page; None offline."""
        return getattr(self._run, "url", None) if self.mode == "online" else None

    @_guarded
    def log(self, row: Row) -> None:
        """Log one scalars row (``iter``, ``epoch``, ``group/name``).

        Events are skipped, and so are numbers that are not finite: one NaN would be the summary's
        maximum for ever. scalars.jsonl has them as null.
        """
        if "event" not in row:
            self._run.log({key: value for key, value in row.items() if loggable(value)})

    @_guarded
    def image(self, key: str, picture: np.ndarray, row: Row) -> None:
        """Log a picture.

        Args:
            key: Name of the panel, such as ``spectra/fourier``.
            picture: (H, W, 3), uint8, RGB.
            row: The scalars row it belongs to; its ``iter`` and ``epoch`` are logged beside it.
        """
        import wandb

        # JPEG takes 0.6 to 2 ms where PNG takes 5 to 140, at equal size or less; the lossless
        # picture is the run folder's own.
        image = wandb.Image(picture, file_type="jpg")
        self._run.log({key: image, "iter": row["iter"], "epoch": row["epoch"]})

    @_guarded
    def table(self, key: str, frame: pd.DataFrame) -> None:
        """Log a data frame as a W&B table; what is no number, bool or text becomes text."""
        import wandb

        rows = [
            [cell(value) for value in values] for values in frame.itertuples(index=False, name=None)
        ]
        columns = [str(column) for column in frame.columns]
        self._run.log({key: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

    @_guarded
    def close(self, state: str, metrics: Mapping[str, float] | None = None) -> None:
        """End the W&B run; waits at most FINISH_SECONDS for an upload.

        Args:
            state: A run's state: complete, pruned, stopped or failed (then failed in W&B too).
            metrics: The result's metrics: in the run's summary ``test/mIoU`` keeps its name and
                ``val/mIoU``, of the best checkpoint, becomes ``best/mIoU``.
        """
        run, self._run = self._run, None
        # `val/` keys are the curve's own summary; these are of the best checkpoint.
        final = {key.replace("val/", "best/", 1): value for key, value in (metrics or {}).items()}
        run.summary.update({"state": state, **final})
        try:
            run.finish(exit_code=1 if state == "failed" else 0)
        except TimeoutError:
            folder = self._dir.wandb / self._segment
            _log.warning(
                "W&B: the upload did not end in %g s; later: wandb sync --include-online %s",
                FINISH_SECONDS,
                shlex.quote(str(folder)),
            )
        else:
            self._record(delivered=self.mode == "online")

    def _record(self, *, delivered: bool) -> None:
        self._kept["segments"][self._segment] = delivered
        write_atomic(self._dir.wandb / RECORD, json.dumps(self._kept) + "\n")

    def _off(self, error: Exception) -> None:
        self._run = None
        self.mode = "disabled"
        _log.warning("W&B: %s; tracking is off, the run goes on", _line(error))


def log_study_table(
    folder: str | os.PathLike[str],
    tables: Mapping[str, pd.DataFrame],
    *,
    study: str,
    metric: str | None = None,
    wandb: Mapping[str, Any] | None = None,
) -> str | None:
    """Log a study's final tables as one W&B run with job type ``report`` in the study's group.

    Args:
        folder: The study's work dir; W&B's files go to its ``wandb`` folder.
        tables: Panel name -> data frame, such as ``{"results": ..., "comparison": ...}``.
        study: Name of the study, and of the W&B group.
        metric: The study's metric, for the run's config.
        wandb: As ``request["wandb"]``: project, entity, mode.

    Returns:
        Address of the run's page, or None offline.
    """
    request = {
        "study": study,
        "phase": "report",
        "method": "report",
        "wandb": {"name": f"{study} report", "group": study, **(wandb or {}), "job_type": "report"},
    }
    backend = WandbBackend(RunDir(folder), request, {"metric": metric} if metric else {})
    for key, frame in tables.items():
        backend.table(key, frame)
    url = backend.url
    backend.close("complete")
    return url


def sync_command(paths: Iterable[str | os.PathLike[str]]) -> str:
    """The command that uploads what the runs in these folders hold back; empty for nothing.

    Args:
        paths: Run folders, and the study's work dir where it holds the report run.
    """
    offline: dict[Path, list[Path]] = {}  # parent of the run folders -> their W&B folders
    online: list[Path] = []
    exact: list[Path] = []
    for path in paths:
        run_dir = RunDir(path)
        try:
            record = read_json(run_dir.wandb / RECORD) or {"segments": {}}
        except RunError as error:
            _log.warning("W&B: %s", error)
            continue
        for name, delivered in record["segments"].items():
            folder = run_dir.wandb / name
            if delivered or any(folder.glob("*.wandb.synced")) or not any(folder.glob("*.wandb")):
                continue
            exact.append(folder)
            if name.startswith("offline-"):
                parent = offline.setdefault(run_dir.path.parent, [])
                if run_dir.wandb not in parent:
                    parent.append(run_dir.wandb)
            else:
                online.append(folder)
    if not exact:
        return ""
    if online:
        return "wandb sync --include-online " + " ".join(
            shlex.quote(str(folder)) for folder in exact
        )
    words = [
        f"{shlex.quote(str(parent))}/*/{folders[0].name}"
        if len(folders) > 1
        else shlex.quote(str(folders[0]))
        for parent, folders in offline.items()
    ]
    return "wandb sync " + " ".join(words)


@contextmanager
def _folders(run_dir: RunDir) -> Iterator[None]:
    """Staging and cache inside the run folder while W&B works; the environment as it was after it.

    WANDB_CONFIG_DIR is left alone: W&B only reads there (the server of ``wandb login --host``).
    """
    wanted = {
        "WANDB_DATA_DIR": str(run_dir.wandb / "data"),
        "WANDB_CACHE_DIR": str(run_dir.wandb / "cache"),
        "WANDB_ARTIFACT_DIR": str(run_dir.wandb / "artifacts"),
        "WANDB_ERROR_REPORTING": "false",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _new_id() -> str:
    return os.urandom(4).hex()


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " ..."
