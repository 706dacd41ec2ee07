"""``fourierkd data check``: in flow a run config and options, out flow a table and an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fourierkd.config.load import load_config
from fourierkd.data.check import check_config
from fourierkd.data.findings import Checked, Depth
from fourierkd.engine.class_counts import class_findings
from fourierkd.engine.data_at_start import defaults, line
from fourierkd.errors import ConfigError


def check_data(
    config: str | Path,
    options: Mapping[str, Any],
    *,
    images: int,
    console: Console | None = None,
) -> int:
    """Check the data of a run config and print what was looked at and found.

    Args:
        images: how many images of a data set are decoded.

    Returns:
        Exit code: 0 where nothing is wrong (notes are not), else 1.

    Raises:
        ConfigError: the config is wrong, describes no data, or ``images`` is below 1.
    """
    if images < 1:
        raise ConfigError("--images must be at least 1", value=images)
    cfg = load_config(config, options)
    parts = check_config(cfg.to_dict(), defaults, Depth(images))
    if not parts:
        raise ConfigError("a config to check has data loaders", value=str(config))
    heads = Checked("model", "heads of the student", findings=class_findings(cfg))
    if cfg.get("model"):
        heads.looked.append("num_classes of the student's heads")
    _show(parts, heads, console or Console())
    return int(any(part.faults for part in (*parts, heads)))


def _show(parts: list[Checked], heads: Checked, console: Console) -> None:
    table = Table("split", "data set", "images", "opened", "state")
    for part in parts:
        state = "[green]fine[/green]" if part.looked else "[yellow]not looked at[/yellow]"
        state = f"[red]{part.faults} wrong[/red]" if part.faults else state
        table.add_row(part.split, part.kind, str(part.images), str(part.opened), state)
    console.print(table)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for part in (*parts, heads):
        for found in part.findings:
            say(line(part.split, found))
    for part in (*parts, heads):
        say(f"{part.split}: looked at {'; '.join(part.looked) or 'nothing'}")
    if not any(part.faults for part in (*parts, heads)):
        say("nothing is wrong with what was looked at")
