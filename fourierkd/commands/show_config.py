"""``fourierkd config``: in flow a run config and options, out flows the text that a run would have.

Everything that ``train`` refuses before it makes a folder is refused here in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fourierkd.engine.prepare import resolve_config
from fourierkd.errors import ConfigError, near
from fourierkd.literals import value_text


def resolved_text(config: str, options: Mapping[str, Any], *, key: str | None = None) -> str:
    """What ``config.py`` of a run folder holds, or the value of one of its keys.

    Args:
        config: a run config: a file, or ``mmdet::name``.
        options: dotted options on it.
        key: a dotted key, such as ``model.losses`` or ``param_scheduler.0.type``; None: all.

    Returns:
        Python text that ends with a line break; ``load_config`` reads the whole one back.

    Raises:
        ConfigError: as ``train`` raises it; or there is no such key.
    """
    resolved = resolve_config(config, options)
    if key is None:
        return resolved.pretty_text
    return value_text(_value(resolved.to_dict(), key)) + "\n"


def _value(values: Any, key: str) -> Any:
    found = values
    names = key.split(".")
    for number, name in enumerate(names):
        known = found if isinstance(found, Mapping) else {}
        if isinstance(found, list | tuple):
            known = {str(index): item for index, item in enumerate(found)}
        if name not in known:
            raise ConfigError(
                "the resolved config has no such key",
                value=".".join(names[: number + 1]),
                fix=near(name, known),
            )
        found = known[name]
    return found
