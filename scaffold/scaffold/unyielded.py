"""Finds moves that a planner makes and does not yield: such a call does nothing, and nothing else would tell of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from tokenize import TokenError
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from scaffold import planning

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_LOOKED_AT: WeakKeyDictionary[CodeType, str] = WeakKeyDictionary()  # an agent may be made for each task


def unyielded(planner: Callable[..., Any]) -> str:
    """Say where a planner, or a generator that it calls, makes a move without yielding it; empty if nowhere.

    Such a call would silently do nothing. Code whose source is not available is skipped.
    """
    planner = inspect.unwrap(planner)
    code = getattr(planner, "__code__", None)
    if code is None:
        return ""
    if code not in _LOOKED_AT:
        _LOOKED_AT[code] = _unyielded(planner)
    return _LOOKED_AT[code]


def _unyielded(planner: Callable[..., Any]) -> str:
    ahead: list[Any] = [planner]
    seen: set[Any] = set()
    while ahead:
        function = ahead.pop()
        if function in seen:
            continue
        seen.add(function)
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, TokenError):  # the file may have changed since
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = _meant(node.value.func, function)
                if called is not None and called.__module__ == planning.__name__:
                    where = f"{function.__code__.co_filename}:{first + node.lineno - 1}"
                    name = ast.unparse(node.value.func)
                    return f"{where}: {name}(...) does nothing by itself: write `yield from {name}(...)`"
            elif isinstance(node, ast.Call):
                called = _meant(node.func, function)
                if called is not None and called.__module__ == function.__module__:
                    ahead.append(called)
    return ""


def _meant(said: ast.expr, within: Any) -> Any:
    """Return the generator function that a name, perhaps qualified by a module, refers to; None if it is none."""
    first, *rest = ast.unparse(said).split(".")
    code = within.__code__
    if first in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        return None  # known only at run time
    found = within.__globals__.get(first)
    for name in rest:
        found = getattr(found, name, None) if inspect.ismodule(found) else None
    return found if inspect.isgeneratorfunction(found) else None
