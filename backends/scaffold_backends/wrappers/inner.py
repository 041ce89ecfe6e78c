"""Makes the backend inside a wrapper from the spec or table in the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.errors import TaskError
from scaffold.registry import backend_of
from scaffold_backends.options import Options

if TYPE_CHECKING:
    from scaffold.interfaces import Backend


class WrapperOptions(Options):
    """Options of every wrapper around one backend.

    Attributes:
        backend: the inner backend: a spec such as `smollm2`, or a table with `use` and options.
    """

    backend: Any = None


def inner_of(spec: str, options: WrapperOptions, name: str) -> Backend:
    """Make the inner backend from `NAME:SPEC` or from the option `backend`.

    Raises:
        TaskError: none is named, or two are.
    """
    if not spec and options.backend is None:
        raise TaskError(f"{name} needs `backend`, which answers, such as `backend: smollm2`", path=("backend",))
    if spec and options.backend is not None:
        raise TaskError(f"{name} is given its backend twice: {spec!r} and `backend`", path=("backend",))
    return member_of(spec or options.backend, ("backend",))


def member_of(said: Any, path: tuple[str | int, ...]) -> Backend:
    """Make one of several inner backends; errors give its place."""
    try:
        return backend_of(said)
    except TaskError as error:
        # The registry names the family and name of a faulty backend; here its place says more.
        match error.path:
            case ("backends", str()):
                beneath: tuple[str | int, ...] = ()
            case _:
                beneath = error.path
        raise TaskError(error.args[0], path=(*path, *beneath), where=error.where) from error
