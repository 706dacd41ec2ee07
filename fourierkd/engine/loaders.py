"""Data loaders whose failures name a file: in flows a loader's config, out flows a loader."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fourierkd.errors import DataError, FourierKDError, one_line


def build_loader(config: Any, *args: Any, **kwargs: Any) -> DataLoader[Any]:
    """As ``Runner.build_dataloader``, for people who mistype a folder or own a damaged image.

    Raises:
        DataError: files are missing, no sample is found, or fewer than a batch with ``drop_last``;
            later, while it is read, an image or an annotation that cannot be (named, with the
            reason), and a mask that has another size than its image or a label that is no class.
    """
    try:
        loader = Runner.build_dataloader(config, *args, **kwargs)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            "a data set's files must exist", value=error.filename or str(error), fix="see data_root"
        ) from error
    except ValueError as error:  # how BaseDataset fails on an empty list
        if "at least one array" not in str(error):
            raise
        raise _empty(config) from error
    if len(loader.dataset) == 0:
        raise _empty(config)
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, DefaultSampler) and len(loader) == 0:
        raise DataError(
            "a data loader gives at least one batch",
            value=f"{len(sampler)} images, batch_size {loader.batch_size}, drop_last",
            fix="lower batch_size or set drop_last=False",
        )
    for dataset in _leaves(loader.dataset):
        prepare, info = (
            getattr(dataset, "prepare_data", None),
            getattr(dataset, "get_data_info", None),
        )
        if prepare is not None and info is not None:
            dataset.prepare_data = partial(_prepare, prepare, info)
        _check_masks(dataset)
    if loader.worker_init_fn is not None and "worker_init_fn" not in config:  # MMEngine's
        loader.worker_init_fn = partial(_seed_worker, loader.worker_init_fn, sampler)
    result: DataLoader[Any] = loader
    return result


def in_process(loader: Mapping[str, Any]) -> dict[str, Any]:
    """The loader's config without worker processes: a few batches do not pay for them."""
    only_workers = ("persistent_workers", "prefetch_factor", "pin_memory")
    kept = {key: value for key, value in loader.items() if key not in only_workers}
    return {**copy.deepcopy(kept), "num_workers": 0}


def _seed_worker(as_mmengine_does: Callable[[int], None], sampler: Any, worker: int) -> None:
    """Seed a loader's worker by run, rank, worker and epoch.

    Workers that do not persist are started for every epoch; MMEngine seeds them alike each time,
    and every image got the augmentation of the epoch before.
    """
    as_mmengine_does(worker)
    epoch = getattr(sampler, "epoch", 0)
    if epoch:
        mixed = np.random.SeedSequence([torch.initial_seed(), epoch])
        seeds = [int(word) for word in mixed.generate_state(3)]
        random.seed(seeds[0])
        np.random.seed(seeds[1])
        torch.manual_seed(seeds[2])


def _empty(config: Any) -> DataError:
    data = config["dataset"]
    while "dataset" in data:
        data = data["dataset"]
    keys = ("data_root", "data_prefix", "ann_file")
    places = {key: data[key] for key in keys if data.get(key)}
    return DataError("a data set holds at least one sample", value=places, fix="see data_root")


def _prepare(prepare: Callable[[int], Any], get_info: Callable[[int], Any], index: int) -> Any:
    try:
        return prepare(index)
    except FourierKDError:
        raise
    except Exception as error:
        info = get_info(index)
        files = [info[key] for key in ("img_path", "seg_map_path") if info.get(key)]
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(
            f"a sample cannot be read or prepared ({reason})",
            value=files or index,
            fix="repair or remove it",
        ) from error


def _check_masks(dataset: Any) -> None:
    """Look at every mask right after MMSegmentation has loaded it."""
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", [])
    classes = getattr(dataset, "metainfo", {}).get("classes")
    for position, step in enumerate(steps):
        if type(step).__module__.startswith("mmseg.") and type(step).__name__ == "LoadAnnotations":
            ignore = getattr(dataset, "ignore_index", 255)
            check = partial(check_mask, classes=len(classes or ()), ignore=ignore)
            steps.insert(position + 1, check)
            return


def check_mask(sample: dict[str, Any], *, classes: int, ignore: int) -> dict[str, Any]:
    """A step of a pipeline: the sample as it is.

    Args:
        sample: with ``gt_seg_map``, (H, W), labels as loaded.
        classes: how many the data set has; 0: not known.
        ignore: the label that is none.

    Raises:
        DataError: the mask has another size than its image, or a label from ``classes`` on; it
            would end the training in an index error.
    """
    labels, size = sample["gt_seg_map"], sample.get("ori_shape")
    if size is not None and labels.shape[:2] != tuple(size[:2]):
        raise DataError(
            f"a mask must have its image's size, {size[1]}x{size[0]} as it is loaded",
            value=f"{labels.shape[1]}x{labels.shape[0]} of {sample['seg_map_path']}",
            fix="see `fourierkd data check`",
        )
    wrong = (labels >= classes) & (labels != ignore)
    if classes and wrong.any():
        raise DataError(
            f"labels of a mask must be 0 to {classes - 1} or {ignore}",
            value=f"{np.unique(labels[wrong])[:5].tolist()} in {sample['seg_map_path']}",
            fix="correct the mask or metainfo's classes; `fourierkd data check` says more",
        )
    return sample


def _leaves(dataset: Any) -> Iterator[Any]:
    """The data sets inside MMEngine's wrappers (repeated, concatenated, mixed)."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
    else:
        for part in inner:
            yield from _leaves(part)
