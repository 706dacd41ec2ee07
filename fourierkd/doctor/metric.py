"""The teacher's metric: in flow its model and the validation data, out flows a check.

The teacher sees the images as the student's preprocessor makes them, which is what it sees in
distillation; so a wrong normalisation costs it its metric here as there.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData

from fourierkd.config.load import RunConfig
from fourierkd.distill.config_files import to_plain
from fourierkd.distill.model_config import build_model
from fourierkd.distill.taps import isolated_random_state
from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, number, worst
from fourierkd.doctor.subject import Subject
from fourierkd.engine.hooks.checkpoint import short_names
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.errors import ConfigError, FourierKDError, first_line, near
from fourierkd.literals import read_literals
from fourierkd.records import MAXIMIZE, MINIMIZE, VAL, Metric, checked_direction
from fourierkd.run_dir import RunDir

CLAIM_KEYS = ("tolerance", "images")
TOLERANCE = 0.01  # of the claimed value, where the images are the claim's
PART_TOLERANCE = 0.25  # of the claimed value, where they are only a part: a rule of thumb
RANDOM_TEACHERS = 2
NO_SCORE = {MAXIMIZE: 0.0, MINIMIZE: math.inf}  # of a control that cannot be scored
CLEARLY_BETTER = 1.5  # times the best control
PERCENT = 100.0  # what MMSegmentation's metrics can reach


class Claim(NamedTuple):
    """What the teacher is said to score: ``images`` None for the whole validation split."""

    metric: str
    value: float
    tolerance: float
    images: int | None
    source: str


class Score(NamedTuple):
    """Metrics over the first ``images`` of ``total`` validation images.

    ``pixels``: how many of their labels are of each of the ``classes``; empty where the task has no
    label maps.
    """

    metrics: dict[str, float]
    images: int
    total: int
    classes: Sequence[str] = ()
    pixels: Mapping[int, int] = MappingProxyType({})


class Constant(NamedTuple):
    """What a segmentation scores that says everywhere what is commonest."""

    name: str
    value: float


def read_claim(config: Mapping[str, Any]) -> Claim | None:
    """The config's ``teacher_metric``, such as ``dict(mIoU=78.3)``; None where it has none.

    Beside the metric's name it takes ``tolerance`` (in the metric's unit; default 1 % of the value)
    and ``images`` (the claim is of the first so many validation images; default all).

    Raises:
        ConfigError: not exactly one metric, or a value that is no number.
    """
    given = to_plain(config.get("teacher_metric"))
    if given is None:
        return None
    names = [key for key in given if key not in CLAIM_KEYS] if isinstance(given, dict) else []
    if len(names) != 1:
        raise ConfigError(
            "teacher_metric names one metric",
            value=given,
            fix="e.g. dict(mIoU=78.3, tolerance=0.5)",
        )
    value, tolerance, images = given[names[0]], given.get("tolerance"), given.get("images")
    for key, item in ((names[0], value), *((k, given[k]) for k in CLAIM_KEYS if k in given)):
        if item is None and key in CLAIM_KEYS:
            continue
        if isinstance(item, bool) or not isinstance(item, (int, float)) or item < 0:
            raise ConfigError(f"teacher_metric.{key} is a number from 0 on", value=item)
    if tolerance is None:
        tolerance = TOLERANCE * abs(value)
    return Claim(names[0], float(value), float(tolerance), images, "the config")


def run_claim(config: RunConfig, checkpoint: str) -> Claim | None:
    """What the run folder around ``checkpoint`` says of it, where it validated on the same data."""
    run_dir, metric = RunDir(Path(checkpoint).absolute().parent.parent), config.get("metric")
    if not run_dir.request.is_file() or not run_dir.config.is_file():
        return None
    try:
        result, theirs = run_dir.read_result(), read_literals(run_dir.config)
    except FourierKDError:
        return None  # a folder of something else
    if result is None:
        return None
    best, value = result.checkpoints.best, result.metrics.get(f"{VAL}/{metric}")
    same = all(
        to_plain(theirs.get(key)) == to_plain(config.get(key))
        for key in ("val_dataloader", "val_evaluator")
    )
    if best is None or value is None or not same:
        return None
    if (run_dir.path / best).resolve() != Path(checkpoint).resolve():
        return None
    return Claim(str(metric), value, TOLERANCE * abs(value), None, "the teacher's run folder")


def check_metric(subject: Subject, *, images: int) -> Check:
    """The teacher scores what is claimed, and more than one that cannot see.

    The controls are the same network with random weights and, for segmentation, the commonest
    class everywhere, which a teacher that lost its input can score too. A detector has no such
    control: without boxes it scores 0, as random weights do.
    """
    name, config = "teacher metric", subject.config
    claim = read_claim(config)
    teacher = subject.model.teacher
    assert teacher is not None
    if config.get("val_dataloader") is None:
        return Check(name, FAIL if claim else SKIP, "the config has no val_dataloader", "add one")
    claim = claim or run_claim(config, str(config.model.teacher.checkpoint))
    metric = claim.metric if claim else str(config.metric)
    if claim is not None and claim.images is not None:
        images = int(claim.images)
    try:
        score = evaluate(subject, teacher.model, images=images)
    except Exception as error:  # a teacher of other classes fails inside the evaluator
        reason = f"{type(error).__name__}: {first_line(error)}"
        return Check(
            name,
            FAIL if claim else WARN,
            f"the teacher cannot be scored as the student is ({reason})",
            "where its classes differ on purpose, pass --accept 'teacher metric'",
        )
    if metric not in score.metrics:
        fix = near(metric, score.metrics)
        return Check(name, FAIL, f"the evaluator gives no {metric!r}", fix, {"score": score})
    measured = Metric(metric, checked_direction(config.get("direction") or MAXIMIZE))
    controls = random_scores(subject, measured, images=images)
    constant = constant_score(subject, score, metric) if measured.direction == MAXIMIZE else None
    return judge(score, measured, claim, controls, constant=constant)


def judge(
    score: Score,
    metric: Metric,
    claim: Claim | None,
    controls: list[float],
    *,
    constant: Constant | None = None,
) -> Check:
    """Judge a score against its claim, against random weights and against one class everywhere."""
    lower, name = metric.direction == MINIMIZE, metric.name
    best = min if lower else max
    value, control = score.metrics[name], best(controls, default=NO_SCORE[metric.direction])
    better = metric.better(value, than=control)
    clear = value * CLEARLY_BETTER <= control if lower else value >= CLEARLY_BETTER * control
    statuses, lines, advice = [OK], [], []
    part = score.images < score.total
    of = f"{score.images} of {score.total} images" if part else f"all {score.images} images"
    lines.append(f"{name} {number(value)} on {of}, random weights {number(control)}")
    if not better:
        statuses.append(FAIL)
        advice.append("it is no better than random weights: check its checkpoint and classes")
    elif not clear:
        statuses.append(WARN)
        advice.append("it is hardly better than random weights")
    if constant is not None:
        lines[-1] += f", {constant.name!r} everywhere {number(constant.value)}"
        enough = min(CLEARLY_BETTER * constant.value, (constant.value + PERCENT) / 2)
        if not value > constant.value:
            statuses.append(FAIL)
            advice.append("it is no better than one class everywhere: check what it is fed")
        elif not value >= enough:
            statuses.append(WARN)
            advice.append("it is hardly better than one class everywhere: check its classes")
    if claim is None:
        lines.append("nothing is claimed")
        if not advice:
            images = f", images={score.images}" if part else ""
            advice.append(f"claim it: teacher_metric=dict({name}={number(value)}{images})")
    else:
        same_images = (claim.images is None and not part) or claim.images == score.images
        allowed = claim.tolerance
        if not same_images:
            allowed = max(allowed, PART_TOLERANCE * abs(claim.value))
        lines.append(f"claimed {number(claim.value)} by {claim.source}, allowed ±{number(allowed)}")
        if not abs(value - claim.value) <= allowed:
            statuses.append(FAIL)
            advice.append("wrong weights, classes, preprocessing or validation data")
    facts = {
        "metric": name,
        "value": value,
        "metrics": score.metrics,
        "images": score.images,
        "total": score.total,
        "random": controls,
        "constant": constant._asdict() if constant else None,
        "claim": claim._asdict() if claim else None,
    }
    return Check("teacher metric", worst(statuses), "\n".join(lines), "; ".join(advice), facts)


def random_scores(subject: Subject, metric: Metric, *, images: int) -> list[float]:
    """Scores of the teacher's network with random weights, of several seeds."""
    none = NO_SCORE[metric.direction]
    scores = []
    for draw in range(RANDOM_TEACHERS):
        with isolated_random_state():
            torch.manual_seed(subject.seed + draw)
            control = build_model(subject.config.model.teacher.model, role="teacher")
        control.to(subject.device).eval()
        try:
            found = evaluate(subject, control, images=images).metrics.get(metric.name, none)
        except Exception:  # boxes of random weights may break an evaluator: no score
            found = none
        scores.append(none if math.isnan(found) else found)
    return scores


