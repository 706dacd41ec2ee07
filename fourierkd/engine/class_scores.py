"""Scores of classes: in flow the metrics of an evaluator, out flows what they know of each class.

A metric that averages over classes has the scores of each in its hands and drops them. Here it is
watched while it computes, so nothing is evaluated twice and its own result stays as it is, bit by
bit. Watched are MMSegmentation's IoUMetric and MMDetection's CocoMetric and VOCMetric, and
subclasses that compute as they do; any other metric is left alone.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from fourierkd.errors import one_line

AREAS = ("s", "m", "l")  # of COCO's evaluation, after that of all sizes
VOC_RECALLS = np.linspace(0, 1, 101)  # as many as COCO has


@dataclass(frozen=True)
class ClassScores:
    """What one evaluation says of each of K classes.

    Attributes:
        classes: their names, each once.
        scores: ``IoU`` (percent), ``bbox_AP_50`` (a fraction), ... -> one value a class; NaN where
            the data hold none of it.
        arrays: ``confusion`` (K, K), int64, pixels of the truth's class (row) that are predicted as
            another (column); or ``<kind>_precision`` (K, T, R), float32, at the overlaps
            ``thresholds`` (T) and the recalls ``recall`` (R), NaN as above.
    """

    classes: list[str]
    scores: dict[str, list[float]]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Watch:
    """One metric, with what its last evaluation knew of the classes in ``found`` (None: nothing).

    Only the process that computes the metric has it: rank 0.
    """

    names: ClassVar[tuple[str, ...]] = ("compute_metrics",)  # methods that it relies on

    def __init__(self, metric: Any, module: Any) -> None:
        self.metric, self.module = metric, module
        self.found: ClassScores | None = None
        self._compute = metric.compute_metrics
        metric.compute_metrics = self.compute

    def compute(self, results: list[Any]) -> dict[str, Any]:
        """In place of the metric's ``compute_metrics``: the same, and ``found`` beside it."""
        self.found = None
        given, known = self.watched(results)
        if getattr(self.metric, "format_only", False):
            return given
        try:
            self.found = self.read(known)
        except Exception as error:  # of another version of the package: no reason to end a run
            MMLogger.get_current_instance().warning(
                f"no scores of classes: {type(error).__name__}: {one_line(error)}"
            )
        return given

    def watched(self, results: list[Any]) -> tuple[dict[str, Any], Any]:
        """The metric's own result, and what it computed it from."""
        raise NotImplementedError

    def read(self, known: Any) -> ClassScores | None:
        """The scores of classes; None where there are none."""
        raise NotImplementedError

    @property
    def classes(self) -> list[str]:
        """As the data set names them; one that comes twice with its number."""
        names = [str(name) for name in self.metric.dataset_meta["classes"]]
        count = Counter(names)
        return [f"{n} #{i}" if count[n] > 1 else n for i, n in enumerate(names)]


class IoUWatch(Watch):
    """MMSegmentation's IoUMetric: its areas by class; the confusion matrix is counted beside them.

    Cost: half of the time that the metric takes for its areas, and 16 bytes for each pair of
    classes that an image confuses.
    """

    names = ("process", "compute_metrics", "intersect_and_union", "total_area_to_metrics")

    def __init__(self, metric: Any, module: Any) -> None:
        super().__init__(metric, module)
        self._areas = metric.intersect_and_union
        metric.intersect_and_union = self.areas

    def areas(
        self, pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, ...]:
        """In place of the metric's ``intersect_and_union``: a fifth result goes with the four."""
        areas = self._areas(pred_label, label, num_classes, ignore_index)
        return (*areas, confused(pred_label, label, num_classes, ignore_index))

    def watched(self, results: list[Any]) -> tuple[dict[str, Any], Any]:
        """Areas and pairs of each image apart."""
        areas = [part[:-1] for part in results]
        return self._compute(areas), (areas, [part[-1] for part in results])

    def read(self, known: Any) -> ClassScores | None:
        """Summed up as the metric does it."""
        areas, pairs = known
        metric, names = self.metric, self.classes
        values = metric.total_area_to_metrics(
            *(sum(column) for column in zip(*areas, strict=True)),
            metric.metrics,
            metric.nan_to_num,
            metric.beta,
        )
        scores = {k: [100 * float(v) for v in own] for k, own in values.items() if k != "aAcc"}
        matrix = torch.zeros(len(names) ** 2, dtype=torch.int64)
        for which, counts in pairs:
            matrix[which] += counts
        matrix = matrix.reshape(len(names), len(names))
        return ClassScores(names, scores, {"confusion": matrix.numpy()})


