"""Predictions: in flows a trained run, out flow pictures of what its student says of val images.

Drawn are a few images that are the same in every run on the same data, and the one that the student
scores worst and the one it scores best. The student is that of the best checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import mmcv
import numpy as np
import torch
from mmengine.runner.amp import autocast
from mmengine.structures import BaseDataElement

from fourierkd.engine.image_scores import Task, task_of
from fourierkd.engine.ranks import gather, leads
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import DataError, FourierKDError, one_line
from fourierkd.records import VAL
from fourierkd.run_dir import Row, RunDir, json_text, write_atomic
from fourierkd.tracking.figures import write_png
from fourierkd.tracking.prediction_pictures import (
    BEST,
    FIXED_IMAGES,
    STUDENT,
    TEACHER,
    TRUTH,
    WORST,
    Boxes,
    Page,
    colour_of,
    prediction_page,
)

FIXED = "fixed"  # the rule by which an image is chosen, if it is not WORST or BEST


class Choice(NamedTuple):
    """A picture's name, and which image it is of and why."""

    name: str
    rule: str
    image: str


def write_predictions(runner: KDRunner) -> None:
    """Draw the runner's student as it answers now, and write pictures, arrays and index.

    The index is written last and whole, so what it names is there. A model or data that pictures
    cannot be made of cost the pictures and a warning: the run's scores need none.

    Cost: a pass over the val images, one prediction of student and teacher for each of eight, and
    about 15 ms a picture; every rank takes part in the pass.
    """
    if runner.val_loop is None:
        return
    parts = gather(_scored(runner))
    if not leads():
        return
    reasons = [part for part in parts if isinstance(part, str)]
    drawn: list[tuple[Row, Page]] = []
    if not reasons:
        try:
            drawn = _draw(runner, {path: s for part in parts for path, s in part.items()})
        except Exception as error:
            reasons = [_reason(error)]
    if reasons:
        runner.logger.warning(f"no pictures of predictions: {reasons[0]}")
        return
    save_predictions(runner.run_dir, drawn)


def save_predictions(run_dir: RunDir, drawn: Sequence[tuple[Row, Page]]) -> None:
    """Write pictures and arrays, then the index: killed before its last line, a run has none."""
    for row, page in drawn:
        write_png(run_dir.prediction_picture(row["name"]), page.pixels)
    write_atomic(run_dir.prediction_arrays, _packed(drawn))
    write_atomic(run_dir.predictions, "".join(json_text(row) + "\n" for row, _ in drawn))


def choose(scores: Mapping[str, float]) -> list[Choice]:
    """Which images are drawn: the fixed ones, named ``1``, ``2``, ..., then ``worst`` and ``best``.

    Fixed are those whose names have the smallest SHA-256, in order of their names: it depends on
    nothing but the names.

    Args:
        scores: image -> its score; NaN is neither worst nor best.
    """
    fixed = sorted(scores, key=lambda image: hashlib.sha256(image.encode()).hexdigest())
    fixed = sorted(fixed[:FIXED_IMAGES])
    chosen = [Choice(str(i), FIXED, image) for i, image in enumerate(fixed, 1)]
    known = sorted(image for image, score in scores.items() if math.isfinite(score))
    if known:
        chosen.append(Choice(WORST, WORST, min(known, key=lambda image: scores[image])))
        chosen.append(Choice(BEST, BEST, max(known, key=lambda image: scores[image])))
    return chosen


@torch.no_grad()
def _scored(runner: KDRunner) -> dict[str, float] | str:
    """Path of each val image of this rank -> its score; or why there is none."""
    loop, scores = runner.val_loop, {}
    task: Task | None = None
    try:
        dataset = loop.dataloader.dataset
        places = _places(dataset)
        runner.bare_model.eval()
        for batch in loop.dataloader:
            runner.beat()
            for sample in _predicted(runner.bare_model, batch, fp16=loop.fp16):
                path = _path(sample)
                task = task or _task(runner, sample)
                truth = task.truth(sample, dataset.get_data_info(places[path]))
                scores[path] = task.score(truth, task.answer(sample))
    except Exception as error:
        return _reason(error)
    return scores


