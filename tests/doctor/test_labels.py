"""The teacher's loss on the training labels, against other labels of the same images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from fourierkd.doctor.labels import (
    BATCHES,
    Costs,
    answering,
    check_teacher_loss,
    class_count,
    judge,
    relabelled,
    remembered,
    with_labels_of,
)
from fourierkd.doctor.subject import build_subject
from tests.doctor.test_pairs import PSP, RETINA, few  # noqa: F401 - a fixture

GOOD = Costs([0.1, 0.2], [3.0, 2.0], {"1 added": [4.0, 4.0]}, [1.0, 1.0])


def test_labels_that_fit():
    check = judge(GOOD)
    assert check.status == "ok"
    assert not check.advice
    assert "0.15; with the labels of other images 2.5, more in 2 of 2 batches" in check.value


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"others": [3.0, 0.2]}, "fail", "labels of other images fit as well"),
        ({"given": [0.9, 0.9], "others": [1.0, 1.0]}, "warn", "fit nearly as well"),
        ({"reordered": {"1 added": [0.05, 0.1]}}, "fail", "count their classes differently"),
        ({"reordered": {"1 added": [0.01, 0.3]}}, "ok", ""),  # lower in the mean only
        (
            {"reordered": {"1 added": [0.05, 0.1]}, "others": [0.04, 0.2]},
            "fail",
            "labels of other images fit as well",  # and better than another order
        ),
        ({"frequencies": [0.1, 0.1]}, "fail", "knows less of these labels than their frequencies"),
        ({"frequencies": None}, "ok", ""),
    ],
)
def test_each_rule(changes, status, words):
    check = judge(GOOD._replace(**changes))
    assert check.status == status
    assert words in check.advice


def test_of_several_orders_the_best_is_named():
    orders = {"1 added": [0.09, 0.1], "1 taken": [0.01, 0.02]}
    check = judge(GOOD._replace(reordered=orders, others=[0.095, 0.25]))
    assert "1 taken: 0.015" in check.value
    assert "1 added" not in check.value
    assert "look at a training image" not in check.advice


def shift(labels):
    return torch.where(labels < 9, (labels + 1) % 9, labels)


def test_label_maps_are_exchanged_and_changed():
    first, second = (BaseDataElement(metainfo={"img_path": name}) for name in "ab")
    first.gt_sem_seg = PixelData(data=torch.zeros(1, 2, 2, dtype=torch.long))
    second.gt_sem_seg = PixelData(data=torch.full((1, 2, 2), 255))
    mixed = with_labels_of(first, second)
    assert (mixed.img_path, int(mixed.gt_sem_seg.data.min())) == ("a", 255)
    assert int(relabelled(first, shift).gt_sem_seg.data.max()) == 1
    assert int(relabelled(second, shift).gt_sem_seg.data.max()) == 255
    assert int(first.gt_sem_seg.data.max()) == 0


def test_boxes_are_exchanged_whole():
    first, second = BaseDataElement(), BaseDataElement()
    first.gt_instances = InstanceData(bboxes=torch.ones(1, 4), labels=torch.tensor([8]))
    first.ignored_instances = InstanceData(bboxes=torch.ones(1, 4))
    second.gt_instances = InstanceData(bboxes=torch.ones(2, 4), labels=torch.tensor([1, 2]))
    mixed = with_labels_of(first, second)
    assert mixed.gt_instances.labels.tolist() == [1, 2]
    assert "ignored_instances" not in mixed
    assert relabelled(first, shift).gt_instances.labels.tolist() == [0]
    assert first.gt_instances.labels.tolist() == [8]


def test_a_backbone_runs_once_and_is_as_before():
    backbone, x = nn.Conv2d(3, 2, 1), torch.ones(1, 3, 4, 4)
    first = backbone(x)
    with remembered(backbone):
        assert torch.equal(backbone(x), first)
        backbone(x).zero_()
        assert torch.equal(backbone(2 * x), first)
    assert "forward" not in vars(backbone)
    assert not torch.equal(backbone(2 * x), first)


def test_class_frequencies_answer_for_a_pixel_classifier():
    head = nn.ModuleDict({"conv_seg": nn.Conv2d(2, 3, 1)})
    x = torch.rand(1, 2, 4, 4)
    with answering(head, torch.tensor([6, 2, 0])) as names:
        probabilities = head["conv_seg"](x).softmax(1)
    assert names == ["conv_seg"]
    assert probabilities[0, :, 1, 2].tolist() == pytest.approx([0.75, 0.25, 0.0], abs=1e-5)
    with answering(head, torch.tensor([6, 2])) as names:  # of other classes
        assert names == []


def test_classes_are_those_of_the_largest_head():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    assert class_count(model) is None
    model[0].num_classes, model[1].num_classes = 1, 8
    assert class_count(model) == 8


@pytest.mark.parametrize(
    ("fault", "words"), [("others", "labels of other images fit"), ("shifted", "count their")]
)
def test_a_toy_with_wrong_labels(subject, fault, words):
    with subject() as built:
        before = {k: v.clone() for k, v in built.model.teacher.model.state_dict().items()}
        check = check_teacher_loss(built)
        assert check.status == "ok", check
        assert len(check.facts["given"]) == BATCHES
        after = built.model.teacher.model.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
    dataset = {"type": "MislabelledDataset", "fault": fault}
    with subject({"train_dataloader.dataset": dataset}) as built:
        check = check_teacher_loss(built)
        assert check.status == "fail"
        assert words in check.advice


STEPS = 60


@pytest.fixture(scope="session")
def learned(few, tmp_path_factory):  # noqa: F811 - the fixture, by its name
    """Options of a pair whose teacher, as small as the student, has learned the training images."""
    folder = tmp_path_factory.mktemp("learned")

    def make(config) -> dict:
        path = folder / f"{config.stem}.pth"
        options = {**few(config), "train_dataloader.batch_size": 4}
        alone = {"model.teacher": None, "model.losses": {}}
        kept = {k: v for k, v in options.items() if not k.startswith("model.")}
        with build_subject(config, {**kept, **alone}) as built:
            student = built.model.student
            model = built.config.model.student.to_dict()
            if not path.exists():
                optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
                for _ in range(STEPS):
                    optimizer.zero_grad()
                    losses = student(built.inputs, built.samples(), mode="loss")
                    built.model.parse_losses(losses)[0].backward()
                    optimizer.step()
                torch.save({"state_dict": student.state_dict()}, path)
        return {
            **options,
            "train_dataloader.dataset.pipeline": built.config.train_dataloader.dataset.pipeline,
            "model.teacher": {"model": model, "checkpoint": str(path)},
        }

    return make


def examined(config, options):
    with build_subject(config, options) as built:
        return check_teacher_loss(built)


def reordered(options: dict, layer: str, order: list[int], path) -> dict:
    """The same teacher with its classes in another order."""
    state = torch.load(options["model.teacher"]["checkpoint"], weights_only=True)["state_dict"]
    for key in (f"{layer}.weight", f"{layer}.bias"):
        parts = state[key].unflatten(0, (-1, len(order)))
        state[key] = parts[:, order].flatten(0, 1)
    torch.save({"state_dict": state}, path)
    return {**options, "model.teacher": {**options["model.teacher"], "checkpoint": str(path)}}


def test_a_segmentation_teacher(learned, tmp_path):
    options = learned(PSP)
    check = examined(PSP, options)
    assert check.status == "ok", check
    assert sum(check.facts["frequencies"]) > sum(check.facts["given"])
    shifted = {"train_dataloader.dataset.reduce_zero_label": True}
    check = examined(PSP, options | shifted)
    assert check.status == "fail"
    assert "1 added to every label" in check.value
    assert "reduce_zero_label" in check.advice
    masks = sorted((Path(options["data_root"]) / "masks" / "train").iterdir())
    for mask, following in zip(masks, masks[1:] + masks[:1], strict=True):
        shutil.copy(following, tmp_path / mask.name)
    of_others = {"train_dataloader.dataset.data_prefix.seg_map_path": str(tmp_path)}
    check = examined(PSP, options | of_others)
    assert check.status == "fail"
    assert "labels of other images fit as well" in check.advice
    for order in ([0, 2, 1, 4, 3, 6, 5, 8, 7], [0, 2, 3, 4, 5, 6, 7, 8, 1]):
        wrong = reordered(options, "decode_head.conv_seg", order, tmp_path / "wrong.pth")
        check = examined(PSP, wrong)
        assert check.status == "fail"
        assert "count their classes differently" in check.advice


def test_a_detector(learned, tmp_path):
    options = learned(RETINA)
    check = examined(RETINA, options)
    assert check.status == "ok", check
    for order in ([1, 0, 3, 2, 5, 4, 7, 6], [1, 2, 3, 4, 5, 6, 7, 0]):
        wrong = reordered(options, "bbox_head.retina_cls", order, tmp_path / "wrong.pth")
        check = examined(RETINA, wrong)
        assert check.status == "fail"
        assert "count their classes differently" in check.advice


def test_a_teacher_of_other_classes_says_nothing(subject):
    with subject() as built:
        built.model.student.num_classes, built.model.teacher.model.num_classes = 2, 80
        check = check_teacher_loss(built)
    assert (check.status, check.value[:29]) == ("skip", "the teacher has 80 classes an")


def test_a_random_teacher_is_not_asked(subject):
    with subject(checkpoint="random") as built:
        assert check_teacher_loss(built).status == "skip"
