"""What one call may know of credentials: read when it asks, and never written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadInput, NotPerformed
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.wrapping.scrubbing import hiding

if TYPE_CHECKING:
    from scaffold.interfaces import FindsCredentials


class Revealed:
    """What one call may know, read when it asks; remembers what it was told, so that this can be hidden again."""

    __slots__ = ("_credentials", "_hide", "_names", "_told")

    def __init__(self, credentials: FindsCredentials, names: Sequence[str]) -> None:
        self._credentials = credentials
        self._names = names
        self._told: dict[str, str] = {}
        self._hide = hiding({})

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
        self._hide = hiding({told: f"[{name}]" for name, told in self._told.items()})
        return value

    def hidden(self, text: str) -> str:
        """A text with the name of each credential in the place of what it is, however that is written."""
        return self._hide(text)

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
