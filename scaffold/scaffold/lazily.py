"""Imports a package's public names when they are first used, so that importing the package is quick (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: the package's name.
        homes: by public name, the module of `scaffold` that defines it.
    """

    def attribute(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"scaffold.{home}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute
