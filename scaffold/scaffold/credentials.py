"""Credentials: named by actions and sources of actions, looked up where the task says, when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaffold.errors import BadInput, TaskError

_SOURCES = ("env", "file")


class Credentials:
    """Where each credential is: `{env: VARIABLE}` or `{file: PATH}`; by default the variable of its own name.

    Args:
        sources: by the credential's name.
        base: folder that paths are relative to.

    Raises:
        TaskError: a source is described in another way.
    """

    def __init__(self, sources: Mapping[str, Any] | None = None, base: Path | None = None) -> None:
        self._sources: dict[str, tuple[str, str]] = {}
        base = base or Path.cwd()
        for name, said in (sources or {}).items():
            if not isinstance(said, Mapping) or len(said) != 1 or not set(said) <= set(_SOURCES):
                raise TaskError(
                    "should say where the credential is found: {env: VARIABLE} or {file: PATH}, never its value",
                    path=("credentials", name),
                )
            ((kind, where),) = said.items()
            if not isinstance(where, str) or not where:
                raise TaskError("should be text", path=("credentials", name, kind))
            self._sources[name] = (kind, where if kind == "env" else str(base / Path(where).expanduser()))

    def __eq__(self, other: object) -> bool:
        """Whether all credentials are looked up in the same places."""
        return isinstance(other, Credentials) and self._sources == other._sources

    __hash__ = None  # type: ignore[assignment]  # never kept in a set

    def check(self, names: Sequence[str], action: str) -> None:
        """Check before a run that all credentials an action needs exist.

        Raises:
            TaskError: one of them does not; the message says where it was looked for.
        """
        for name in names:
            try:
                self.read(name)
            except BadInput as error:
                raise TaskError(f"{action!r} needs this credential: {error}", path=("credentials", name)) from None

    def read(self, name: str) -> str:
        """Return a credential's current value.

        Raises:
            BadInput: it is missing or empty.
        """
        kind, where = self._sources.get(name, ("env", name))
        if kind == "env":
            value = os.environ.get(where, "")
            if not value:
                raise BadInput(f"the environment variable {where} is not set: set it, or name another in `credentials`")
            return value
        path = Path(where)
        try:
            value = path.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not text"
            raise BadInput(f"the file {path} cannot be read: {said}") from None
        if not value:
            raise BadInput(f"the file {path} is empty")
        return value