@torch.no_grad()
def _draw(runner: KDRunner, scores: Mapping[str, float]) -> list[tuple[Row, Page]]:
    loader = runner.val_loop.dataloader
    dataset, names = loader.dataset, [str(n) for n in loader.dataset.metainfo["classes"]]
    places, paths = _places(dataset), _names(scores)
    student: Any = runner.bare_model
    teacher = getattr(student, "teacher", None)
    models = {} if teacher is None else {TEACHER: teacher.model}
    iteration = runner.iterations if runner.best is None else runner.best["iter"]
    drawn = []
    for choice in choose({image: scores[path] for image, path in paths.items()}):
        path = paths[choice.image]
        index = places[path]
        batch = loader.collate_fn([dataset[index]])
        data = student.data_preprocessor(batch, False)
        samples = {
            name: _predicted(model, data, fp16=runner.val_loop.fp16, prepared=True)[0]
            for name, model in {**models, STUDENT: student}.items()
        }
        task = _task(runner, samples[STUDENT])
        truth = task.truth(samples[STUDENT], dataset.get_data_info(index))
        answers = {name: task.answer(sample) for name, sample in samples.items()}
        values = {name: task.score(truth, answer) for name, answer in answers.items()}
        page = prediction_page(
            mmcv.imread(path, channel_order="rgb"),
            {name: task.drawn(answer) for name, answer in {TRUTH: truth, **answers}.items()},
            names,
            f"{choice.image} ({VAL}), {_why(choice.rule)}; iteration {iteration}",
            {name: f"{task.measure} {value:.{task.digits}f}" for name, value in values.items()},
        )
        row = prediction_row(runner.run_dir, choice, task, values, page, names)
        drawn.append(({"iter": iteration, **row}, page))
        runner.beat()
    return drawn


def prediction_row(
    run_dir: RunDir,
    choice: Choice,
    task: Task,
    scores: Mapping[str, float],
    page: Page,
    names: Sequence[str],
) -> Row:
    """What the index says of a picture, beside ``iter``.

    Args:
        scores: of the student, and of the teacher where there is one.
        names: of the data set's classes.
    """
    return {
        "split": VAL,
        "image": choice.image,
        "name": choice.name,
        "rule": choice.rule,
        "score": scores[STUDENT],
        "teacher_score": scores.get(TEACHER),
        "measure": task.measure,
        "digits": task.digits,
        "explained": task.explained,
        "picture": run_dir.prediction_picture(choice.name).relative_to(run_dir.path).as_posix(),
        "arrays": run_dir.prediction_arrays.relative_to(run_dir.path).as_posix(),
        "panels": page.panels,
        "legend": [[k, n, _hexadecimal(colour_of(k, names))] for k, n in page.legend.items()],
    }


def _why(rule: str) -> str:
    return "the same image in every run" if rule == FIXED else f"the {rule} of this run"


def _task(runner: KDRunner, sample: Mapping[str, Any]) -> Task:
    loop = runner.val_loop
    return task_of(sample, len(loop.dataloader.dataset.metainfo["classes"]), loop.evaluator.metrics)


def _predicted(
    model: Any, batch: Any, *, fp16: bool, prepared: bool = False
) -> Sequence[dict[str, Any]]:
    """What a model says of a batch of a loader (or of a prepared one), as metrics get it."""
    with autocast(enabled=fp16):
        found = model._run_forward(batch, mode="predict") if prepared else model.val_step(batch)
    return [s.to_dict() if isinstance(s, BaseDataElement) else s for s in found]


def _path(sample: Mapping[str, Any]) -> str:
    path = sample.get("img_path")
    if path is None:
        raise DataError(
            "a picture needs its image's file, and the samples of val do not name it (img_path)"
        )
    return str(path)


def _places(dataset: Any) -> dict[str, int]:
    """Path of an image -> its place in the data set."""
    return {str(dataset.get_data_info(i).get("img_path")): i for i in range(len(dataset))}


def _names(paths: Mapping[str, Any]) -> dict[str, str]:
    """What an image is called (its path below the folder that holds them all) -> its path."""
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    return {PurePath(os.path.relpath(path, above)).as_posix(): path for path in paths}


def _hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _packed(drawn: Sequence[tuple[Row, Page]]) -> bytes:
    """``<name>_<who>`` of label maps, ``<name>_<who>_<part>`` of boxes; loads without pickles."""
    arrays: dict[str, np.ndarray] = {}
    for row, page in drawn:
        for who, answer in page.answers.items():
            key = f"{row['name']}_{who}"
            if not isinstance(answer, Boxes):
                arrays[key] = answer
                continue
            arrays |= {f"{key}_bboxes": answer.bboxes, f"{key}_labels": answer.labels}
            if answer.scores is not None:
                arrays[f"{key}_scores"] = answer.scores
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type] # no array is named allow_pickle
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    told = isinstance(error, FourierKDError)
    return one_line(error) if told else f"{type(error).__name__}: {one_line(error)}"
