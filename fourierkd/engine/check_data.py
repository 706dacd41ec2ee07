"""``fourierkd data check``: in flow a run config and options, out flow a table and an exit code."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fourierkd.data.check import check_config
from fourierkd.data.findings import Checked
from fourierkd.distill.refusals import refusals
from fourierkd.distill.registry import DATASETS, register_scope
from fourierkd.engine.config import load_config
from fourierkd.errors import ConfigError

ADDED = ("img_suffix", "seg_map_suffix", "reduce_zero_label")


def check_data(
    config: str | Path,
    options: Mapping[str, Any],
    *,
    images: int,
    console: Console | None = None,
) -> int:
    """Check the data of a run config and print what was found.

    Args:
        images: how many images of a data set are decoded.

    Returns:
        Exit code: 0 where nothing is wrong (notes are not), else 1.

    Raises:
        ConfigError: the config is wrong, describes no data, or ``images`` is below 1.
    """
    if images < 1:
        raise ConfigError("--images must be at least 1", value=images)
    parts = check_config(load_config(config, options).to_dict(), defaults, images=images)
    if not parts:
        raise ConfigError("a config to check has data loaders", value=str(config))
    _show(parts, console or Console())
    return int(any(part.faults for part in parts))


def defaults(kind: str) -> dict[str, Any]:
    """What the class of a data set adds to its config: class names, suffixes, zero label.

    Raises:
        ConfigError: no such class.
    """
    with refusals(), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages name optional ones that are not installed
        register_scope(kind.rpartition(".")[0] or "mmengine")
        dataset = DATASETS.get(kind)
    if dataset is None:
        raise ConfigError("unknown type of a dataset in the config", value=kind)
    added: dict[str, Any] = {"classes": dataset.METAINFO.get("classes")}
    for cls in dataset.__mro__:  # a subclass may hand a suffix on by **kwargs
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name in ADDED and parameter.default is not inspect.Parameter.empty:
                added.setdefault(name, parameter.default)
    return added


def _show(parts: list[Checked], console: Console) -> None:
    table = Table("split", "data set", "images", "opened", "state")
    for part in parts:
        state = f"[red]{part.faults} wrong[/red]" if part.faults else "[green]fine[/green]"
        table.add_row(part.split, part.kind, str(part.images), str(part.opened), state)
    console.print(table)
    for part in parts:
        for found in part.findings:
            line = f"{part.split}: {'' if found.fault else 'note: '}{found.what}"
            line += f" ({found.count} not)" if found.fault and found.count > 1 else ""
            line += f" ({found.count})" if not found.fault and found.count > 1 else ""
            line += f": {found.example}" if found.example else ""
            line += f"; {found.fix}" if found.fix else ""
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not any(part.faults for part in parts):
        console.print("nothing is wrong with the data")
