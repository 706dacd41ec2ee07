"""Everything of the scope ``fourierkd`` that a config may name, registered: nothing flows."""

from __future__ import annotations

from collections.abc import Iterable

from fourierkd.distill import distiller as distiller  # it and the losses register themselves
from fourierkd.distill.registry import register_scope


def register_all(scopes: Iterable[str] = ()) -> None:
    """Register the distiller, the losses and the packages behind ``scopes``; repeating is free.

    Args:
        scopes: which of ``mmdet`` and ``mmseg`` a config uses (each costs one to two seconds to
            import); other names are taken as packages that register themselves when imported.

    Raises:
        ConfigError: a package is not installed.
    """
    for scope in scopes:
        register_scope(scope)
