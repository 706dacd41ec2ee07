"""The data of a run config: in flow its data loaders as plain dicts, out flow what is wrong there.

Annotations are read as a whole, every file is looked for, and a sample of the images and masks is
decoded. Nothing is written. What a data set's class adds to its config (class names, suffixes) is
asked of the caller, because the classes live in packages that need torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fourierkd.data.check_boxes import check_boxes
from fourierkd.data.check_masks import check_masks
from fourierkd.data.findings import Checked, Data

Defaults = Callable[[str], Mapping[str, Any]]


def check_config(config: Mapping[str, Any], defaults: Defaults, *, images: int) -> list[Checked]:
    """Check every data set of a run config; equal ones of several splits once.

    Args:
        config: resolved run config as plain dicts.
        defaults: type of a data set -> what its class adds: ``classes``, ``img_suffix``,
            ``seg_map_suffix``, ``reduce_zero_label``.
        images: how many images (and masks) of a data set are decoded, evenly spaced.
    """
    root = config.get("data_root")
    if root is not None and not Path(root).is_dir():
        checked = Checked("all", "folder")
        made = "prepare_data makes it at the first training" if config.get("prepare_data") else ""
        checked.add(
            "data_root must be a folder", [os.path.abspath(root)], fix=made or "set data_root"
        )
        return [checked]
    found: dict[str, tuple[Checked, Mapping[str, Any]]] = {}
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        for dataset in _leaves((loader or {}).get("dataset")):
            key = repr(sorted(dataset.items(), key=str))
            if key in found:
                found[key][0].split += f", {split}"
            else:
                found[key] = (Checked(split, str(dataset.get("type"))), dataset)
            _check_evaluator(found[key][0], config.get(f"{split}_evaluator"))
    for checked, dataset in found.values():
        _check(checked, dataset, defaults, images)
    return [checked for checked, _ in found.values()]


def _leaves(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """The data sets inside wrappers that repeat, concatenate or mix them."""
    if not isinstance(dataset, Mapping):
        return
    inner = dataset.get("datasets") or dataset.get("dataset")
    if inner is None:
        yield dataset
    for part in inner if isinstance(inner, (list, tuple)) else [inner]:
        yield from _leaves(part)


def _check(checked: Checked, dataset: Mapping[str, Any], defaults: Defaults, images: int) -> None:
    own = defaults(checked.kind)
    config = {**own, **dataset}
    classes = (config.get("metainfo") or {}).get("classes") or own.get("classes")
    known = own.get("classes") or classes
    data = Data(
        checked.kind,
        config.get("data_root") or "",
        config.get("ann_file") or None,
        config.get("data_prefix") or {},
        [classes] if isinstance(classes, str) else classes,
        len(known) if known else None,
        config,
    )
    if str(data.ann_file or "").endswith(".json") and "seg_map_path" not in data.prefix:
        check_boxes(data, checked, images)
    elif "seg_map_path" in data.prefix:
        check_masks(data, checked, images)
    else:
        checked.add(
            "only COCO annotations and index masks are checked", [checked.kind], fault=False
        )


def _check_evaluator(checked: Checked, evaluator: Any) -> None:
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        path = metric.get("ann_file") if isinstance(metric, Mapping) else None
        if path and not Path(path).is_file():
            checked.add("the evaluator's ann_file must exist", [path], fix="correct ann_file")
