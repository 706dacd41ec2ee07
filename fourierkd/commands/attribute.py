"""Band attribution: in flow finished runs, out flows what each band of the tapped map is worth.

Each run's student is scored as it is, with one band of its tapped maps exchanged for what the
teacher's maps predict of it, for what those of another image predict, and with the band emptied;
the change of the metric is the answer.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any, cast

from mmengine.runner import set_random_seed

from fourierkd.commands.evaluate import scores_now, scoring_runner
from fourierkd.config.load import RunConfig, load_config, require_distiller
from fourierkd.distill.band_exchange import Batch, Fitted, compared_taps, exchanged, fit_taps
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.fetch import fetch, is_address
from fourierkd.distill.register import register_all
from fourierkd.distill.teacher import RANDOM
from fourierkd.distill.terms import compares
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.engine.runner import KDRunner, training_seed
from fourierkd.errors import CheckpointError, ConfigError, RunError
from fourierkd.fingerprint import changed_since
from fourierkd.losses.base import MAPS
from fourierkd.options import whole_number
from fourierkd.records import Request, Result, State
from fourierkd.run_dir import RunDir, require_writable, write_atomic

UNCHANGED, REPLACED, OTHER_IMAGE, REMOVED = "unchanged", "replaced", "other_image", "removed"
IMAGES = 256  # of training, on which the maps are fitted
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """One score of a run's student; a row of ``attribution.csv``.

    Attributes:
        run, method, seed, split: whose score, and where.
        tap: which maps were changed; None: none were.
        level: which of them alone, from 0 on; None: all.
        low, high: the band, in ``unit``; the one up to 1 has an open top.
        kind: unchanged, replaced (by what the teacher's maps predict), other_image (by what they
            predict of another image: a control) or removed.
        metric, value: the score.
        change: from that of the unchanged student; of that one, from the score in the run's result.
        energy: of a band: its share of the energy of the student's maps of training images.
        explained: of a replaced band: the share of its energy that is predicted, of training
            images that the fit has not seen.
    """

    run: str
    method: str
    seed: int
    split: str
    tap: str | None
    level: int | None
    low: float | None
    high: float | None
    unit: str
    kind: str
    metric: str
    value: float
    change: float
    energy: float | None = None
    explained: float | None = None


@dataclasses.dataclass(frozen=True)
class Finished:
    """A complete run of a distilled student, and what it says of itself."""

    run_dir: RunDir
    request: Request
    result: Result
    config: RunConfig
    checkpoint: Path

    @property
    def metric(self) -> str:
        """What it is scored by."""
        return str(self.config.metric)


def attribute(
    folders: Sequence[str | Path],
    *,
    bands: int = 5,
    levels: bool = False,
    progress: Progress = lambda _: None,
) -> list[Row]:
    """Score the students of finished runs with bands of their maps exchanged; write each run's
    ``attribution.csv``.

    Args:
        folders: run folders; all are looked at before the first is scored.
        bands: how many, of equal width from 0 to Nyquist, the last with an open top.
        levels: where there are several, as those of a pyramid, also each of them alone.
        progress: is told what is done.

    Raises:
        ConfigError: a bad number, a run without teacher or without a loss of feature maps, or runs
            that are scored by other metrics or on other splits.
        RunError: a folder holds no complete run.
        CheckpointError: the student's or the teacher's weights are gone, or the teacher's are
            others than those that the run had.
        DataError: the data are gone.
    """
    edges = [i / whole_number("--bands", bands, 1) for i in range(bands + 1)]
    register_all()
    runs = [finished(RunDir(folder)) for folder in folders]
    _check_alike(runs)
    rows: list[Row] = []
    for index, run in enumerate(runs):
        tell = partial(_tell, progress, f"run {index + 1} of {len(runs)}")
        own = _attribute(run, edges, levels, tell)
        write_atomic(run.run_dir.attribution, csv_text(own))
        rows += own
    return rows


def _tell(progress: Progress, run: str, part: str) -> None:
    progress(f"{run}: {part}")


def finished(run_dir: RunDir) -> Finished:
    """The run, if its bands can be exchanged; see ``attribute`` for what is refused."""
    request, result = run_dir.read_request(), run_dir.read_result()
    if result is None or result.state != State.COMPLETE:
        raise RunError(
            "bands are exchanged in a complete run",
            value=f"{run_dir.path} ({'unfinished' if result is None else result.state})",
            fix="let it end, or continue it with --resume",
        )
    if result.score(request.split) is None:
        raise RunError(
            "a run needs a score that a change can be measured by",
            value=str(run_dir.path),
            fix="train it with a validation and a metric",
        )
    config = load_config(run_dir.config)
    require_distiller(config)
    losses = config.model.get("losses") or {}
    if config.model.get("teacher") is None:
        raise ConfigError(
            "bands are exchanged for a teacher's, and this run has none",
            value=str(run_dir.path),
            fix="name a run that was distilled",
        )
    if not any(compares(entry) == MAPS for entry in losses.values()):
        raise ConfigError(
            f"bands are those of feature maps, and no loss of {run_dir.path} compares any",
            value=list(losses),
            fix="name a run of another method; `fourierkd methods` says what each compares",
        )
    name = result.checkpoints.best or result.checkpoints.last or "checkpoints"
    checkpoint = run_dir.path / name
    if not checkpoint.is_file():
        raise CheckpointError(
            "the weights that the run was scored with must be there", value=str(checkpoint)
        )
    _check_teacher(config.model.teacher.get("checkpoint"), result)
    require_writable(run_dir.attribution)
    return Finished(run_dir, request, result, config, checkpoint)


def _check_teacher(checkpoint: str, result: Result) -> None:
    """That the teacher's weights are those that the run had, as far as it knows."""
    if checkpoint == RANDOM:
        return
    path = fetch(checkpoint, option="model.teacher.checkpoint") if is_address(checkpoint) else None
    known = result.conditions.teacher_sha256
    changed = changed_since(path or checkpoint, known)
    if changed is not None:
        digest = f" (sha256 {known[:16]})" if known else ""
        raise CheckpointError(
            f"the teacher's weights must be those that the run had{digest}, and the file {changed}",
            value=checkpoint,
            fix="restore that file",
        )


