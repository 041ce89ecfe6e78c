"""Credentials of one call: read when the action asks for them, and never recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, NotPerformed
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.wrapping.scrubbing import hidden_in, hiding

if TYPE_CHECKING:
    from scaffold.interfaces import FindsCredentials


class Revealed:
    """The credentials one call may read; remembers those it has given out, so that results can be redacted."""

    __slots__ = ("_credentials", "_hide", "_names", "_told")

    def __init__(self, credentials: FindsCredentials, names: Sequence[str]) -> None:
        self._credentials = credentials
        self._names = names
        self._told: dict[str, str] = {}
        self._hide = hiding({})

    def __repr__(self) -> str:
        return f"<credentials {', '.join(self._names) or 'none'}>"

    def __getitem__(self, name: str) -> str:
        """Return a credential that the action declares.

        Raises:
            KeyError: the action does not declare it.
            NotPerformed: it no longer exists.
        """
        if name not in self._names:
            raise KeyError(f"the action does not declare the credential {name!r}")
        try:
            value = self._told[name] = self._credentials.read(name)
        except BadInput as error:
            raise NotPerformed(f"the credential {name} is missing: {error}") from None
        self._hide = hiding({told: f"[{name}]" for name, told in self._told.items()})
        return value

    def hidden(self, text: str) -> str:
        """Return a text in which each credential, in whatever encoding, is replaced by its name."""
        return self._hide(text)

    def hidden_in(self, value: bytes) -> bytes:
        """Do the same for the canonical bytes of a value."""
        return canonical(hidden_in(decode(value), self._hide)) if self._told else value