class CocoWatch(Watch):
    """MMDetection's CocoMetric: the precisions of its COCO evaluation by class.

    A class's value is the mean that COCO's summary takes over all of them, so that their mean is
    ``mAP``, except that it is not rounded.
    """

    def watched(self, results: list[Any]) -> tuple[dict[str, Any], Any]:
        """The COCO evaluations that were made."""
        with kept(self.module, ("COCOeval", "COCOevalMP")) as made:
            given = self._compute(results)
        return given, (made, not given)

    def read(self, known: Any) -> ClassScores | None:
        """Of each kind (``bbox``, ``segm``) that looks at classes."""
        evaluations, nothing_detected = known
        kinds = [kind for kind in self.metric.metrics if kind in ("bbox", "segm")]
        api, names = self.metric._coco_api, self.classes
        of_name = {category["name"]: i for i, category in api.cats.items()}
        ids = [of_name.get(str(name)) for name in self.metric.dataset_meta["classes"]]
        found = ClassScores(names, {})
        for evaluation in evaluations:
            kind = evaluation.params.iouType
            if kind in kinds and evaluation.params.useCats:
                precision = _by_class(evaluation, ids)
                found.scores.update(_average_precisions(precision, evaluation.params, kind))
                curves = precision[..., 0, -1].astype(np.float32)
                found.arrays[f"{kind}_precision"] = curves
                found.arrays["thresholds"] = np.asarray(evaluation.params.iouThrs)
                found.arrays["recall"] = np.asarray(evaluation.params.recThrs)
        if nothing_detected:  # in any image; the metric then scores 0
            some = {api.anns[i]["category_id"] for i in api.getAnnIds(iscrowd=False)}
            none = [0.0 if i in some else np.nan for i in ids]
            found.scores.update({f"{kind}_AP": none for kind in kinds})
        return found if found.scores else None


class VOCWatch(Watch):
    """MMDetection's VOCMetric: average precision and precision-recall curve of each class."""

    def watched(self, results: list[Any]) -> tuple[dict[str, Any], Any]:
        """What ``eval_map`` gave, by threshold."""
        with kept(self.module, ("eval_map",)) as made:
            return self._compute(results), made

    def read(self, known: Any) -> ClassScores | None:
        """``AP``, its mean over thresholds, first; none where recalls alone are asked for."""
        if not known:
            return None
        by_threshold = [classes for _, classes in known]
        values = np.array([[_average_precision(own) for own in part] for part in by_threshold])
        precision = np.array([[_sampled(own) for own in part] for part in by_threshold])
        thresholds = self.metric.iou_thrs
        scores = {"AP": values.mean(0).tolist()}
        for threshold, own in zip(thresholds, values, strict=True):
            scores[f"AP{int(threshold * 100):02d}"] = own.tolist()
        arrays = {
            "bbox_precision": precision.swapaxes(0, 1).astype(np.float32),
            "thresholds": np.asarray(thresholds),
            "recall": VOC_RECALLS,
        }
        return ClassScores(self.classes, scores, arrays)


WATCHES: dict[str, type[Watch]] = {
    "mmseg.evaluation.metrics.iou_metric.IoUMetric": IoUWatch,
    "mmdet.evaluation.metrics.coco_metric.CocoMetric": CocoWatch,
    "mmdet.evaluation.metrics.voc_metric.VOCMetric": VOCWatch,
}


def watch(metrics: Iterable[BaseMetric]) -> list[Watch]:
    """Watch those of an evaluator's metrics that know classes; each metric is watched once."""
    found = (_watch(metric) for metric in metrics)
    return [one for one in found if one is not None]


