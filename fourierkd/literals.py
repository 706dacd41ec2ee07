"""A resolved config as text and back: in flow plain values, out flow ``key = value`` lines of them.

The lines are Python, so that MMEngine reads them too. Read here they are data: nothing in a file
that came with a run folder or a checkpoint is run.
"""

from __future__ import annotations

import ast
import math
import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fourierkd.errors import ConfigError


def config_text(values: Mapping[str, Any]) -> str:
    """``key = value`` lines that Python reads back to equal values."""
    return "".join(f"{key} = {value_text(value)}\n" for key, value in values.items())


def value_text(value: Any) -> str:
    """One value as Python source.

    >>> value_text({"lr": float("inf")})
    "{'lr': float('inf')}"
    """
    return _Printer(width=100, sort_dicts=False).pformat(value)


def read_literals(path: Path) -> dict[str, Any]:
    """The values of a file of ``config_text``, which is not run.

    Raises:
        ConfigError: it cannot be read, or holds anything but ``key = value`` lines of literals.
    """
    values: dict[str, Any] = {}
    try:
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                raise ValueError(f"line {node.lineno} is no `key = value`")
            (target,) = node.targets
            if not isinstance(target, ast.Name):
                raise ValueError(f"line {node.lineno} is no `key = value`")
            values[target.id] = ast.literal_eval(_Floats().visit(node.value))
    except (OSError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"a config beside a checkpoint is plain values and is not run ({error})",
            value=str(path),
            fix="where you trust it, name it: --config FILE",
        ) from error
    return values


class _Floats(ast.NodeTransformer):
    """``float('inf')`` and ``float('nan')``, the numbers that have no literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "float" and len(node.args) == 1 and not node.keywords:
            text = ast.literal_eval(node.args[0])
            return ast.copy_location(ast.Constant(float(text)), node)
        return node


class _Printer(pprint.PrettyPrinter):
    """pprint whose floats and paths are valid source."""

    def format(
        self, object: Any, context: dict[int, int], maxlevels: int, level: int
    ) -> tuple[str, bool, bool]:
        if isinstance(object, float) and not math.isfinite(object):
            return f"float({str(object)!r})", True, False
        if isinstance(object, Path):
            return repr(str(object)), True, False
        return super().format(object, context, maxlevels, level)
