"""Training labels that are not what the teacher learned."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from fourierkd.doctor.labels import (
    OTHER_IMAGES,
    check_teacher_loss,
    has_labels,
    judge,
    shifted,
    with_labels,
)


def swapped(built):
    built.data_samples = [1 - labels for labels in built.data_samples]


def of_other_images(built):
    built.data_samples = built.data_samples[1:] + built.data_samples[:1]


def test_the_labels_that_the_teacher_learned(subject):
    with subject() as built:
        check = check_teacher_loss(built)
    assert (check.status, check.advice) == ("ok", "")
    assert set(check.facts) == {"own", OTHER_IMAGES, "with each class +1", "with each class -1"}


def test_classes_in_another_order(subject):
    with subject() as built:
        swapped(built)
        check = check_teacher_loss(built)
    assert check.status == "fail"
    assert check.facts["with each class +1"] < check.facts["own"]
    assert "reduce_zero_label" in check.advice


def test_masks_of_other_images(subject):
    with subject() as built:
        of_other_images(built)
        check = check_teacher_loss(built)
    assert check.status == "fail"
    assert check.facts[OTHER_IMAGES] < check.facts["own"]


def test_masks_of_images_that_are_not_in_the_batch(subject):
    with subject() as built:
        dataset = built.dataset
        theirs = [dataset[i]["data_samples"] for i in range(len(dataset))]
        ours = built.data_samples
        others = [t for t in theirs if not any(torch.equal(t, label) for label in ours)]
        built.data_samples = others[: len(ours)]
        check = check_teacher_loss(built)
    # nothing in the batch fits better then: these differ by chance
    assert check.status in ("warn", "fail")


@pytest.mark.parametrize(
    ("own", "status"), [(0.1, "ok"), (0.9, "warn"), (1.6, "fail"), (float("nan"), "fail")]
)
def test_the_own_labels_must_fit_best_and_clearly(own, status):
    assert judge(own, {OTHER_IMAGES: 1.2, "with each class +1": 1.5}).status == status


def test_a_class_off_leaves_a_detectors_boxes_as_they_are():
    assert judge(1.0, {OTHER_IMAGES: 2.0, "with each class +1": 1.1}).status == "ok"
    assert judge(1.0, {}).status == "skip"


def test_a_teacher_without_knowledge_or_of_other_classes(subject):
    with subject(checkpoint="random") as built:
        assert check_teacher_loss(built).status == "skip"
    with subject() as built:
        built.data_samples = [labels + 5 for labels in built.data_samples]
        check = check_teacher_loss(built)
        assert check.status == "warn"
        assert "cannot be taken on these labels (IndexError" in check.value


def test_labels_of_segmentation_data():
    sample_class = pytest.importorskip("mmseg.structures").SegDataSample
    ours, theirs = (sample_class(metainfo={"path": path}) for path in "ab")
    ours.gt_sem_seg = PixelData(data=torch.tensor([[[0, 1, 2, 255]]]))
    theirs.gt_sem_seg = PixelData(data=torch.tensor([[[2, 2, 2, 2]]]))
    assert has_labels(ours)
    assert not has_labels(sample_class())
    assert shifted(deepcopy(ours), 1, 3).gt_sem_seg.data.tolist() == [[[1, 2, 0, 255]]]
    assert shifted(deepcopy(ours), -1, 3).gt_sem_seg.data.tolist() == [[[2, 0, 1, 255]]]
    mixed = with_labels(ours, theirs)
    assert mixed.metainfo["path"] == "a"
    assert mixed.gt_sem_seg.data.tolist() == [[[2, 2, 2, 2]]]


def test_labels_of_detection_data():
    sample_class = pytest.importorskip("mmdet.structures").DetDataSample
    ours, theirs = sample_class(), sample_class()
    ours.gt_instances = InstanceData(labels=torch.tensor([0, 2]), bboxes=torch.zeros(2, 4))
    ours.ignored_instances = InstanceData(labels=torch.tensor([1]))
    theirs.gt_instances = InstanceData(labels=torch.tensor([1]), bboxes=torch.ones(1, 4))
    assert has_labels(ours)
    assert shifted(deepcopy(ours), 1, 3).gt_instances.labels.tolist() == [1, 0]
    mixed = with_labels(ours, theirs)
    assert mixed.gt_instances.bboxes.tolist() == [[1.0] * 4]
    assert "ignored_instances" not in mixed
