"""Kept teacher maps: in flow a run's config and data set, out flows whether maps are kept.

Where the augmentation of the training data can give only few different images (none, or flips),
the teacher sees each of them once and not at every step (``distill.teacher_maps``). Anything else
runs the teacher live, with the reason in run.log and result.json.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook

from fourierkd.distill.registry import HOOKS
from fourierkd.distill.teacher_maps import TeacherMaps, maps_file
from fourierkd.engine.environment import processor
from fourierkd.engine.ranks import leads
from fourierkd.engine.runner import KDRunner
from fourierkd.run_dir import cache_root

FLIP = "RandomFlip"
REPLAYED = (  # same image in, same image out; FLIP has one image more for each direction
    "LoadImageFromFile",
    "LoadAnnotations",
    "FilterAnnotations",
    "Resize",
    "Pad",
    "Normalize",
    "PackSegInputs",
    "PackDetInputs",
    FLIP,
)


@HOOKS.register_module()
class TeacherMapsHook(Hook):
    """Have the teacher's maps kept where that is exact and pays.

    Cost: one look at the config; the file of maps is written after a validation that has new ones.
    """

    def before_train(self, runner: KDRunner) -> None:
        """Decide, and say why where the teacher runs live."""
        teacher = getattr(runner.bare_model, "teacher", None)
        if teacher is None:
            return
        keep_maps(runner.bare_model, runner.cfg, len(runner.train_dataloader.dataset))
        if teacher.maps is None:
            runner.logger.info(f"teacher: runs at every step, since {teacher.why_live}")

    def after_val(self, runner: KDRunner) -> None:
        """Leave new maps for the next run."""
        self._save(runner)

    def after_train(self, runner: KDRunner) -> None:
        """Leave the last ones."""
        self._save(runner)

    def _save(self, runner: KDRunner) -> None:
        maps = getattr(getattr(runner.bare_model, "teacher", None), "maps", None)
        if maps is None or not leads():
            return
        try:
            maps.save()
        except OSError as error:  # the cache saves time and is worth no run
            runner.logger.warning(f"teacher: its maps cannot be kept for the next run ({error})")


def keep_maps(model: Any, config: Any, images: int) -> None:
    """Give the teacher of ``model`` a place for its maps, or the reason why it runs live.

    Args:
        model: a Distiller with a teacher, on its device.
        config: the whole config of its run.
        images: of the training data.
    """
    teacher = model.teacher
    variants, reason = image_variants(config.train_dataloader.dataset)
    if teacher.sha256 is None:
        reason = "a random teacher has no file to know it by"
    elif teacher.compiled:
        reason = "a compiled teacher may compute a batch of another size differently"
    elif getattr(model.data_preprocessor, "batch_augments", None):
        reason = "data_preprocessor.batch_augments changes the images"
    if reason is not None:
        teacher.why_live = reason
        return
    parts = [
        *teacher.identity,
        next(model.parameters()).device.type,
        processor(),
        torch.__version__,
        torch.get_num_threads(),
        os.environ.get("MKL_CBWR"),
        torch.backends.cpu.get_cpu_capability(),
    ]
    teacher.maps = TeacherMaps(maps_file(cache_root() / "maps", parts), images * variants)


def image_variants(dataset: Any) -> tuple[int, str | None]:
    """How many different images one training image can become.

    Args:
        dataset: the config of a data set.

    Returns:
        (the number, None), or (0, why it is not known).
    """
    variants, found = 1, False
    for step in _steps(dataset):
        found = True
        name = step["type"].rpartition(".")[2] if isinstance(step["type"], str) else None
        if name not in REPLAYED:
            return 0, f"its augmentation cannot be replayed ({step['type']})"
        if name == FLIP:
            direction = step.get("direction", "horizontal")
            variants *= 2 if isinstance(direction, str) else 1 + len(direction)
    if not found:
        return 0, "its data set has no pipeline that could be looked at"
    return variants, None


def _steps(dataset: Any) -> Iterator[dict[str, Any]]:
    """The steps of every pipeline in a data set's config, wrapped data sets' too."""
    if isinstance(dataset, list | tuple):
        for part in dataset:
            yield from _steps(part)
    elif isinstance(dataset, dict):
        for key, value in dataset.items():
            if key == "pipeline":
                yield from value
            else:
                yield from _steps(value)
