"""What a run looks at of its data before it trains: in flow a run config, out flow warnings.

Annotations are read as a whole, of some images the heads, of one mask the values, or of as many as
it takes to see two labels. ``fourierkd data check`` opens more. What only a sample's pixels tell is
found where it is loaded (``loaders``).
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from fourierkd.config.load import RunConfig
from fourierkd.data.check import BOXES, MASKS, check_config
from fourierkd.data.findings import Depth, Finding
from fourierkd.distill.refusals import refusals, unknown_type
from fourierkd.distill.registry import DATASETS, register_scope
from fourierkd.errors import ConfigError, DataError

ADDED = ("img_suffix", "seg_map_suffix", "reduce_zero_label")
READERS = {"mmdet.datasets.coco": BOXES, "mmseg.datasets.basesegdataset": MASKS}
AT_START = Depth(pixels=0, headers=50, files=False)


def check_at_start(config: RunConfig, *, without: tuple[str, ...] = ()) -> list[str]:
    """What is probably wrong with the data, a sentence each.

    Args:
        config: a whole run config, whose data are in place.
        without: splits that are not read.

    Raises:
        DataError: something is wrong that nobody can mean.
    """
    plain = config.to_dict()
    for split in without:
        plain.pop(f"{split}_dataloader", None)
    said: list[str] = []
    for part in check_config(plain, known_defaults, AT_START):
        for found in part.findings:
            if found.refused:
                raise DataError(
                    f"{part.split} data: {found.what}", value=found.example, fix=found.fix
                )
            if found.fault:
                said.append(line(part.split, found))
    return said


def line(split: str, found: Finding) -> str:
    """A finding as one line."""
    text = f"{split}: {'' if found.fault else 'note: '}{found.what}"
    if found.count > 1:
        text += f" ({found.count} not)" if found.fault else f" ({found.count})"
    text += f": {found.example}" if found.example else ""
    return text + (f"; {found.fix}" if found.fix else "")


def known_defaults(kind: str) -> dict[str, Any]:
    """As ``defaults``; nothing for an unknown class, which its loader refuses with near names."""
    try:
        return defaults(kind)
    except ConfigError:
        return {}


def defaults(kind: str) -> dict[str, Any]:
    """What the class of a data set adds to its config: class names, suffixes, zero label; and what
    it reads, None where that is neither COCO annotations nor index masks.

    Raises:
        ConfigError: no such class.
    """
    with refusals(), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages name optional ones that are not installed
        register_scope(kind.rpartition(".")[0] or "mmengine")
        dataset = DATASETS.get(kind)
    if dataset is None:
        raise unknown_type(kind, DATASETS)
    metainfo = getattr(dataset, "METAINFO", {})
    added: dict[str, Any] = {"classes": metainfo.get("classes"), "reads": reads(dataset)}
    if added["reads"] is None and MASKS in bases(dataset):
        added |= {"reads": MASKS, "listed": mask_pairs}
    added |= _set_by(dataset)
    for cls in dataset.__mro__:  # a subclass may hand a suffix on by **kwargs
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name in ADDED and parameter.default is not inspect.Parameter.empty:
                added.setdefault(name, parameter.default)
    return added


def _set_by(dataset: type) -> dict[str, Any]:
    """What an instance has: its class may hand a fixed suffix on to its base."""
    made: Any = object.__new__(dataset)
    with suppress(Exception), redirect_stdout(io.StringIO()):  # it may want more, or look for files
        made.__init__(lazy_init=True)
    return {name: value for name, value in vars(made).items() if name in ADDED}


def mask_pairs(config: Mapping[str, Any]) -> list[tuple[Path, Path]]:
    """Images and masks of a data set whose class lists them in its own way.

    None of them where it cannot be built: its loader refuses it, and says why.
    """
    with suppress(Exception), redirect_stdout(io.StringIO()):
        dataset = DATASETS.build({**config, "pipeline": []})
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        return [(Path(info["img_path"]), Path(info["seg_map_path"])) for info in infos]
    return []


def bases(dataset: type) -> set[str | None]:
    """What the classes that it is made of read."""
    return {READERS.get(cls.__module__) for cls in dataset.__mro__}


def reads(dataset: type) -> str | None:
    """COCO annotations or index masks; None where a class lists its samples in a way of its own."""
    methods = (getattr(dataset, name, None) for name in ("load_data_list", "parse_data_info"))
    modules = {getattr(method, "__module__", None) for method in methods}
    known = modules - {BaseDataset.__module__}
    return READERS.get(known.pop() or "") if len(known) == 1 else None
