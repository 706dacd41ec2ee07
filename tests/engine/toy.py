"""A toy segmentation of random images by two convolutions, small enough for runs of a second."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Taps: ``features``."""

    def __init__(self, width: int = 4, init_cfg=None, fail_at: int = -1) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor(), init_cfg=init_cfg)
        self.features = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 2, 1)
        self.fail_at, self.step = fail_at, 0

    def forward(self, inputs, data_samples=None, mode="tensor"):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        out = self.head(self.norm(self.features(inputs)).relu())
        if mode == "tensor":
            return out
        if mode == "predict":
            return [
                {"pred": p, "target": t} for p, t in zip(out.argmax(1), data_samples, strict=True)
            ]
        self.step += 1
        loss = nn.functional.cross_entropy(out, torch.stack(data_samples))
        return {"loss_ce": loss * float("nan") if self.step == self.fail_at else loss}


@MODELS.register_module(force=True)
class NoisyL2(nn.Module):
    """Squared distance with noise drawn anew at every call, as FourierLoss does."""

    def __init__(self, loss_weight: float = 1.0, sphere_radius: float = 2.0) -> None:
        super().__init__()
        self.loss_weight, self.sphere_radius = loss_weight, sphere_radius
        self.atfm = nn.Module()
        self.atfm.mix_logit = nn.Parameter(torch.zeros(6))

    def forward(self, student, teacher):
        a = self.atfm.mix_logit.sigmoid().mean()
        noise = 0.1 * torch.randn_like(student)
        return self.loss_weight * a * (student + noise - teacher).square().mean()


@DATASETS.register_module(force=True)
class ToyDataset(BaseDataset):
    """Images labelled by the sign of the red channel, with noise drawn anew as augmentation."""

    METAINFO = {"classes": ("off", "on")}  # noqa: RUF012

    def __init__(self, length: int = 12, augment: bool = True, **kwargs) -> None:
        self.length, self.augment = length, augment
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        return [{"index": i} for i in range(self.length)]

    def __getitem__(self, index):
        image = np.random.default_rng(index).normal(size=(3, 12, 12))
        target = torch.from_numpy((image[0] > 0).astype(np.int64))
        if self.augment:
            image = image + 0.3 * np.random.normal(size=image.shape)
        return {"inputs": torch.from_numpy(image).float(), "data_samples": target}


@HOOKS.register_module(force=True)
class StopAt(Hook):
    """Ask for a stop after iteration ``at``, as a coordinator would; not after a resume there."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            runner.run_dir.ask_stop("stopped", "the coordinator wants it")


@METRICS.register_module(force=True)
class ToyAccuracy(BaseMetric):
    """Share of right pixels, in percent."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results.append(float((sample["pred"] == sample["target"]).float().mean()))

    def compute_metrics(self, results):
        return {"acc": 100 * float(np.mean(results))}
