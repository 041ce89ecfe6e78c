"""Loads the CEL library without its command line.

`import cel` also imports an interactive shell, which would cost every run half a second. Rules need only its
extension module. It is registered under its own name, so an application that imports `cel` shares it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cel


def _extension() -> Any:
    name = "cel.cel"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("cel")
    spec = PathFinder.find_spec(name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_loaded = _extension()


def compile_cel(source: str) -> cel.Program:
    """Compile an expression.

    Raises:
        ValueError: it does not parse; the message has line and column, counted from 1.
    """
    program: cel.Program = _loaded.compile(source)
    return program


def new_context(variables: dict[str, Any] | None = None) -> cel.Context:
    """Make a context that holds these variables, converted once."""
    context: cel.Context = _loaded.Context(variables or {})
    return context
