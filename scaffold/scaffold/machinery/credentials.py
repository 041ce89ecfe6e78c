"""Credentials: named by actions, found where the task says at the moment of the call, and never written down."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scaffold.errors import BadInput, NotPerformed, TaskError
from scaffold.vocabulary.canonical import canonical, decode

_SOURCES = ("env", "file")


class Credentials:
    """Where each credential is found: `{env: VARIABLE}` or `{file: PATH}`; by default the variable of its own name.

    Args:
        sources: by the credential's name.
        base: what paths are relative to.

    Raises:
        TaskError: a source is described otherwise.
    """

    def __init__(self, sources: Mapping[str, Any] | None = None, base: Path | None = None) -> None:
        self._sources: dict[str, tuple[str, str]] = {}
        self._base = base or Path.cwd()
        for name, said in (sources or {}).items():
            if not isinstance(said, Mapping) or len(said) != 1 or not set(said) <= set(_SOURCES):
                raise TaskError(
                    "says where it is found: {env: VARIABLE} or {file: PATH}; never what it is",
                    path=("credentials", name),
                )
            ((kind, where),) = said.items()
            if not isinstance(where, str) or not where:
                raise TaskError("is text", path=("credentials", name, kind))
            self._sources[name] = (kind, where)

    def check(self, names: Sequence[str], action: str) -> None:
        """Find out before a run that all that an action needs is there.

        Raises:
            TaskError: one of them is not; the message says where it was looked for.
        """
        for name in names:
            try:
                self.read(name)
            except BadInput as error:
                raise TaskError(f"{action!r} needs it: {error}", path=("credentials", name)) from None

    def read(self, name: str) -> str:
        """A credential as it is now.

        Raises:
            BadInput: it is not there, or empty.
        """
        kind, where = self._sources.get(name, ("env", name))
        if kind == "env":
            value = os.environ.get(where, "")
            if not value:
                raise BadInput(f"the environment variable {where} is not set: set it, or name another in `credentials`")
            return value
        path = self._base / Path(where).expanduser()
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise BadInput(f"the file {path} cannot be read: {said}") from None
        if not value:
            raise BadInput(f"the file {path} is empty")
        return value


class Revealed:
    """What one call may know, read when it asks; remembers what it was told, so that this can be hidden again."""

    __slots__ = ("_credentials", "_names", "_told")

    def __init__(self, credentials: Credentials, names: Sequence[str]) -> None:
        self._credentials = credentials
        self._names = names
        self._told: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<credentials {', '.join(self._names) or 'none'}>"

    def __getitem__(self, name: str) -> str:
        """A credential that the action declares.

        Raises:
            KeyError: it does not declare it.
            NotPerformed: it is not there any more.
        """
        if name not in self._names:
            raise KeyError(f"the action does not declare the credential {name!r}")
        try:
            value = self._told[name] = self._credentials.read(name)
        except BadInput as error:
            raise NotPerformed(f"the credential {name} is not there: {error}") from None
        return value

    def hidden(self, text: str) -> str:
        """A text with the name of each credential in the place of what it is; as it stands, and as URLs have it."""
        for name, value in sorted(self._told.items(), key=lambda each: -len(each[1])):
            for form in (value, quote(value, safe=""), quote(value)):
                text = text.replace(form, f"[{name}]")
        return text

    def hidden_in(self, value: bytes) -> bytes:
        """The same in the canonical bytes of a value."""
        return canonical(self._within(decode(value))) if self._told else value

    def _within(self, value: Any) -> Any:
        match value:
            case str():
                return self.hidden(value)
            case list():
                return [self._within(each) for each in value]
            case dict():
                return {self.hidden(name): self._within(each) for name, each in value.items()}
            case int() | float() if not isinstance(value, bool):
                hidden = self.hidden(repr(value))
                return value if hidden == repr(value) else hidden
            case _:
                return value
