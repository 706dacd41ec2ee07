"""Does the teacher know the training labels: in flows a subject, out flows a check.

The teacher's own task loss on the training batch is held against its loss on the same images with
other labels. Data whose labels are shifted, or belong to other images, fit it no better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement
from torch import Tensor

from fourierkd.distill.teacher import RANDOM
from fourierkd.doctor.metric import CLEARLY_BETTER
from fourierkd.doctor.report import FAIL, OK, SKIP, WARN, Check, number
from fourierkd.doctor.subject import Subject

NAME = "teacher loss"
OTHER_IMAGES = "with those of other images"


def check_teacher_loss(subject: Subject) -> Check:
    """The training labels fit the teacher better than those of other images, or shifted ones."""
    teacher = subject.model.teacher
    assert teacher is not None
    if subject.config.model.teacher.checkpoint == RANDOM:
        return Check(NAME, SKIP, "random: this teacher knows no labels")
    samples = subject.samples()
    if not isinstance(samples, list) or not any(map(has_labels, samples)):
        return Check(NAME, SKIP, "the data samples hold no labels that are known here")
    others: dict[str, float] = {}
    try:
        own = task_loss(subject, samples)
        for words, other in other_labels(subject):
            others[words] = min(task_loss(subject, other), others.get(words, math.inf))
    except Exception as error:  # a teacher of other classes fails inside its head
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        advice = "where its classes differ on purpose, nothing is wrong"
        return Check(NAME, WARN, f"it cannot be taken on these labels ({reason})", advice)
    return judge(own, others)


def judge(own: float, others: Mapping[str, float]) -> Check:
    """Judge the loss on the labels as they are against the losses on others, by words.

    It must be the lowest, and clearly below that with the labels of other images: without a tie of
    image and label these two differ by chance.
    """
    value = f"{number(own)} on the training labels; " + ", ".join(
        f"{number(loss)} {words}" for words, loss in others.items()
    )
    facts = {"own": own, **others}
    best = min(others, key=lambda words: others[words], default=None)
    if not math.isfinite(own):
        return Check(NAME, FAIL, value, "the teacher's task loss is not finite", facts)
    if best is None:
        return Check(NAME, SKIP, "there are no other labels to compare with", "", facts)
    if not own < others[best]:
        advice = (
            "the training labels are not what the teacher learned: compare train_dataloader's "
            "label files, classes and reduce_zero_label with those of its training"
        )
        return Check(NAME, FAIL, value, advice, facts)
    # A shift that is there is told by a loss below the own; a class less leaves boxes as they are.
    if not CLEARLY_BETTER * own <= others.get(OTHER_IMAGES, math.inf):
        advice = "the training labels hardly fit the teacher: look at them, and at its score"
        return Check(NAME, WARN, value, advice, facts)
    return Check(NAME, OK, value, "", facts)


@torch.no_grad()
def task_loss(subject: Subject, samples: Any) -> float:
    """Of the teacher in eval mode, on the training batch's images with these labels."""
    teacher: Any = subject.model.teacher
    set_random_seed(subject.seed)  # a head may draw which boxes count
    losses = teacher.model(subject.inputs, samples, mode="loss")
    return float(teacher.model.parse_losses(losses)[0])


def other_labels(subject: Subject) -> Iterator[tuple[str, list[Any]]]:
    """The batch's samples with other labels, and in words with which."""
    images = len(subject.inputs)
    for further in range(1, images):
        given = subject.samples()
        samples = [
            with_labels(sample, given[(i + further) % images])
            for i, sample in enumerate(subject.samples())
        ]
        yield OTHER_IMAGES, samples
    metainfo = getattr(subject.dataset, "metainfo", None) or {}
    classes = len(metainfo.get("classes") or ())
    for step in (1, -1):
        if classes > 1:
            yield (
                f"with each class {step:+d}",
                [shifted(sample, step, classes) for sample in subject.samples()],
            )


def label_fields(sample: Any) -> list[str]:
    """Fields of a data sample that hold what is to be learned."""
    if not isinstance(sample, BaseDataElement):
        return []
    names = sample.keys()
    return [name for name in names if name.startswith("gt_") or name == "ignored_instances"]


def has_labels(sample: Any) -> bool:
    """Whether a sample is a map of labels, or holds labels."""
    if isinstance(sample, Tensor):
        return not sample.is_floating_point()
    return bool(label_fields(sample))


def with_labels(sample: Any, other: Any) -> Any:
    """The sample with the labels of another one."""
    if isinstance(sample, Tensor):
        return other
    for key in label_fields(sample):
        delattr(sample, key)
    sample.set_data({key: getattr(other, key) for key in label_fields(other)})
    return sample


def shifted(sample: Any, step: int, classes: int) -> Any:
    """The sample with each class's number raised by ``step``, round the end; others stay."""

    def shift(labels: Tensor) -> Tensor:
        counted = (labels >= 0) & (labels < classes)
        return torch.where(counted, (labels.long() + step) % classes, labels.long())

    if isinstance(sample, Tensor):
        return shift(sample)
    if "gt_sem_seg" in sample:
        sample.gt_sem_seg.data = shift(sample.gt_sem_seg.data)
    if "gt_instances" in sample:
        sample.gt_instances.labels = shift(sample.gt_instances.labels)
    return sample