def _watch(metric: BaseMetric) -> Watch | None:
    kind = type(metric)
    for base in kind.__mro__:
        watched = WATCHES.get(f"{base.__module__}.{base.__qualname__}")
        if watched is not None:
            alike = all(getattr(kind, name) is getattr(base, name) for name in watched.names)
            return watched(metric, sys.modules[base.__module__]) if alike else None
    return None


def merged(watches: Sequence[Watch]) -> ClassScores | None:
    """What the metrics of one evaluator found, the first one's where two have the same name."""
    found = [watch.found for watch in watches if watch.found is not None]
    if not found:
        return None
    scores, arrays = {}, {}
    for one in reversed(found):
        scores.update(one.scores)
        arrays.update(one.arrays)
    return ClassScores(found[0].classes, scores, arrays)


def confused(pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """How often which class is taken for which in one image.

    Args:
        pred_label: (H, W), predicted classes.
        label: (H, W), true ones; what is no class, or ``ignore_index``, does not count.

    Returns:
        (2, P), int64, on the CPU: ``true * num_classes + predicted`` of each pair that occurs, and
        its pixels.
    """
    counted = (label != ignore_index) & (label >= 0) & (label < num_classes)
    counted &= pred_label < num_classes
    pairs = label[counted].long() * num_classes + pred_label[counted].long()
    counts = torch.bincount(pairs, minlength=1)
    (which,) = counts.nonzero(as_tuple=True)
    return torch.stack([which, counts[which]]).cpu()


@contextmanager
def kept(module: Any, names: Sequence[str]) -> Iterator[list[Any]]:
    """Within: what is made by calling these names of a module is kept, in order."""
    made: list[Any] = []
    own = {name: getattr(module, name) for name in names if hasattr(module, name)}

    def keep(make: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(make(*args, **kwargs))
            return made[-1]

        return call

    for name, make in own.items():
        setattr(module, name, keep(make))
    try:
        yield made
    finally:
        for name, make in own.items():
            setattr(module, name, make)


def _by_class(evaluation: Any, ids: Sequence[int | None]) -> np.ndarray:
    """(K, T, R, sizes, most detections), in the order of ``ids``, NaN where there is no object."""
    given = evaluation.eval["precision"]  # (T, R, categories by id, sizes, most detections)
    place = {category: i for i, category in enumerate(evaluation.params.catIds)}
    precision = np.full((len(ids), *given.shape[:2], *given.shape[3:]), np.nan)
    for i, category in enumerate(ids):
        if category in place:
            own = given[:, :, place[category]]
            precision[i] = np.where(own > -1, own, np.nan)
    return precision


def _average_precisions(precision: np.ndarray, params: Any, kind: str) -> dict[str, list[float]]:
    """COCO's six, by class: overall at 100 detections an image, the others at the most, as there.

    Args:
        precision: (K, T, R, sizes, most detections).
    """
    most = list(params.maxDets)
    parts = {"AP": precision[..., 0, most.index(100) if 100 in most else -1]}
    for overlap in (0.5, 0.75):
        at = np.isclose(params.iouThrs, overlap)
        if at.any():
            parts[f"AP_{100 * overlap:.0f}"] = precision[..., 0, -1][:, at]
    for index, size in enumerate(AREAS, 1):
        parts[f"AP_{size}"] = precision[..., index, -1]
    return {f"{kind}_{name}": [_mean(own) for own in part] for name, part in parts.items()}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _average_precision(own: dict[str, Any]) -> float:
    return float(own["ap"]) if own["num_gts"] else float("nan")


def _sampled(own: dict[str, Any]) -> np.ndarray:
    """Precision at ``VOC_RECALLS``, (R,): the best at that recall or a higher one."""
    if not own["num_gts"]:
        return np.full(len(VOC_RECALLS), np.nan)
    best = np.maximum.accumulate(own["precision"][::-1])[::-1]
    at = np.searchsorted(own["recall"], VOC_RECALLS, side="left")
    return np.append(best, 0.0)[at]
