"""The interface of a dialect, which is what differs between APIs: writing a request, folding its events into Deltas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.characters import clean, cleaned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaffold.vocabulary.models import Ability, Delta, Prices, ReasoningVisibility, Request

Event = TypeVar("Event")


class Reader(Protocol):
    """Folds the events of one request into Deltas."""

    def read(self, event: Any) -> Iterable[Delta]:
        """Take the next event.

        Raises:
            BadResponse: it is not valid.
        """
        ...

    def end(self) -> Delta:
        """Return the last Delta, with the usage and its price.

        Raises:
            BadResponse: a sample has not ended, so the stream was cut.
        """
        ...


class Dialect(Protocol):
    """One API, for one model.

    Attributes:
        name: its name in the option `dialect`.
        path: path after the base URL, query included.
        auth: the header for the key.
        headers: further headers.
        mark: bytes that only this API's first event contains.
        reasoning: how much of the model's reasoning will be shown, and whether that is a guess.
        can: its abilities for this model.
    """

    name: str
    path: str
    auth: str
    headers: dict[str, str]
    mark: bytes
    reasoning: tuple[ReasoningVisibility, bool]
    can: frozenset[Ability]

    def body(self, request: Request) -> dict[str, Any]:
        """Write a request."""
        ...

    def decode(self, data: bytes) -> Any:
        """Read one event's data.

        Raises:
            BadResponse: it is not an event.
        """
        ...

    def error_in(self, event: Any) -> Any:
        """Return the error in an event, as decoded JSON; None if there is none."""
        ...

    def is_preamble(self, event: Any) -> bool:
        """Whether an event only says that the work has begun, so that a retry is still safe."""
        ...

    def is_last(self, event: Any) -> bool:
        """Whether an event is the last one."""
        ...

    def reader(self, request: Request, prices: Prices | None) -> Reader:
        """Make a reader for one request."""
        ...


def decoded(data: bytes, decoder: msgspec.json.Decoder[Event], what: str) -> Event:
    """Decode an event; invalid UTF-8 and lone surrogates become U+FFFD.

    Half of a surrogate pair at the end of a text stays, since its other half may be in another event.

    Raises:
        BadResponse: it is not JSON, or not of the decoder's type. The message has the whole event, since a key that is
            cut in two could not be found and hidden later.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    text = data.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadResponse(f"an event that is not JSON: {clean(text)!r}") from None
    try:
        return msgspec.convert(cleaned(value, ends=True), decoder.type)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadResponse(f"not {what}: {error}: {clean(text)!r}") from None
