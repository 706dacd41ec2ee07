"""A loss that asks for the batch's boxes gets them as they lie in the padded images."""

from __future__ import annotations

import math

import pytest
import torch

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.registry import MODELS
from fourierkd.errors import ConfigError
from fourierkd.losses.base import MapLoss

FGD = {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FGDLoss"}}


@MODELS.register_module(force=True)
class SeesObjects(MapLoss):
    """A loss of a user's own that asks for them."""

    takes_objects = True

    def forward(self, student, teacher, *, objects=None):
        self.seen = objects
        return (student - teacher).square().mean()


def distiller(retina, kind="FGDLoss", **more):
    torch.manual_seed(0)
    teacher = {"model": retina(16, 32), "checkpoint": "random"}
    entry = {**FGD, "loss": {"type": kind, "loss_weight": 1.0}}
    return Distiller(retina(8, 16), teacher, {"objects": entry, **more}).train()


def test_a_whole_step(retina, det_batch):
    model = distiller(retina, l2={**FGD, "loss": {"type": "FeatureL2"}})
    losses = model(**model.data_preprocessor(det_batch(), True), mode="loss")
    total, _ = model.parse_losses(losses)
    assert math.isfinite(total.detach())
    assert losses["distill.objects.loss"] > 0
    total.backward()
    assert model.student.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0
    contexts = [p for loss in model.losses["objects"] for p in loss.parameters()]
    assert all(p.grad is not None for p in contexts)
    assert all(p.grad is None for p in model.teacher.model.parameters())


def test_boxes_lie_in_the_padded_image(retina, det_batch):
    model = distiller(retina, kind="SeesObjects")
    batch = det_batch()
    batch["inputs"][1] = batch["inputs"][1][:, :, :40]  # padded to the other's width
    batch["data_samples"][1].set_metainfo({"img_shape": (64, 40)})
    model(**model.data_preprocessor(batch, True), mode="loss")
    seen = model.losses["objects"][0].seen
    assert seen.size == (64, 64)
    assert [boxes.tolist() for boxes in seen.boxes] == [[[8.0, 8.0, 40.0, 40.0]]] * 2


def test_images_without_objects(retina, det_batch):
    model, batch = distiller(retina), det_batch()
    for sample in batch["data_samples"]:
        sample.gt_instances = sample.gt_instances[:0]
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    assert losses["distill.objects.loss"] > 0  # all of it is background
    model.parse_losses(losses)[0].backward()


def test_a_model_that_is_trained_without_boxes_is_refused_at_build(psp):
    entry = {**FGD, "student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    teacher = {"model": psp(8), "checkpoint": "random"}
    message = "losses.fgd weighs by the boxes.*got 'student EncoderDecoder'; leave this loss out"
    with pytest.raises(ConfigError, match=message):
        Distiller(psp(8), teacher, {"fgd": entry})


def test_nobody_looks_for_boxes_where_no_loss_asks(psp, seg_batch):
    entry = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    losses = {"l2": {**entry, "loss": {"type": "FeatureL2"}}}
    model = Distiller(psp(8), {"model": psp(8), "checkpoint": "random"}, losses).train()
    data = model.data_preprocessor(seg_batch(), True)
    assert model.objects(**data) is None
    assert model(**data, mode="loss")["distill.l2.loss"] > 0
