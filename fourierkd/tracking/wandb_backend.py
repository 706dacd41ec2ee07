"""Weights & Biases for one run: in flow rows, pictures and tables, out flows a W&B run.

The run folder stays the truth, and whatever goes wrong inside W&B leaves the run alone: what W&B
does not take costs itself and a warning, and all that follows is sent. Everything W&B writes lies
in ``RunDir.wandb``. A resumed run continues the same W&B run in a new segment (W&B's folder of one
process). Where a server does not surely have all of the earlier ones (they are offline, or a kill
cut them anywhere), the new one starts with the curve and the pictures so far, and once it is closed
the earlier ones go; of what a killed run had uploaded the server then has some rows twice. Nobody
logged in, or no server: the run is kept offline, and ``record.sync_command`` gives the line that
uploads it later.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fourierkd.errors import ConfigError, RunError, one_line
from fourierkd.records import (
    MINIMIZE,
    TEST,
    VAL,
    Metric,
    Phase,
    Request,
    State,
    as_scores,
    scores,
    scores_of_classes,
)
from fourierkd.run_dir import Row, RunDir
from fourierkd.tracking.login import choose_mode, default_project
from fourierkd.tracking.record import Tally, held, read_record, uploaded, write_record
from fourierkd.tracking.wandb_values import cell, loggable, parameter_key, run_config, tags

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("fourierkd.tracking")

INIT_SECONDS = 10.0
FINISH_SECONDS = 15.0
GROUPS = ("train", "val", "val_class", "test", "time", "distill", "spectra", "predictions")


class WandbBackend:
    """One W&B run, with its own run object: ``wandb.run`` and other live runs are left alone.

    Args:
        run_dir: Folder of the run; ``run_dir.wandb`` receives all of W&B's files.
        request: The run's request; its ``wandb`` says how it is shown.
        config: The resolved run config; it becomes ``run`` in the W&B config, beside method, phase,
            study, seed, trial, parameters, metric and commit.

    Raises:
        ConfigError: ``request.wandb.mode`` is not a mode.

    Cost offline: 0.3 s to start in a process that ran ``preload``, 0.5 ms a row, 10 ms to close.
    """

    def __init__(self, run_dir: RunDir, request: Request, config: dict[str, Any]) -> None:
        self._dir, self._request, self._config = run_dir, request, config
        self._run: Any = None
        self._record: dict[str, Any] = {}
        self._segment = ""  # folder of this process's part of the run
        self._replaced: set[str] = set()  # segments whose content this one has too
        self._tally = Tally()
        self.mode = "disabled"
        try:
            with _folders(run_dir):
                self.mode, reason = choose_mode(request.wandb.mode)
                if reason:
                    _log.warning("W&B: %s; this run is kept offline in %s", reason, run_dir.wandb)
                if self.mode != "disabled":
                    self._start()
        except ConfigError:
            raise
        except Exception as error:
            self._off(error)

    def _start(self) -> None:
        """Begin a segment, and send what earlier ones of the run were sent."""
        request, config = self._request, self._config
        shown = request.wandb
        kept = read_record(self._dir) or {"id": _new_id(), "segments": {}}
        anew = not uploaded(self._dir)
        # A process that was killed before it wrote the record left a folder, too.
        here = (path.name for path in self._dir.wandb.glob(f"*run-*-{kept['id']}*"))
        earlier = {*kept["segments"], *here}
        self._replaced = earlier if anew else set()
        self._record = {**kept, "tracked": None, "reason": None}
        arguments = {
            "id": kept["id"],
            "resume": "allow" if earlier else None,
            "config": run_config(self._dir, request, config),
            "project": shown.project or default_project(),
            "entity": shown.entity,
            "group": shown.group or request.study,
            "job_type": shown.job_type or request.phase.value,
            "name": shown.name or _own_name(request) or self._dir.path.name,
            "tags": list(shown.tags or _own_tags() or tags(request)),
            "notes": shown.notes,
        }
        write_record(self._dir, self._record)
        try:
            self._run = self._init(arguments)
        except Exception as error:
            if self.mode != "online":
                raise
            _log.warning("W&B: %s; this run is kept offline in %s", _line(error), self._dir.wandb)
            self.mode = "offline"
            self._record["id"] = _new_id()  # W&B's service holds on to the failed one
            anew = True
            self._run = self._init({**arguments, "id": self._record["id"], "resume": None})
        self._segment = Path(self._run.settings.sync_dir).name
        self._record["segments"][self._segment] = False
        write_record(self._dir, self._record)
        self._run.define_metric("iter", hidden=True)
        for group in GROUPS:
            self._run.define_metric(f"{group}/*", step_metric="iter")
        if metric := config.get("metric"):
            best = "min" if config.get("direction") == MINIMIZE else "max"
            self._run.define_metric(Metric(metric).key(), step_metric="iter", summary=best)
        if anew:
            self._replay()
        else:
            self._tally = Tally(held(self._dir))

    def _replay(self) -> None:
        """Send the curve and the pictures that the run folder holds already."""
        pictures, of_classes = self._dir.saved_pictures(), self._dir.class_rows(VAL)
        for iteration, rows in groupby(self._dir.rows(), key=itemgetter("iter")):
            for row in rows:
                self.log(row)
            if iteration in of_classes:
                self.classes(of_classes[iteration])
            for label, path in pictures.get(iteration, {}).items():
                self.image(f"spectra/{label}", path, row)
        self.predictions()

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

    def log(self, row: Row) -> None:
        """Log one scalars row (``iter``, ``epoch``, ``group/name``).

        Events are skipped, and so are numbers that are not finite: one NaN would be the summary's
        maximum for ever. scalars.jsonl has them as null.
        """
        if "event" in row:
            return
        values = {key: value for key, value in row.items() if loggable(value)}
        self._send("rows", f"a row of iteration {row.get('iter')}", lambda: self._run.log(values))

    def classes(self, row: Row) -> None:
        """Log each class's part of the metric as ``val_class/<name>``.

        Args:
            row: of ``classes.jsonl``, of a validation; where the metric is no mean over classes
                none is logged.
        """
        metric = self._config.get("metric")
        found = scores_of_classes(row, Metric(metric)) if metric else {}
        values = {
            f"val_class/{parameter_key(name)}": value
            for name, value in found.items()
            if loggable(value)
        }
        beside = {"iter": row["iter"], "epoch": row["epoch"]}

        def send() -> None:
            if values:
                self._run.log({**values, **beside})

        self._send("classes", f"classes of iteration {row['iter']}", send)

    def image(self, key: str, picture: np.ndarray | Path, row: Row) -> None:
        """Log a picture.

        Args:
            key: Name of the panel, such as ``spectra/fourier``.
            picture: (H, W, 3), uint8, RGB; or a file of it.
            row: The scalars row it belongs to; its ``iter`` and ``epoch`` are logged beside it.
        """

        def send() -> None:
            import wandb

            pixels = _pixels(picture) if isinstance(picture, Path) else picture
            # JPEG takes 0.6 to 2 ms where PNG takes 5 to 140, at equal size or less; the lossless
            # picture is the run folder's own.
            image = wandb.Image(pixels, file_type="jpg")
            self._run.log({key: image, "iter": row["iter"], "epoch": row["epoch"]})

        self._send("pictures", f"{key} of iteration {row.get('iter')}", send)

    def predictions(self) -> None:
        """Log the pictures of predictions of the run folder, with masks or boxes over the image.

        ``predictions/1`` is of the same image in every run on the same data, ``predictions/worst``
        of the one with this run's worst score.
        """
        for row in self._dir.prediction_rows():

            def send(row: Row = row) -> None:
                from fourierkd.tracking.prediction_overlays import overlaid

                image = overlaid(self._dir, row)
                self._run.log({f"predictions/{row['name']}": image, "iter": row["iter"]})

            self._send("predictions", f"the picture of predictions {row['name']}", send)

    def table(self, key: str, frame: pd.DataFrame) -> None:
        """Log a data frame as a W&B table; what is no number, bool or text becomes text."""

        def send() -> None:
            import wandb

            rows = [
                [cell(value) for value in values]
                for values in frame.itertuples(index=False, name=None)
            ]
            columns = [str(column) for column in frame.columns]
            self._run.log({key: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

        self._send("tables", f"the table {key}", send)

    def _confusion(self, split: str) -> None:
        """Log the best checkpoint's confusion matrix, if there is one, as ``confusion/<split>``.

        A row a pair of classes that occurs, with the columns of W&B's chart of such a matrix.
        """

        def send() -> None:
            import wandb

            with np.load(path, allow_pickle=False) as arrays:
                if "confusion" not in arrays:
                    return
                names, matrix = arrays["classes"].tolist(), arrays["confusion"]
            rows = [
                [names[true], names[guess], int(matrix[true, guess])]
                for true, guess in np.argwhere(matrix)
            ]
            table = wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
            self._run.log({f"confusion/{split}": table})

        path = self._dir.class_arrays(split)
        if path.exists():
            self._send("tables", f"the confusion matrix of {split}", send)

    def _send(self, kind: str, what: str, send: Callable[[], None]) -> None:
        """Count what W&B takes and what it does not; a warning names the latter (the first row)."""
        if self._run is None:
            return
        try:
            with _folders(self._dir):
                send()
        except Exception as error:
            self._tally.lost[kind] += 1
            if kind != "rows" or self._tally.lost[kind] == 1:
                _log.warning("W&B: %s is missing there: %s", what, _line(error))
        else:
            self._tally.sent[kind] += 1

    def close(self, state: State, metrics: Mapping[str, float | None] | None = None) -> None:
        """End the W&B run; waits at most FINISH_SECONDS for an upload.

        Args:
            state: How the run ended; one that failed has failed in W&B too.
            metrics: The result's metrics: in the run's summary ``test/mIoU`` keeps its name and
                ``val/mIoU``, of the best checkpoint, becomes ``best/mIoU``.
        """
        if self._run is None:
            return
        # `val/` keys are the curve's own summary; these are of the best checkpoint.
        given = metrics or {}
        final: dict[str, Any] = {"state": state.value, **as_scores(scores(given), "best")}
        final |= as_scores(scores(given, TEST), TEST)
        with _folders(self._dir):
            try:
                try:
                    delivered = self._end(final)
                except Exception as error:  # W&B's service died: everything again, to a new one
                    _log.warning("W&B: %s; the run is sent once more", _line(error))
                    self._restart()
                    delivered = self._end(final)
                self._keep(delivered=delivered, tracked=self._tally.counts(held(self._dir), final))
                self._run = None
            except Exception as error:
                self._off(error)

    def _end(self, final: Mapping[str, Any]) -> bool:
        """Send summary and confusion matrices, and wait for the upload; True where all arrived."""
        self._run.summary.update(final)
        for split in (VAL, TEST):
            self._confusion(split)
        try:
            self._run.finish(exit_code=1 if final["state"] == State.FAILED else 0)
        except TimeoutError:
            _log.warning(
                "W&B: the upload did not end in %g s; later: wandb sync --include-online %s",
                FINISH_SECONDS,
                shlex.quote(str(self._dir.wandb / self._segment)),
            )
            return False
        return self.mode == "online"

    def _restart(self) -> None:
        import wandb

        with suppress(Exception, SystemExit):
            wandb.teardown()  # it raises what killed the service, and forgets it
        self._tally = Tally()
        self._start()

    def _keep(self, *, delivered: bool, tracked: dict[str, list[int]]) -> None:
        """Record the end; segments whose content this one has too go."""
        segments = self._record["segments"]
        for name in self._replaced:
            shutil.rmtree(self._dir.wandb / name, ignore_errors=True)
            segments.pop(name, None)
        segments[self._segment] = delivered
        self._record["tracked"] = tracked
        write_record(self._dir, self._record)

    def _off(self, error: Exception) -> None:
        self._run = None
        self.mode = "disabled"
        _log.warning("W&B: %s; this run is not tracked", _line(error))
        if isinstance(error, ImportError):  # nobody installed it
            return
        with suppress(OSError, RunError):
            kept = read_record(self._dir) or {"id": _new_id(), "segments": {}}
            write_record(self._dir, {**kept, "tracked": None, "reason": _line(error)})


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


def _pixels(path: Path) -> np.ndarray:
    """(H, W, 3), uint8, RGB."""
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def _own_name(request: Request) -> str | None:
    """WANDB_NAME, for a run by itself: the runs of a study cannot share one."""
    return os.environ.get("WANDB_NAME") if request.phase == Phase.SINGLE else None


def _own_tags() -> list[str]:
    """Those of WANDB_TAGS, between commas."""
    given = os.environ.get("WANDB_TAGS", "").split(",")
    return [tag.strip() for tag in given if tag.strip()]


def _new_id() -> str:
    return os.urandom(4).hex()


def _line(error: BaseException) -> str:
    text = one_line(error) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " ..."