def _check_alike(runs: Sequence[Finished]) -> None:
    scored = {f"{run.metric} on {run.request.split}": str(run.run_dir.path) for run in runs}
    if len(scored) > 1:
        raise ConfigError(
            "runs of one table have the same metric on the same split",
            value=scored,
            fix="name those that have",
        )


def _attribute(run: Finished, edges: list[float], levels: bool, progress: Progress) -> list[Row]:
    split, seed = run.request.split, run.request.seed
    training = run.config.train_dataloader
    with scoring_runner(
        run.config, run.checkpoint, split=split, command="attribute", seed=seed
    ) as runner:
        model: Any = runner.bare_model
        progress("fit of the maps")
        taps = [
            fit_taps(model, compared, _batches(model, training, seed), edges)
            for compared in compared_taps(model)
        ]
        progress("unchanged")
        first = _unchanged(run, scores_now(runner)[run.metric])
        rows = [first]
        for fitted in taps:
            several = range(len(fitted.fits)) if levels and len(fitted.fits) > 1 else ()
            for level in (None, *several):
                rows += _exchanges(runner, fitted, level, edges, first, progress)
    return rows


def _exchanges(
    runner: KDRunner,
    fitted: Fitted,
    level: int | None,
    edges: list[float],
    first: Row,
    progress: Progress,
) -> Iterator[Row]:
    """Every band alone and all of them: replaced, by another image's, and removed."""
    model: Any = runner.bare_model
    count = len(edges) - 1
    chosen = [[band] for band in range(count)] + [list(range(count))] * (count > 1)
    where = "" if level is None else f", level {level}"
    for kind in (REPLACED, OTHER_IMAGE, REMOVED):
        for bands in chosen:
            low, high = edges[bands[0]], edges[bands[-1] + 1]
            progress(f"{kind} {band_name(low, high)} of Nyquist{where}")
            with exchanged(
                model,
                fitted,
                bands,
                by_teacher=kind != REMOVED,
                other_image=kind == OTHER_IMAGE,
                level=level,
            ):
                value = scores_now(runner)[first.metric]
            yield dataclasses.replace(
                first,
                tap=fitted.compared.label,
                level=level,
                low=low,
                high=high,
                kind=kind,
                value=value,
                change=value - first.value,
                energy=fitted.energy(bands, level),
                explained=fitted.explained(bands, level) if kind == REPLACED else None,
            )


