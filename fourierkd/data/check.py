"""The data of a run config: in flow its data loaders as plain dicts, out flow what is wrong there.

Annotations are read as a whole; files are looked for and opened as far as a ``Depth`` says. Nothing
is written. What a data set's class adds to its config (class names, suffixes, what it reads) is
asked of the caller, because the classes live in packages that need torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fourierkd.data.check_boxes import check_boxes
from fourierkd.data.check_masks import check_masks
from fourierkd.data.check_names import check_classes, check_metainfo, class_names
from fourierkd.data.check_splits import check_splits
from fourierkd.data.findings import Checked, Data, Depth
from fourierkd.errors import ConfigError

Defaults = Callable[[str], Mapping[str, Any]]
SPLITS = ("train", "val", "test")
PATH = ("a path", (str, Path))
# What MMEngine's BaseDataset takes; a class that lists its samples may take other things.
KEYS: dict[str, tuple[str, Any]] = {
    "data_root": PATH,
    "ann_file": PATH,
    "data_prefix": ("a dict of paths", Mapping),
    "metainfo": ("a dict", Mapping),
    "filter_cfg": ("a dict", Mapping),
    "pipeline": ("a list of dicts", (list, tuple)),
    "indices": ("a number or a list of them", (int, list, tuple)),
    "img_suffix": ("a text", str),
    "seg_map_suffix": ("a text", str),
}
BOXES, MASKS = "COCO annotations", "index masks"  # what a data set's class reads


def check_config(config: Mapping[str, Any], defaults: Defaults, depth: Depth) -> list[Checked]:
    """Check every data set of a run config; equal ones of several splits once.

    Args:
        config: resolved run config as plain dicts.
        defaults: type of a data set -> what its class adds: ``reads`` (BOXES, MASKS or None),
            ``classes``, ``img_suffix``, ``seg_map_suffix``, ``reduce_zero_label``; and ``listed``,
            gives the images and masks of a config where the class lists them in its own way.
        depth: how far to look.
    """
    root = config.get("data_root")
    if root is not None and not Path(root).is_dir():
        checked = Checked("all", "folder")
        made = "prepare_data makes it at the first training" if config.get("prepare_data") else ""
        checked.add(
            "data_root must be a folder", [os.path.abspath(root)], fix=made or "set data_root"
        )
        return [checked]
    found: dict[str, tuple[Checked, Mapping[str, Any], Mapping[str, Any]]] = {}
    for split in SPLITS:
        loader = config.get(f"{split}_dataloader")
        for dataset in leaves((loader or {}).get("dataset")):
            key = repr(sorted(dataset.items(), key=str))
            if key in found:
                found[key][0].split += f", {split}"
            else:
                checked = Checked(split, str(dataset.get("type")))
                found[key] = (checked, dataset, defaults(checked.kind))
                if found[key][2].get("reads"):
                    _check_keys(dataset, f"the data set of {split}_dataloader")
            _check_evaluator(found[key][0], dataset, config.get(f"{split}_evaluator"))
    for checked, dataset, own in found.values():
        _check(checked, dataset, own, depth)
    parts = [checked for checked, *_ in found.values()]
    check_splits(parts)
    _check_last_batch(config.get("train_dataloader") or {}, parts)
    return parts


def leaves(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """The data sets inside wrappers that repeat, concatenate or mix them."""
    if not isinstance(dataset, Mapping):
        return
    inner = dataset.get("datasets") or dataset.get("dataset")
    if inner is None:
        yield dataset
    for part in inner if isinstance(inner, (list, tuple)) else [inner]:
        yield from leaves(part)


def _check_keys(dataset: Mapping[str, Any], where: str) -> None:
    """Refuse values of a wrong type, which fail in the middle of something else."""
    for key, (words, types) in KEYS.items():
        value = dataset.get(key)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            raise ConfigError(f"{key} is {words} in {where}", value=value, fix="correct it")
    for key, value in (dataset.get("data_prefix") or {}).items():
        if not isinstance(value, PATH[1]):
            raise ConfigError(f"data_prefix.{key} is a path in {where}", value=value)


def _check(
    checked: Checked, dataset: Mapping[str, Any], own: Mapping[str, Any], depth: Depth
) -> None:
    """Look at one data set; ``own`` is what its class adds to its config."""
    listed = own["listed"](dataset) if own.get("listed") else None
    config = {**own, **dataset, "listed": listed}
    names = class_names(dataset, own)
    check_metainfo(dataset, checked)
    if names is None and own.get("reads") == MASKS and checked.splits != ["train"]:
        checked.add(
            "data that are scored must name their classes",
            fix="set metainfo=dict(classes=(...), palette=[...])",
            refused=True,
        )
    classes = check_classes(names, checked)
    data = Data(
        checked.kind,
        config.get("data_root") or "",
        config.get("ann_file") or None,
        config.get("data_prefix") or {},
        classes,
        own.get("classes") or classes,
        config,
    )
    if own.get("reads") == BOXES and str(data.ann_file or "").endswith(".json"):
        check_boxes(data, checked, depth)
    elif own.get("reads") == MASKS and (
        listed or ("listed" not in own and data.prefix.get("seg_map_path"))
    ):
        check_masks(data, checked, depth)
    else:
        checked.add(f"only {BOXES} and {MASKS} are checked", [checked.kind], fault=False)


def _check_evaluator(checked: Checked, dataset: Mapping[str, Any], evaluator: Any) -> None:
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        path = metric.get("ann_file") if isinstance(metric, Mapping) else None
        if not path or not isinstance(path, PATH[1]):
            continue
        own = Path(dataset.get("data_root") or "", dataset.get("ann_file") or "")
        if not Path(path).is_file():
            checked.add("the evaluator's ann_file must exist", [path], fix="correct ann_file")
        elif own.is_file() and not own.samefile(path):
            checked.add(
                "the evaluator must read the annotations of its data set, by which labels are "
                "numbered",
                [path],
                fix=f"set its ann_file to {own}",
            )


def _check_last_batch(loader: Mapping[str, Any], parts: list[Checked]) -> None:
    """Epochs end in a batch of what is left over; of one image it is too small for BatchNorm."""
    trained = [part for part in parts if "train" in part.splits and part.images]
    size, kind = loader.get("batch_size"), (loader.get("sampler") or {}).get("type")
    plain = len(trained) == 1 and "dataset" not in loader["dataset"]
    if not plain or loader.get("drop_last") or kind not in (None, "DefaultSampler"):
        return
    if isinstance(size, int) and size > 1 and trained[0].images % size == 1:
        trained[0].add(
            "the last batch of an epoch has one image, of which BatchNorm may have one value a "
            "channel",
            [f"{trained[0].images} images in batches of {size}"],
            fix="set train_dataloader.drop_last=True",
            fault=False,
        )
