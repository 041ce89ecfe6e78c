"""Options whose value is code: a task file writes `module:name`, and the plug-in's options hold the object itself.

    class MyOptions(BaseModel):
        critics: tuple[Annotated[Callable[[Any], Any], Code()], ...]
        domain: Annotated[Domain, Code()]

A planner does no I/O, so the code is imported when its options are read, before the planner starts. Python callers may
also pass the object itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, get_origin

from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import Format, get_annotations

from scaffold.errors import TaskError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo

FIND = "find"
Find = Callable[[str], Any]
"""Resolves `module:name`; passed in pydantic's context under `FIND`. Raises TaskError."""


class Code:
    """Marks an option as code of the annotated type: a callable, or a runtime-checkable Protocol.

    If a Protocol is wanted and a class is given, the class is instantiated without arguments.
    """

    def __get_pydantic_core_schema__(self, wanted: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Accept the object itself, or resolve the text that names it."""
        return core_schema.with_info_plain_validator_function(
            partial(_found, wanted), serialization=core_schema.plain_serializer_function_ser_schema(named)
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the option as it stands in a task file."""
        return {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "code, as `module:name`"}


def named(thing: Any) -> str:
    """Return the name under which code is recorded: `module:name`."""
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}:{kind.__qualname__}"


def _found(wanted: Any, said: Any, info: ValidationInfo) -> Any:
    found = _find(said, info) if isinstance(said, str) else said
    if wanted is Any:
        return found
    if wanted is Callable or get_origin(wanted) is Callable:
        if not callable(found):
            raise _fault(f"{_shown(said)} is a {type(found).__name__}, which cannot be called")
        return found
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            raise _fault(f"{_shown(said)} cannot be made without arguments: {type(error).__name__}: {error}") from error
    kind = get_origin(wanted) or wanted
    if not isinstance(found, kind):
        lacking = [name for name in sorted(_members(kind)) if not hasattr(found, name)]
        what = f"has no {', '.join(lacking)}" if lacking else f"is not a {kind.__name__}"
        raise _fault(f"{_shown(said)} {what}")
    return found


def _members(kind: Any) -> set[str]:
    inherited = vars(object)
    names = {name for base in kind.__mro__ for name in (*vars(base), *get_annotations(base, format=Format.FORWARDREF))}
    return {name for name in names if not name.startswith("_") and name not in inherited}


def _find(said: str, info: ValidationInfo) -> Any:
    find: Find | None = (info.context or {}).get(FIND)
    if find is None or ":" not in said:
        raise _fault(f"{said!r} does not name code: write MODULE:NAME, such as checks:is_sound")
    try:
        return find(said)
    except TaskError as error:
        raise _fault(str(error.args[0])) from error


def _shown(said: Any) -> str:
    return repr(said) if isinstance(said, str) else named(said)


def _fault(said: str) -> PydanticCustomError:
    return PydanticCustomError("code", "{said}", {"said": said})
