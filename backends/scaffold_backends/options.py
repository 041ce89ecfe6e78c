"""Reads the options that a task gives to a backend."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from scaffold.errors import TaskError, nearest
from scaffold.fitting import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping


class Options(BaseModel):
    """Base of every backend's options; unknown ones are refused, so that typos are found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool):  # pydantic takes it for 0 or 1
            wanted = cls.model_fields[str(info.field_name)].annotation
            kinds = {getattr(kind, "__origin__", kind) for kind in (wanted, *get_args(wanted))}  # without bounds
            if bool not in kinds and kinds & {int, float}:
                raise ValueError("should be a number")
        return value


AnyOptions = TypeVar("AnyOptions", bound=Options)


def read_options(kind: type[AnyOptions], given: Mapping[str, object], backend: str) -> AnyOptions:
    """Check options against their model.

    Raises:
        TaskError: an option is unknown, or its value does not fit; says which, and the nearest known name.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    # Unknown names come first, since a missing option is often the one that was misspelt.
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    path = tuple(fault["loc"])
    if fault["type"] == "extra_forbidden" and len(path) == 1:
        known = [field.alias or name for name, field in kind.model_fields.items()]
        message = f"{backend} has no option {path[0]!r}{nearest(str(path[0]), known)} (options: {', '.join(known)})"
        raise TaskError(message, path=path)
    if fault["type"] == "missing":
        raise TaskError(f"{backend} needs {path[-1]!r}", path=path)
    raise TaskError(f"option of {backend}: {in_words(fault, kind)}, not {fault['input']!r}", path=path)


def threads_of(said: int | None, model: str) -> int | None:
    """Return the number of threads, at most that of processors, since more would wait for each other endlessly.

    Args:
        said: the number in the task; None leaves it to the library.
        model: name of the model, for the warning if there are fewer processors.
    """
    there = os.cpu_count() or 1
    if said is None or said <= there:
        return said
    warnings.warn(f"threads is {said}, but there are {there} processors: {model} uses {there}", stacklevel=2)
    return there
