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
            BadResponse: it makes no sense.
        """
        ...

    def end(self) -> Delta:
        """Give the last Delta, with the usage and what it costs.

        Raises:
            BadResponse: a sample has not ended, so the stream was cut.
        """
        ...


class Dialect(Protocol):
    """One API, as one model is spoken to in it.

    Attributes:
        name: what option `dialect` calls it.
        path: what follows the base URL, query included.
        auth: the header that the key goes into.
        headers: others that it wants.
        mark: bytes that its first event contains, and no other API's.
        reasoning: how much of the model's reasoning will be shown, and whether that is a guess.
        can: what it can do for this model.
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
            BadResponse: it is no event.
        """
        ...

    def error_in(self, event: Any) -> Any:
        """The error that an event says, as decoded JSON; None when it says none."""
        ...

    def is_preamble(self, event: Any) -> bool:
        """Whether an event says only that the work has begun, so that asking again is still safe."""
        ...

    def is_last(self, event: Any) -> bool:
        """Whether nothing follows an event."""
        ...

    def reader(self, request: Request, prices: Prices | None) -> Reader:
        """Make a reader for one request."""
        ...


def decoded(data: bytes, decoder: msgspec.json.Decoder[Event], what: str) -> Event:
    """Decode an event; bytes that are no UTF-8 and lone surrogates become U+FFFD.

    Half a character at an end of a text stays: its other half may be in another event.

    Raises:
        BadResponse: it is no JSON, or not of the decoder's shape; tells all of it, since a key that is cut could not be
            found any more by who hides it.
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
