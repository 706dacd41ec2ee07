"""Training batches as the student sees them: in flows a run config, out flow images with labels.

Each batch goes through the config's own pipeline and the student's data preprocessor, padding and
batch augmentation included; then normalisation is undone. No model is built.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.runner import set_random_seed
from torch import Tensor

from fourierkd.config.load import RunConfig
from fourierkd.distill.model_config import resolve_model
from fourierkd.distill.registry import MODELS, register_scope
from fourierkd.engine.loaders import build_loader, in_process
from fourierkd.errors import ConfigError, DataError
from fourierkd.tracking.label_sheets import Labelled
from fourierkd.tracking.prediction_pictures import Answer, Boxes


class Batches:
    """Batches of a config's training data, in the order and augmentation of a seed.

    Args:
        config: loaded; its data are in place.
        seed: of order and augmentation.

    Attributes:
        names: of the classes.
        size: images in one pass.

    Raises:
        ConfigError: the config has no training data or no student.
        DataError: as ``build_loader`` raises it.
    """

    def __init__(self, config: RunConfig, *, seed: int) -> None:
        loader, model = config.get("train_dataloader"), config.get("model") or {}
        if not loader or not model.get("student"):
            raise ConfigError("browse looks at train_dataloader as model.student is given it")
        student = resolve_model(model["student"])
        scope = str(student["_scope_"])
        register_scope(scope)
        plain = {"type": "mmengine.BaseDataPreprocessor"}  # as MMEngine's models have it
        self._settings = dict(student.get("data_preprocessor") or plain)
        with MODELS.switch_scope_and_registry(scope) as registry:
            self._prepare: Any = registry.build(copy.deepcopy(self._settings))
        set_random_seed(seed)
        self._loader = build_loader(in_process(loader), seed=seed)
        dataset: Any = self._loader.dataset
        self.names = [str(name) for name in dataset.metainfo.get("classes") or ()]
        self.size = len(dataset)
        if not self.names:
            raise DataError("the training data name their classes (metainfo)", value=dataset)

    def __iter__(self) -> Iterator[list[Labelled]]:
        """Batch after batch; an endless sampler gives them without an end."""
        for raw in self._loader:
            ready = self._prepare(raw, True)
            for_all = zip(ready["inputs"], ready["data_samples"], strict=True)
            yield [
                Labelled(self._pixels(image), labels_of(sample), name_of(sample))
                for image, sample in for_all
            ]

    def _pixels(self, image: Tensor) -> np.ndarray:
        """(3, H, W), normalised or not -> (H, W, 3), uint8, RGB."""
        values = image.detach().float()
        if getattr(self._prepare, "_enable_normalize", False):
            values = values * self._prepare.std + self._prepare.mean
        pixels = values.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        if pixels.shape[2] == 1:
            return np.repeat(pixels, 3, axis=2)
        # what mmcv loads is BGR, unless the preprocessor turns it round
        is_rgb = self._settings.get("bgr_to_rgb", False)
        return np.ascontiguousarray(pixels if is_rgb else pixels[..., ::-1])


def labels_of(sample: Any) -> Answer:
    """A label map (H, W) with 255 for what does not count, or boxes in px of the batch's image.

    Raises:
        DataError: the sample has neither boxes nor a label map.
    """
    if "gt_instances" in sample and "bboxes" in sample.gt_instances:
        found = sample.gt_instances
        bboxes = getattr(found.bboxes, "tensor", found.bboxes)  # horizontal boxes as a class
        return Boxes(bboxes.float().numpy().reshape(-1, 4), found.labels.numpy().astype(np.int64))
    if "gt_sem_seg" in sample:
        labels: np.ndarray = sample.gt_sem_seg.data.squeeze(0).numpy().astype(np.int64)
        return labels
    raise DataError(
        "browse shows boxes and semantic label maps, and a sample has neither",
        value=sorted(sample.keys()),
    )


def name_of(sample: Any) -> str:
    """The file's, and what a flip did to it."""
    facts: Mapping[str, Any] = sample.metainfo
    name = PurePath(str(facts.get("img_path") or "")).name
    flipped = facts.get("flip_direction") if facts.get("flip") else None
    return f"{name}, flipped: {flipped}" if flipped else name
