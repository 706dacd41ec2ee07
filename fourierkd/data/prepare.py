"""In flows ``prepare_data`` of a run config, out flows a whole data folder at ``data_root``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fourierkd.data.shapes import ShapesSpec
from fourierkd.data.shapes_folder import reading_shapes
from fourierkd.errors import ConfigError, near

KINDS = ("shapes",)


@contextmanager
def prepared(
    cfg: dict[str, Any], data_root: str | os.PathLike[str], *, reader: str
) -> Iterator[None]:
    """Make the data that ``cfg`` describes at ``data_root``, unless it lies there whole.

    Within, nobody replaces them.

    Args:
        cfg: ``dict(kind="shapes", seed=0, size=400, ...)``; the other keys are the fields of
            ``ShapesSpec``.
        reader: by which others are told whom to wait for, such as a run's folder.

    Raises:
        ConfigError: no or an unknown kind, an unknown key or a value out of range.
        DataError: ``data_root`` holds files that are not ours, or data of other parameters.
    """
    parameters = dict(cfg)
    kind = parameters.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError("prepare_data needs a known kind", value=kind, fix=near(str(kind), KINDS))
    with reading_shapes(data_root, ShapesSpec.from_dict(parameters), reader=reader):
        yield
