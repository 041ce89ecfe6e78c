"""Files of figures that were measured in other runs: a calibration, and what probes found. Task files name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from scaffold.document import show
from scaffold.errors import BadInput
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.monitorability import Monitorability

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.document import Document

T = TypeVar("T", Calibration, Monitorability)


def save(figures: Calibration | Monitorability, path: Path) -> None:
    """Write figures to a file, for a task file to name.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error


def read_calibration(document: Document) -> Calibration | None:
    """Read the calibration that a task file's `sampling` names; None if it names none.

    Raises:
        TaskError: what it names is no calibration.
    """
    table = document.value.get("sampling")
    said = table.get("calibration") if isinstance(table, dict) else None
    return _read(document, said, ("sampling", "calibration"), Calibration, "a calibration file")


def read_monitorability(document: Document) -> Monitorability | None:
    """Read the probes' figures that a task file names; None if it names none.

    Raises:
        TaskError: what it names are no such figures.
    """
    said = document.value.get("monitorability")
    return _read(document, said, ("monitorability",), Monitorability, "a file of monitorability figures")


def _read(document: Document, said: object, place: tuple[str, ...], kind: type[T], what: str) -> T | None:
    if said is None:
        return None
    if not isinstance(said, str):
        raise document.fault(f"should be a file, not {show(said)}", place)
    try:
        return msgspec.json.decode((document.path.parent / said).read_bytes(), type=kind)
    except OSError as error:
        made = f"`scaffold audit {place[-1]} --write FILE` makes it from past runs"
        raise document.fault(f"cannot read {said!r}: {error.strerror}; {made}", place) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise document.fault(f"{said!r} is not {what}: {error}", place) from None
