"""What a registry refuses, in one line: in flow MMEngine's exceptions, out flow ``ConfigError``s.

MMEngine builds optimizers, loops, data sets, hooks, transforms, metrics and models from dicts with
a ``type``. A mistyped key or type there is a bare TypeError or KeyError without near names; the
class and the registry that it was meant for are in the frame of ``build_from_cfg``.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.registry import Registry

from fourierkd.errors import ConfigError, FourierKDError, near, one_line

_UNEXPECTED = re.compile(r"__init__\(\) got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"__init__\(\) missing \d+ required [\w-]+ arguments?: (.+)")
_UNKNOWN = re.compile(r"(\S+) is not in the (\S+?)::(.+?) registry")


@contextmanager
def refusals() -> Iterator[None]:
    """Within: a key, type or value of the config that its class refuses is a ConfigError."""
    try:
        yield
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        refused = refusal(error)
        if refused is None:
            raise
        raise refused from error


def told(error: BaseException) -> str:
    """What an exception of somebody else's code says and where, for a line of ours."""
    trace = traceback.extract_tb(error.__traceback__)[-1]
    text = one_line(error)[:300]
    place = "/".join(Path(trace.filename).parts[-2:])
    return f"{type(error).__name__}: {text}, in {place}:{trace.lineno}"


@contextmanager
def told_in_one_line(rule: str, **more: Any) -> Iterator[None]:
    """Within: whatever a class raises over its values, or in its work, is a ConfigError.

    For work that ends in seconds and that nobody has to go on with; files and memory are no matter
    of the config.
    """
    try:
        with refusals():
            yield
    except (FourierKDError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"{rule} ({told(error)})", **more) from error


def refusal(error: Exception) -> ConfigError | None:
    """``error`` as one line, with near names, if what a config's dict says caused it, else None."""
    frame, inner = _build_frame(error)
    if frame is None:
        return None
    if isinstance(error, KeyError):
        found = _UNKNOWN.match(str(error.args[0])) if error.args else None
        if found is None:
            return None
        return unknown_type(found[1], frame.f_locals["registry"])
    kind, arguments = frame.f_locals.get("obj_cls"), frame.f_locals.get("args", {})
    if isinstance(error, (ValueError, AssertionError)):
        if not inspect.isclass(kind) or not str(error):
            return None
        reason = one_line(error)
        return ConfigError(
            f"{kind.__name__} refuses its values in the config ({reason})", fix="correct them"
        )
    if not inspect.isclass(kind) or any(name != "__init__" for name in inner):
        return None
    unexpected, missing = _UNEXPECTED.search(str(error)), _MISSING.search(str(error))
    if unexpected is not None and unexpected[1] in arguments:  # else a constructor's own mistake
        return ConfigError(
            f"unknown key of {kind.__name__} in the config",
            value=unexpected[1],
            fix=near(unexpected[1], _parameters(kind)[0]),
        )
    if missing is not None:
        return ConfigError(f"{kind.__name__} in the config needs {missing[1]}", fix="add it")
    return None


def unknown_type(kind: str, registry: Registry) -> ConfigError:
    """That no class of a registry has the name, with the packages that have it, or near names."""
    top = registry
    while top.parent is not None:
        top = top.parent
    elsewhere = [
        f"{scope}.{kind}" for scope, part in top.children.items() if kind in part.module_dict
    ]
    article = "an" if registry.name[0] in "aeio" else "a"
    return ConfigError(
        f"unknown type of {article} {registry.name} in the config",
        value=kind,
        fix=near(kind, elsewhere or registered(registry)),
    )


def check_keys(config: Mapping[str, Any], registry: Registry) -> None:
    """Refuse a type that no class has and keys that its class does not take; nothing is built.

    Raises:
        ConfigError: with near names.
    """
    kind = config["type"]
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(config.get("_scope_")) as own:  # as it is built
            kind = own.get(kind)
            if kind is None:
                raise unknown_type(config["type"], own)
    known, open_ = _parameters(kind)
    for key in config.keys() - known - {"type", "_scope_"}:
        if not open_:
            raise ConfigError(
                f"unknown key of {kind.__name__} in the config", value=key, fix=near(key, known)
            )


def _build_frame(error: Exception) -> tuple[FrameType | None, list[str]]:
    """The innermost frame of ``build_from_cfg``, and the names of the functions it had called."""
    frame: FrameType | None = None
    inner: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "build_from_cfg":
            frame, inner = trace.tb_frame, []
        else:
            inner.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return frame, inner


def _parameters(kind: type) -> tuple[set[str], bool]:
    """Keys that a class takes, those it hands to its bases by ``**kwargs`` included, and whether it
    takes any other.
    """
    names: set[str] = set()
    for cls in kind.__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
        variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        names |= {p.name for p in parameters if p.kind not in variable}
        if all(p.kind != inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names - {"self"}, False
    return names - {"self"}, True


def registered(registry: Any) -> set[str]:
    """Types of a registry and of those it falls back to."""
    names: set[str] = set()
    while isinstance(registry, Registry):
        names |= set(registry.module_dict)
        registry = registry.parent
    return names