def _unchanged(run: Finished, value: float) -> Row:
    split = run.request.split
    return Row(
        run=run.run_dir.path.name,
        method=run.run_dir.called(run.request.method),
        seed=run.request.seed,
        split=split,
        tap=None,
        level=None,
        low=None,
        high=None,
        unit="Nyquist",
        kind=UNCHANGED,
        metric=run.metric,
        value=value,
        change=value - (run.result.score(split) or 0.0),
    )


def _batches(model: Distiller, loader: Mapping[str, Any], seed: int) -> Iterator[Batch]:
    """Training images as a step sees them, at most IMAGES and at most all; the same each time."""
    model.eval()
    set_random_seed(training_seed(seed))
    built = build_loader(in_process(loader), seed=training_seed(seed))
    left = min(IMAGES, len(cast(Sized, built.dataset)))
    for batch in built:
        ready = model.data_preprocessor(batch, True)
        yield ready["inputs"], ready.get("data_samples")
        left -= len(ready["inputs"])
        if left <= 0:
            return


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as a CSV with a header; a number that there is not is empty."""
    buffer = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = dataclasses.asdict(row).items()
        known = {k: v for k, v in cells if not (isinstance(v, float) and math.isnan(v))}
        writer.writerow(known)
    return buffer.getvalue()


def band_name(low: float, high: float) -> str:
    """``0.2-0.4``; the one with an open top is ``0.8 up``."""
    return f"{low:g}-{high:g}" if high < 1 else ("all" if low == 0 else f"{low:g} up")


def print_attribution(rows: Sequence[Row]) -> None:
    """The rows as a table, methods side by side; several runs of a method by their mean."""
    from rich.console import Console
    from rich.table import Table

    console, metric = Console(highlight=False), rows[0].metric
    runs = [row for row in rows if row.kind == UNCHANGED]
    methods = list(dict.fromkeys(row.method for row in runs))
    for tap, level in dict.fromkeys((row.tap, row.level) for row in rows if row.tap is not None):
        where = tap if level is None else f"{tap}, level {level} alone"
        console.print(f"{metric} on {rows[0].split}, bands of {where}", soft_wrap=True)
        table = Table(f"band, of {rows[0].unit}")
        for method in methods:
            count = sum(row.method == method for row in runs)
            table.add_column(f"{method} ({count} runs)" if count > 1 else method, justify="right")
        for cells, ends in _lines(rows, (tap, level), methods):
            table.add_row(*cells, end_section=ends)
        console.print(table)
    for row in runs:
        if row.change:
            line = f"{row.run}: {row.value:g} unchanged, {row.value - row.change:g} in the run"
            console.print(f"{line} (other machine, threads, versions or data)", soft_wrap=True)
    for line in (
        f"replaced by what the teacher's maps predict, by what those of another image predict "
        f"(other_image), or removed: change of {metric}",
        "energy: the band's share of the student's maps; explained: the part of it that is "
        "predicted (training images)",
    ):
        console.print(line, soft_wrap=True)


def _lines(
    rows: Sequence[Row], place: tuple[str, int | None], methods: Sequence[str]
) -> Iterator[tuple[list[str], bool]]:
    """Cells of the table's rows, and whether a section ends there."""
    digits = 3 if max(abs(row.value) for row in rows) <= 1 else 2  # AP, or a percentage
    unchanged = [row for row in rows if row.kind == UNCHANGED]
    first = [[row.value for row in unchanged if row.method == method] for method in methods]
    yield [UNCHANGED, *(_cell(values, f".{digits}f") for values in first)], True
    own = [row for row in rows if (row.tap, row.level) == place]
    bands = list(dict.fromkeys((row.low, row.high) for row in own))
    for kind, value, form in (
        (REPLACED, "change", f"+.{digits}f"),
        (OTHER_IMAGE, "change", f"+.{digits}f"),
        (REMOVED, "change", f"+.{digits}f"),
        (REPLACED, "energy", ".2f"),
        (REPLACED, "explained", ".2f"),
    ):
        for low, high in bands:
            at = [row for row in own if row.kind == kind and (row.low, row.high) == (low, high)]
            values = [[getattr(r, value) for r in at if r.method == method] for method in methods]
            name = f"{kind if value == 'change' else value} {band_name(low or 0, high or 1)}"
            yield [name, *(_cell(v, form) for v in values)], (low, high) == bands[-1]


def _cell(values: Sequence[float], form: str) -> str:
    """The mean, and of several the standard deviation; a dash where there is none."""
    if not values or not all(map(math.isfinite, values)):
        return "–"
    spread = f" ± {statistics.stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}"
