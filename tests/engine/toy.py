"""A toy segmentation of random images by two convolutions, small enough for runs of a second."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn

from fourierkd.errors import DataError
from fourierkd.losses.base import MapLoss
from fourierkd.records import State


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Taps: ``features``.

    ``norm_eval``: BatchNorm by its running statistics, as in a detector's backbone; ``unused``: one
    more layer, which no loss reaches; ``zero``: a loss of 0.
    """

    def __init__(
        self,
        width: int = 4,
        init_cfg=None,
        fail_at: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        unused: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor(), init_cfg=init_cfg)
        self.features = nn.Conv2d(3, width, 3, padding=1)
        self.norm = build_norm_layer(norm_cfg or {"type": "BN"}, width)[1]
        self.head = nn.Conv2d(width, 2, 1)
        self.norm_eval = norm_eval
        if unused:
            self.idle = nn.Conv2d(width, 2, 1)
        self.fail_at, self.step, self.zero = fail_at, 0, zero

    def train(self, mode=True):
        super().train(mode)
        if self.norm_eval:
            self.norm.eval()
        return self

    def forward(self, inputs, data_samples=None, mode="tensor"):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        out = self.head(self.norm(self.features(inputs)).relu())
        if mode == "tensor":
            return out
        if mode == "predict":
            pairs = zip(out.argmax(1), data_samples, strict=True)
            return [
                {
                    "pred": p,
                    "target": t,
                    "pred_sem_seg": {"data": p[None]},  # as mmseg's IoUMetric reads them
                    "gt_sem_seg": {"data": t[None]},
                }
                for p, t in pairs
            ]
        self.step += 1
        loss = nn.functional.cross_entropy(out, torch.stack(data_samples))
        loss = loss * (not self.zero)
        return {"loss_ce": loss * float("nan") if self.step == self.fail_at else loss}


@MODELS.register_module(force=True)
class ToyBoxes(ToyModel):
    """Says of each quarter of an image, which is its box, what most of its pixels are."""

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = super().forward(inputs, data_samples, mode)
        return [self.boxes(**pair) for pair in out] if mode == "predict" else out

    @staticmethod
    def boxes(pred, target, **_):
        corners = [(x, y) for x in (0, 6) for y in (0, 6)]
        boxes = [[x, y, x + 6, y + 6] for x, y in corners]
        shares, truth = (
            [float(part[y : y + 6, x : x + 6].float().mean()) for x, y in corners]
            for part in (pred, target)
        )
        return {
            "img_id": int("".join(map(str, target.flatten()[:50].tolist())), 2),
            "ori_shape": (12, 12),
            "instances": [
                {"bbox": box, "bbox_label": int(share > 0.5)}
                for box, share in zip(boxes, truth, strict=True)
            ],
            "pred_instances": {
                "bboxes": torch.tensor(boxes).float(),
                "labels": torch.tensor([int(share > 0.5) for share in shares]),
                "scores": torch.tensor([abs(share - 0.5) for share in shares]),
            },
        }


@MODELS.register_module(force=True)
class NoisyL2(MapLoss):
    """Squared distance with noise drawn anew at every call and a parameter, as FourierLoss has."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.gain = nn.Parameter(torch.zeros(6))

    def distance(self, student, teacher):
        noise = 0.1 * torch.randn_like(student)
        return self.gain.sigmoid().mean() * (student + noise - teacher).square().mean()

    def scalars(self):
        return {"gain": float(self.gain.sigmoid().mean()), "fixed": 2.0}


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
            runner.run_dir.ask_stop(State.STOPPED, "the coordinator wants it")


@HOOKS.register_module(force=True)
class RankEvent(Hook):
    """On one rank, once (while there is no file ``mark``), after iteration ``at``: die or fail."""

    def __init__(self, rank: int, at: int, mark: str, event: str) -> None:
        self.rank, self.at, self.mark, self.event = rank, at, Path(mark), event

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank != self.rank or runner.iter + 1 != self.at or self.mark.exists():
            return
        self.mark.touch()
        if self.event == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.event == "fail":
            raise DataError("a sample of this rank cannot be read", value="shard.tar")
        raise ValueError(self.event)


@HOOKS.register_module(force=True)
class Slow(Hook):
    """Make an iteration take ``seconds`` longer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(self.seconds)


@METRICS.register_module(force=True)
class ToyAccuracy(BaseMetric):
    """Share of right pixels, in percent."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results.append(float((sample["pred"] == sample["target"]).float().mean()))

    def compute_metrics(self, results):
        return {"acc": 100 * float(np.mean(results))}


@METRICS.register_module(force=True)
class GivenValues(BaseMetric):
    """The ``values`` in turn, one a validation, under ``name``; ``other`` beside them is NaN."""

    def __init__(self, values: list[str], name: str = "error") -> None:
        super().__init__()
        self.values, self.name = iter(values), name

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {self.name: float(next(self.values)), "other": float("nan")}
