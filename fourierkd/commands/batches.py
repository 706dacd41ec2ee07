"""One preprocessed training batch: from a config's own data where it is here, else random.

In flow a run config and its model; out flow what the model's ``forward(mode="loss")`` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import resolve_model
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.errors import ConfigError, DataError

DEFAULT_SHAPE = (512, 512)
BOXES = 8  # per image; COCO has about seven


class Batch(NamedTuple):
    """Inputs (N, 3, H, W) and samples as the model takes them, and what they are."""

    inputs: Any
    data_samples: Any
    description: str


def make_batch(
    cfg: Mapping[str, Any],
    model: Distiller,
    *,
    shape: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> Batch:
    """A batch through the model's data preprocessor, on the model's device.

    Args:
        cfg: a loaded run config.
        model: built from it.
        shape: (H, W) of random images.
        batch_size: of random images. With either the config's data is not asked.

    Raises:
        ConfigError: a bad size; or the data is not here and the student is of neither task.
    """
    for value in (*(shape or ()), 1 if batch_size is None else batch_size):
        if value < 1:
            raise ConfigError("--shape and --batch-size are from 1 on", value=value)
    raw: dict[str, Any] | None = None
    origin = "from the config's training data"
    if shape is None and batch_size is None:
        raw = _own(cfg)
    if raw is None:
        size = shape or _shape(cfg)
        loader = cfg.get("train_dataloader") or {}
        raw = _random(cfg, model, size, batch_size or loader.get("batch_size", 2))
        origin = "of random pixels and labels"
        if shape is not None and getattr(model.data_preprocessor, "size", None) is not None:
            model.data_preprocessor.size = shape  # it would pad to the config's crop
    ready = model.data_preprocessor(raw, True)
    inputs, samples = ready["inputs"], ready.get("data_samples")
    if not isinstance(inputs, Tensor):
        inputs = torch.stack(list(inputs))
    n, _, height, width = inputs.shape
    return Batch(inputs, samples, f"batch of {n} x {height} x {width} {origin}")


def _own(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first batch of the training data; None where its files are not here."""
    loader = cfg.get("train_dataloader")
    if loader is None:
        return None
    try:
        batch: dict[str, Any] = next(iter(build_loader(in_process(loader), seed=0)))
    except DataError:
        return None
    return batch


def _random(
    cfg: Mapping[str, Any], model: Distiller, shape: tuple[int, int], batch_size: int
) -> dict[str, Any]:
    """uint8 images and the samples of the student's task; the same at every call."""
    scope = resolve_model(cfg["model"]["student"])["_scope_"]
    makers = {"mmdet": _detection_sample, "mmseg": _segmentation_sample}
    if scope not in makers:
        raise ConfigError(
            "random batches are made for mmdet and mmseg students",
            value=scope,
            fix="put the config's training data in place, and leave --shape and --batch-size out",
        )
    generator = torch.Generator().manual_seed(0)
    size = (batch_size, 3, *shape)
    images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    samples = [makers[scope](shape, model, generator) for _ in range(batch_size)]
    return {"inputs": list(images), "data_samples": samples}


def _metainfo(shape: tuple[int, int]) -> dict[str, Any]:
    sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), shape)
    return {**sizes, "scale_factor": (1.0, 1.0), "img_id": 0, "img_path": "random"}


def _detection_sample(shape: tuple[int, int], _: Distiller, generator: torch.Generator) -> Any:
    from mmdet.structures import DetDataSample

    height, width = shape
    limits = torch.tensor([width, height], dtype=torch.float32)
    corners = torch.rand(BOXES, 2, generator=generator) * 0.7
    extents = 0.05 + torch.rand(BOXES, 2, generator=generator) * 0.25
    boxes = torch.cat((corners * limits, (corners + extents) * limits), 1)
    sample = DetDataSample(metainfo=_metainfo(shape))
    labels = torch.zeros(BOXES, dtype=torch.long)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    return sample


def _segmentation_sample(
    shape: tuple[int, int], model: Distiller, generator: torch.Generator
) -> Any:
    from mmseg.structures import SegDataSample

    head: Any = model.student.decode_head
    classes = (head[-1] if hasattr(head, "__getitem__") else head).num_classes
    sample = SegDataSample(metainfo=_metainfo(shape))
    labels = torch.randint(0, classes, (1, *shape), generator=generator)
    sample.gt_sem_seg = PixelData(data=labels)
    return sample


def _shape(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) that the training pipeline ends in: a crop, else a resize, else DEFAULT_SHAPE."""
    data = (cfg.get("train_dataloader") or {}).get("dataset") or ConfigDict()
    while "pipeline" not in data and "dataset" in data:
        data = data["dataset"]
    found = DEFAULT_SHAPE
    for step in data.get("pipeline") or []:
        kind = str(step.get("type", "")).rpartition(".")[2]
        if kind == "Resize" and step.get("scale"):
            width, height = step["scale"]
            found = int(height), int(width)
        if kind == "RandomCrop" and step.get("crop_size"):
            height, width = step["crop_size"]
            found = int(height), int(width)
    return found
