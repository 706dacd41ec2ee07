"""Data loaders whose failures name a file: in flows a loader's config, out flows a loader."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fourierkd.errors import DataError, FourierKDError


def build_loader(config: Any, *args: Any, **kwargs: Any) -> DataLoader:
    """As ``Runner.build_dataloader``, for people who mistype a folder or own a damaged image.

    Raises:
        DataError: files are missing, or no sample is found; later, while it is read, an image or
            an annotation that cannot be (named, with the reason).
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
    for dataset in _leaves(loader.dataset):
        prepare, info = (
            getattr(dataset, "prepare_data", None),
            getattr(dataset, "get_data_info", None),
        )
        if prepare is not None and info is not None:
            dataset.prepare_data = partial(_prepare, prepare, info)
    if loader.worker_init_fn is not None and "worker_init_fn" not in config:  # MMEngine's
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        loader.worker_init_fn = partial(_seed_worker, loader.worker_init_fn, sampler)
    return loader


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
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"a sample cannot be read or prepared ({reason})",
            value=files or index,
            fix="repair or remove it",
        ) from error


def _leaves(dataset: Any) -> Iterator[Any]:
    """The data sets inside MMEngine's wrappers (repeated, concatenated, mixed)."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
    else:
        for part in inner:
            yield from _leaves(part)
