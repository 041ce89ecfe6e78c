"""Explains pydantic's validation errors in plain words, for whoever wrote the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from scaffold.errors import unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST = 1000
# Authors of task files do not know pydantic's names for types.
_IN_YAML = {
    "tuple_type": "should be a list",
    "model_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "string_type": "should be text",
    "missing": "is missing",
}


def first_fault(error: ValidationError) -> ErrorDetails:
    """Return the fault to report. An unknown key comes first: it is often a misspelt form of what is missing."""
    faults = error.errors(include_url=False)
    return next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])


def places_in(error: ValidationError) -> list[tuple[str, str]]:
    """Return each fault's place (empty for the whole) and message, without the values given.

    Of a flood, such as a long list of non-texts, only the number: pydantic takes seconds to list a million.
    """
    count = error.error_count()
    if count > _MOST:
        return [("", f"{count:,} of its parts are not valid")]
    faults = error.errors(include_url=False, include_input=False)
    return [(".".join(str(part) for part in each["loc"]), each["msg"]) for each in faults]


def arguments_in_words(error: ValidationError) -> str:
    """Describe the faults of an action's arguments in one line, without the arguments themselves."""
    return "; ".join(f"{place or 'arguments'}: {said}" for place, said in places_in(error))


def result_in_words(error: ValidationError) -> str:
    """Describe in one line how an action's result does not fit, without the result itself."""
    return "; ".join(f"{place}: {said}" if place else said for place, said in places_in(error))


def in_words(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """Describe a fault of input for a model, without the value given."""
    if fault["type"] == "extra_forbidden":
        return unknown(str(fault["loc"][-1]), fields_at(model, fault["loc"][:-1]))
    said = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return _IN_YAML.get(fault["type"], said)


def fields_at(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Return the keys allowed at a place within a model."""
    return [field.alias or name for name, field in _model_at(model, place).model_fields.items()]


def _model_at(model: type[BaseModel], place: tuple[str | int, ...]) -> type[BaseModel]:
    for part in place:
        if isinstance(part, str) and part in model.model_fields:  # else it is a free name, such as an action's
            annotation = model.model_fields[part].annotation
            model = next((each for each in (annotation, *get_args(annotation)) if _is_model(each)), model)
    return model


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
