"""One POST, answered by a stream of JSON events (server-sent events), asked again where that can help."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import tenacity

from scaffold.errors import BackendUnavailable, BadResponse
from scaffold_backends.http.refusals import Refused, refusal, retry_after, stream_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from scaffold_backends.http.refusals import Origin

_LONGEST_REFUSAL = 64 * 1024  # bytes of an error's body that are read
_DRAIN_S = 0.2  # a server that keeps its stream open after the end loses the connection, not our time


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long we wait and how often we ask.

    Attributes:
        attempts: most times that one request is sent.
        backoff_s: longest first pause; it doubles with each attempt. The pause is drawn from all of it ("full
            jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        patience_s: no attempt begins later than this after the first, even where the server asks us to.
        total_s: longest that the whole answer may take, attempts and pauses included.
    """

    attempts: int
    backoff_s: float
    patience_s: float
    total_s: float


@dataclass(frozen=True, kw_only=True)
class Post:
    """What is sent.

    Attributes:
        url: where to.
        headers: with the key.
        body: JSON.
        limit: most bytes of answer that are read.
        origin: who answers, for messages.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    limit: int
    origin: Origin


@asynccontextmanager
async def exchange(client: httpx.AsyncClient, post: Post, patience: Patience) -> AsyncGenerator[AsyncIterator[Any]]:
    """Send, and give the answer's events as decoded JSON; leaving the context closes the connection.

    What can be asked again is, until the first event has come; after it, never.

    Raises:
        BackendUnavailable: nobody answered, or only with errors that were expected to pass.
        BadResponse: the answer was cut, is too long, or is no such stream.
        BackendError: another leaf, for what the server refused.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_s
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_can_pass),
        wait=_Pause(patience.backoff_s),
        stop=tenacity.stop_after_attempt(patience.attempts) | tenacity.stop_before_delay(patience.patience_s),
        reraise=True,
    )
    try:
        async with asyncio.timeout_at(deadline):
            answer: _Answer = await retrying(_begin, client, post)
    except Refused as error:
        raise _given_up(error, retrying) from None
    except (httpx.TransportError, TimeoutError) as error:
        message = (
            f"{post.origin.name} could not be reached in {_tries(retrying)}: {_reason(error)}. "
            "Check the address, and that the server runs."
        )
        raise BackendUnavailable(message) from error
    try:
        async with aclosing(answer.rest(deadline)) as events:
            yield events
    finally:
        await answer.response.aclose()


def _can_pass(error: BaseException) -> bool:
    return error.passing if isinstance(error, Refused) else isinstance(error, httpx.TransportError)


class _Pause(tenacity.wait.wait_base):
    """As long as the server asks for; else exponential, with jitter."""

    def __init__(self, backoff_s: float) -> None:
        self._backoff = tenacity.wait_random_exponential(multiplier=backoff_s, max=60)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, Refused) else None
        # Never less than asked: the jitter, which keeps a crowd from coming back as one, is on top.
        return self._backoff(retry_state) + (asked or 0.0)


def _given_up(error: Refused, retrying: tenacity.AsyncRetrying) -> Exception:
    if not error.passing:
        return error.error
    asked = f", and asks to wait {error.retry_after:.0f} s" if error.retry_after else ""
    return BackendUnavailable(f"{error} (after {_tries(retrying)}{asked})")


def _tries(retrying: tenacity.AsyncRetrying) -> str:
    count = retrying.statistics.get("attempt_number", 1)
    return "1 attempt" if count == 1 else f"{count} attempts"


def _reason(error: BaseException) -> str:
    return str(error) or {"TimeoutError": "no answer in time"}.get(type(error).__name__, type(error).__name__)


async def _begin(client: httpx.AsyncClient, post: Post) -> _Answer:
    """Send once, and wait for the first event."""
    request = client.build_request("POST", post.url, headers=post.headers, content=post.body)
    response = await client.send(request, stream=True)
    try:
        await _check_status(response, post.origin)
        _check_kind(response, post)
        answer = _Answer(response, post)
        await answer.begin()
    except BaseException:
        await response.aclose()
        raise
    return answer


async def _check_status(response: httpx.Response, origin: Origin) -> None:
    if response.is_success:
        return
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > _LONGEST_REFUSAL:
            break
    if response.is_redirect:
        body = f"it redirects to {response.headers['location']}: use that URL".encode()
    wait = retry_after(response.headers.get("retry-after"), dt.datetime.now(dt.UTC))
    raise refusal(response.status_code, body, origin, wait=wait)


def _check_kind(response: httpx.Response, post: Post) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        message = (
            f"{post.url} answered with {kind or 'no content type'!r}, not with a stream of events: "
            "is it the URL of an OpenAI-compatible API? Such URLs usually end in /v1."
        )
        raise BadResponse(message)
    # We asked for none. Unpacking what a server packed all the same could take any amount of memory.
    packing = response.headers.get("content-encoding", "identity")
    if packing != "identity":
        raise BadResponse(f"{post.url} compressed its stream ({packing!r}), which it was asked not to")
    response.encoding = "utf-8"  # server-sent events are, always; bytes that are not become U+FFFD
    response.stream = _Limited(response.stream, post)


class _Limited(httpx.AsyncByteStream):
    """A stream that breaks off at a limit, wherever its line ends are."""

    def __init__(self, inner: Any, post: Post) -> None:
        self._inner = inner
        self._post = post

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for piece in self._inner:
            read += len(piece)
            if read > self._post.limit:
                message = f"{self._post.origin.name} sent more than {self._post.limit} bytes for one request"
                raise BadResponse(message)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Answer:
    """An open answer, of which the first event has been read."""

    def __init__(self, response: httpx.Response, post: Post) -> None:
        self.response = response
        self._origin = post.origin
        self._events = httpx_sse.EventSource(response).aiter_sse()
        self._first: httpx_sse.ServerSentEvent | None = None

    async def begin(self) -> None:
        """Read the first event.

        Raises:
            Refused: it is an error.
            httpx.TransportError: there is none.
        """
        try:
            self._first = await anext(self._events)
        except StopAsyncIteration:
            message = "the connection was closed before an answer came"
            raise httpx.RemoteProtocolError(message) from None
        self._decode(self._first)

    async def rest(self, deadline: float) -> AsyncGenerator[Any]:
        """Give all events, the first one included, until the server says that it is done."""
        event = self._first
        async with aclosing(self._events):
            while event is not None and event.data != "[DONE]":
                try:
                    decoded = self._decode(event)
                except Refused as error:
                    # It had begun to answer: this sample is spoilt, whatever may help the next one.
                    raise (BadResponse(str(error)) if error.passing else error.error) from None
                if decoded is not None:
                    yield decoded
                event = await self._next(deadline)
            await self._drain()

    async def _drain(self) -> None:
        """Read what follows `[DONE]`, which is nothing; else the connection could not be used again."""
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await anext(self._events, None)

    async def _next(self, deadline: float) -> httpx_sse.ServerSentEvent | None:
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(self._events, None)
        except (httpx.TransportError, TimeoutError) as error:
            raise BadResponse(f"the answer of {self._origin.name} was cut: {_reason(error)}") from error

    def _decode(self, event: httpx_sse.ServerSentEvent) -> Any:
        if event.data in {"", "[DONE]"}:
            return None
        try:
            decoded = json.loads(event.data)
        except (ValueError, RecursionError) as error:
            message = f"{self._origin.name} sent an event that is not JSON: {event.data[:200]!r}"
            raise BadResponse(message) from error
        if isinstance(decoded, dict) and decoded.get("error"):
            raise stream_refusal(decoded["error"], self._origin)
        return decoded
