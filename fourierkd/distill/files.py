"""MMEngine's file readers without code in files: in flow annotation files, out flow plain data.

Its data sets read whatever ``mmengine.fileio.load`` reads, by the suffix: a pickle and a YAML file
of a stranger run what is in them. Writing stays as it is.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import PickleHandler, YamlHandler

from fourierkd.errors import DataError

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@register_handler(["pkl", "pickle"])
class RefusedPickles(PickleHandler):
    """Writes pickles, such as ``DumpResults``'s, and refuses to read one."""

    def load_from_path(self, filepath: Any, **_: Any) -> NoReturn:
        """By the file's name."""
        raise DataError(
            "a pickle can run code, so none is read",
            value=str(filepath),
            fix="convert it, where you trust it, to JSON",
        )

    def load_from_fileobj(self, file: Any, **_: Any) -> NoReturn:
        """From what is open already."""
        self.load_from_path(getattr(file, "name", "a pickle"))


@register_handler(["yaml", "yml"])
class PlainYaml(YamlHandler):
    """Reads YAML's plain data only; tags that name Python objects are an error."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """A mapping, list, number or text."""
        return super().load_from_fileobj(file, **{"Loader": SAFE_LOADER, **kwargs})
