"""Tiny real models, batches and a toy student: everything runs in milliseconds on one core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from fourierkd.distill.register import register_all
from fourierkd.distill.registry import MODELS, SCOPE

PIXELS = {"mean": [120.0] * 3, "std": [60.0] * 3, "bgr_to_rgb": True}


@pytest.fixture(autouse=True, scope="session")
def _registered() -> None:
    register_all(["mmseg", "mmdet"])


@pytest.fixture(autouse=True)
def _few_threads(few_threads: None) -> None:
    """In every test of this folder."""


@pytest.fixture(autouse=True)
def _default_scope() -> Iterator[None]:
    """``init_model``, ``init_detector`` and Runner set MMEngine's default scope for the process."""
    instances = dict(DefaultScope._instance_dict)
    with DefaultScope.overwrite_default_scope(SCOPE):
        yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


@MODELS.register_module(force=True)
class TapModel(BaseModel):
    """conv -> blocks -> neck (two levels) -> head; ``calls`` counts the forwards of ``head``."""

    def __init__(self, width: int = 4, levels: int = 2, frozen: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.stem.requires_grad_(not frozen)
        self.neck = ToyNeck(width, levels)
        self.head = nn.Conv2d(width, 2, 1)
        self.spare = nn.Conv2d(width, 2, 1)
        self.dropout = nn.Dropout(0.5)
        self.act = nn.ReLU(inplace=True)
        self.calls: dict[str, int] = {"stem": 0, "head": 0}
        for name in self.calls:
            getattr(self, name).register_forward_hook(Counter(self.calls, name))

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        if isinstance(inputs, list):
            inputs = torch.stack(inputs)
        maps = self.neck(self.act(self.stem(inputs)))
        out = [self.head(self.dropout(m)) for m in maps]
        if mode == "loss":
            return {"loss_toy": sum(o.square().mean() for o in out)}
        return [o.mean(dim=(2, 3)) for o in out]

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.constant_(self.head.weight, 0.25)


class ToyNeck(nn.Module):
    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(levels))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(conv(nn.functional.avg_pool2d(x, 2**i)) for i, conv in enumerate(self.convs))


class Counter:
    def __init__(self, calls: dict[str, int], name: str) -> None:
        self.calls, self.name = calls, name

    def __call__(self, *args: Any) -> None:
        self.calls[self.name] += 1


@pytest.fixture
def toy() -> Callable[..., dict[str, Any]]:
    """Config of a TapModel."""
    return lambda **kw: {"type": "TapModel", **kw}


@pytest.fixture
def psp() -> Callable[..., dict[str, Any]]:
    """Config of a PSPNet on a ResNetV1c-18 of a given base width, for 32 x 32 pixels."""

    def make(width: int = 8, **backbone: Any) -> dict[str, Any]:
        norm = {"type": "BN", "requires_grad": True}
        return {
            "type": "mmseg.EncoderDecoder",
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                **PIXELS,
                "size": (32, 32),
                "pad_val": 0,
                "seg_pad_val": 255,
            },
            "backbone": {
                "type": "ResNetV1c",
                "depth": 18,
                "base_channels": width,
                "stem_channels": width,
                "strides": (1, 2, 1, 1),
                "dilations": (1, 1, 2, 4),
                "norm_cfg": norm,
                "contract_dilation": True,
                **backbone,
            },
            "decode_head": {
                "type": "PSPHead",
                "in_channels": width * 8,
                "in_index": 3,
                "channels": width * 2,
                "num_classes": 4,
                "norm_cfg": norm,
                "align_corners": False,
                "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
            },
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
        }

    return make


@pytest.fixture
def retina() -> Callable[..., dict[str, Any]]:
    """MMDetection's own RetinaNet-R18 config, narrowed by overrides."""

    def make(width: int = 8, neck: int = 16) -> dict[str, Any]:
        return {
            "config": "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
            "overrides": {
                "backbone.base_channels": width,
                "backbone.stem_channels": width,
                "backbone.init_cfg": None,
                "neck.in_channels": [width, width * 2, width * 4, width * 8],
                "neck.out_channels": neck,
                "bbox_head.in_channels": neck,
                "bbox_head.feat_channels": neck,
                "bbox_head.stacked_convs": 1,
                "bbox_head.num_classes": 3,
            },
        }

    return make


@pytest.fixture
def seg_batch() -> Callable[..., dict[str, Any]]:
    """A raw batch of 32 x 32 images with masks, as a segmentation dataloader gives it."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    def make(n: int = 2) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(n)
        shape = {"img_shape": (32, 32), "ori_shape": (32, 32), "pad_shape": (32, 32)}
        samples = []
        for _ in range(n):
            mask = torch.randint(0, 4, (1, 32, 32), generator=generator)
            sample = SegDataSample(metainfo=shape)
            sample.gt_sem_seg = PixelData(data=mask)
            samples.append(sample)
        images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return {"inputs": list(images), "data_samples": samples}

    return make


@pytest.fixture
def det_batch() -> Callable[..., dict[str, Any]]:
    """A raw batch of 64 x 64 images with one box each, as a detection dataloader gives it."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(n: int = 2) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(n)
        samples = []
        for i in range(n):
            sample = DetDataSample(
                metainfo={
                    "img_shape": (64, 64),
                    "ori_shape": (64, 64),
                    "scale_factor": (1.0, 1.0),
                    "img_id": i,
                }
            )
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([i % 3])
            )
            samples.append(sample)
        images = torch.randint(0, 256, (n, 3, 64, 64), generator=generator, dtype=torch.uint8)
        return {"inputs": list(images), "data_samples": samples}

    return make