def constant_score(subject: Subject, score: Score, metric: str) -> Constant | None:
    """Score of the commonest class everywhere on ``score``'s images; None without label maps."""
    if not score.pixels:
        return None
    index = max(score.pixels, key=lambda i: score.pixels[i])

    def answer(*, data_samples: Sequence[Any], **_: Any) -> Sequence[Any]:
        for sample in data_samples:
            labels = sample.gt_sem_seg.data
            sample.set_data({"pred_sem_seg": PixelData(data=torch.full_like(labels, index))})
        return data_samples

    try:
        found = evaluate(subject, answer, images=score.images).metrics[metric]
    except Exception:  # an evaluator that wants more of an answer than its classes
        return None
    return Constant(score.classes[index], found)


@torch.no_grad()
def evaluate(subject: Subject, model: Callable[..., Any], *, images: int) -> Score:
    """Score ``model`` on the first ``images`` of the validation split, rounded up to batches."""
    config = subject.config
    loader = build_loader(in_process(config.val_dataloader), seed=subject.seed)
    dataset: Any = loader.dataset
    total = len(dataset)
    evaluator = Evaluator(copy.deepcopy(to_plain(config.val_evaluator)))
    evaluator.dataset_meta = getattr(dataset, "metainfo", None)
    preprocessor: Any = subject.model.data_preprocessor
    seen, ids, pixels = 0, [], Counter[int]()
    classes = tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())
    for batch in loader:
        answers = model(**preprocessor(batch, False), mode="predict")
        evaluator.process(data_samples=answers, data_batch=batch)
        for answer in answers:
            if hasattr(answer, "gt_sem_seg"):
                labels, counts = answer.gt_sem_seg.data.unique(return_counts=True)
                pixels.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        seen += len(answers)
        ids += [getattr(answer, "img_id", None) for answer in answers]
        if seen >= images:
            break
    for metric in evaluator.metrics:
        if hasattr(metric, "img_ids") and None not in ids:  # CocoMetric scores the whole file else
            metric.img_ids = ids
    found = short_names(evaluator.evaluate(seen), config.get("metric"))
    pixels = Counter({i: n for i, n in pixels.items() if i < len(classes)})  # others are ignored
    return Score(found, seen, total, classes, pixels)
