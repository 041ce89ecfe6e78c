"""Reads a task's inputs: values in its file, and other files that it refers to.

Examples: `suppliers: {file: suppliers.csv}` and `letter: {file: letter.txt, untrusted: true}`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold import document as documents
from scaffold.errors import TaskError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.document import Document, Place


def read_inputs(document: Document) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs by name, and the names of the untrusted ones.

    Raises:
        TaskError: an input cannot be read.
    """
    said = document.value.get("inputs")
    if said is None:
        return {}, []
    if not isinstance(said, dict):
        raise document.fault("should be a mapping of names to values or to `{file: ...}`", ("inputs",))
    inputs, untrusted = {}, []
    for name, value in said.items():
        if isinstance(value, dict) and "file" in value:
            inputs[name] = _from_file(document, ("inputs", name), value)
            if value.get("untrusted"):
                untrusted.append(name)
        elif isinstance(value, dict) and value.get("untrusted") is True:
            # Refused, not taken for a value, as in a file's settings.
            wrong = "has no `file` beside it: to mark a value, list its name under the task's `untrusted`"
            raise document.fault(wrong, ("inputs", name, "untrusted"))
        else:
            inputs[name] = value
    return inputs, untrusted


def _from_file(document: Document, place: Place, said: dict[str, Any]) -> Any:
    for key in said:
        if key not in {"file", "untrusted"}:
            # Refused, not taken for a value: a misspelt `untrusted` would make untrusted data trusted.
            hint = nearest(key, ["untrusted"]) or "; beside `file` only `untrusted` is allowed"
            raise document.fault(f"is not known{hint}", (*place, key))
    if not isinstance(said.get("untrusted", False), bool):
        raise document.fault("should be true or false", (*place, "untrusted"))
    name = said["file"]
    if not isinstance(name, str):
        raise document.fault("should be the path of a file", (*place, "file"))
    path = document.path.parent / name
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise document.fault(f"{name!r} has a type that cannot be read; expected one of {known}", (*place, "file"))
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise document.fault(f"{name!r} is not a regular file", (*place, "file"))
        return reader(path)
    except FileNotFoundError:
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise document.fault(f"there is no file {name!r}{nearest(path.name, beside)}", (*place, "file")) from None
    except OSError as error:
        raise document.fault(f"cannot read {name!r}: {error.strerror}", (*place, "file")) from None
    except UnicodeDecodeError as error:
        raise document.fault(f"{name!r} is not UTF-8 text (byte {error.start})", (*place, "file")) from None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _rows(path: Path) -> list[dict[str, str]]:
    """Return a table's rows, keyed by the names in its first line; every field stays text."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, [])
            doubled = next((name for name in header if header.count(name) > 1), None)
            if doubled is not None:
                raise TaskError(f"two columns are named {doubled!r}", where=f"{path}:1")
            rows = []
            for row in lines:
                if row and len(row) != len(header):
                    said = f"has {len(row)} fields, but the first line names {len(header)} columns"
                    raise TaskError(said, where=f"{path}:{lines.line_num}")
                if row:
                    rows.append(dict(zip(header, row, strict=True)))
        except csv.Error as error:
            raise TaskError(f"is not a table: {error}", where=f"{path}:{lines.line_num}") from None
    return rows


def _json(path: Path) -> Any:
    def refuse(name: str) -> None:
        raise TaskError(f"{name} is not a number that can be recorded", where=str(path))

    text = _text(path)
    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise TaskError(f"is not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    except ValueError:  # Python's own limit on digits
        raise TaskError("has a number with too many digits", where=str(path)) from None
    except RecursionError:
        raise TaskError("is nested too deeply", where=str(path)) from None


def _yaml(path: Path) -> Any:
    return documents.read(path).value


_READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _rows,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".txt": _text,
    ".md": _text,
}
