"""A toy with branches that look like taps and are none, and losses with faults."""

from __future__ import annotations

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from toy import ToyDataset

from fourierkd.losses.base import MapLoss


@MODELS.register_module(force=True)
class BranchedModel(BaseModel):
    """features -> norm -> head, and coarse (stride 2) beside it.

    ``side`` is called and used by nothing, ``aux`` by the losses alone, ``late`` in training only.
    """

    def __init__(self, width: int = 4, frozen: bool = False, pixels: float | None = None) -> None:
        pre = BaseDataPreprocessor()
        if pixels is not None:
            pre.register_buffer("mean", torch.full((3, 1, 1), pixels), False)
            pre.register_buffer("std", torch.ones(3, 1, 1), False)
        super().__init__(data_preprocessor=pre)
        self.features = nn.Conv2d(3, width, 3, padding=1)
        self.features.requires_grad_(not frozen)
        self.norm = nn.BatchNorm2d(width)
        self.coarse = nn.Conv2d(width, width, 2, 2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(width, 2, 1)
        self.side = nn.Conv2d(3, width, 1)
        self.aux = nn.Conv2d(width, 2, 1)
        self.late = nn.Conv2d(width, width, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        x = self.norm(self.features(inputs)).relu()
        self.side(inputs)
        aux = self.aux(x)
        coarse = self.drop(self.coarse(x))
        up = nn.functional.interpolate(coarse, size=inputs.shape[2:])
        out = self.head(x + up)
        if mode == "tensor":
            return out
        if mode == "predict":
            return [
                {"pred": p, "target": t} for p, t in zip(out.argmax(1), data_samples, strict=True)
            ]
        target = torch.stack(data_samples)
        losses = {"loss_ce": nn.functional.cross_entropy(out, target)}
        losses["aux.loss_ce"] = nn.functional.cross_entropy(aux, target)
        losses["loss_late"] = 1e-3 * self.late(x).square().mean()
        return losses


@MODELS.register_module(force=True)
class HalfLoss(MapLoss):
    """Takes its Fourier transform in whatever precision the map has, as published codes do."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def forward(self, student, teacher):
        with torch.autocast(student.device.type, enabled=False):
            ours = torch.view_as_real(torch.fft.rfft2(student))
            theirs = torch.view_as_real(torch.fft.rfft2(teacher.detach().to(student.dtype)))
        return self.loss_weight * (ours - theirs).square().mean()


@DATASETS.register_module(force=True)
class MislabelledDataset(ToyDataset):
    """The toy's images with the labels of the next one, or with 1 added to each label (of 2)."""

    def __init__(self, fault: str, **kwargs) -> None:
        self.fault = fault
        super().__init__(**kwargs)

    def __getitem__(self, index):
        item = super().__getitem__(index)
        if self.fault == "others":
            labels = super().__getitem__((index + 1) % len(self))["data_samples"]
        else:
            labels = 1 - item["data_samples"]
        return {**item, "data_samples": labels}
