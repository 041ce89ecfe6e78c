"""Sends one POST and reads its stream of JSON events (server-sent events), with retries where these can help."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import json
import re
import ssl
import zlib
from collections import deque
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import tenacity

from scaffold.errors import BackendError, BackendUnavailable, BadResponse, BrokenOff
from scaffold.proxies import proxy_of
from scaffold_backends.http.recognise import recognised
from scaffold_backends.http.refusals import Refused, asked_to_wait, refusal, stream_refusal
from scaffold_backends.http.sse import EventDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from scaffold_backends.http.dialect import Dialect
    from scaffold_backends.http.refusals import Origin

_LONGEST_REFUSAL = 64 * 1024  # bytes of an error's body that are read
_DRAIN_S = 0.2  # if a server keeps its stream open after the end, its connection is closed after this long
_DONE = b"[DONE]"  # not JSON
_EVENTS = re.compile(rb"\s*(\xef\xbb\xbf)?(:|data:|event:|id:|retry:)")
_LONGEST_FIELD = 16  # bytes needed to see whether a text begins like events
_ZIPPED = frozenset({"gzip", "x-gzip", "deflate"})
_SILENCES: dict[type[BaseException], str] = {
    httpx.ReadTimeout: "it sent nothing within the time of option 'read_s'",
    httpx.ConnectTimeout: "no connection within the time of option 'connect_s'",
    TimeoutError: "no answer within the time of option 'total_s'",
}


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Timeouts and retries.

    Attributes:
        attempts: how often one request is sent at most.
        backoff_s: longest first pause; it doubles with each attempt. The pause is drawn from all of it ("full
            jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        patience_s: no attempt begins later than this after the first, even if the server asks us to wait.
        total_s: longest that the whole answer may take, attempts and pauses included.
    """

    attempts: int
    backoff_s: float
    patience_s: float
    total_s: float


@dataclass(frozen=True, kw_only=True)
class Post:
    """A request to send.

    Attributes:
        url: the URL.
        headers: the headers, with the key.
        body: the JSON body.
        limit: most bytes of the answer to read.
        origin: the server, for messages.
        dialect: reads the events.
    """

    url: httpx.URL = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    limit: int
    origin: Origin
    dialect: Dialect


@asynccontextmanager
async def exchange(client: httpx.AsyncClient, post: Post, patience: Patience) -> AsyncGenerator[AsyncIterator[Any]]:
    """Send a request and yield the answer's decoded events; leaving the context closes the connection.

    Errors that may pass are retried until the first event after the preamble has come, and never after it.

    Raises:
        BackendUnavailable: there was no answer, or only errors that were expected to pass.
        BrokenOff: the answer was cut.
        BadResponse: it is too long, or is not such a stream.
        BackendError: another error, for what the server refused.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_s
    answer = await _answer(client, post, patience, deadline)
    try:
        async with aclosing(answer.events(deadline)) as events:
            yield events
    finally:
        await answer.close()


async def _answer(client: httpx.AsyncClient, post: Post, patience: Patience, deadline: float) -> _Answer:
    began = asyncio.get_running_loop().time()
    retrying: tenacity.AsyncRetrying | None = None
    failed: BackendError
    met: list[BaseException] = []
    try:
        async with asyncio.timeout_at(deadline):
            try:
                return await _begin(client, post)
            except (Refused, httpx.TransportError) as error:
                met.append(error)
            retrying = _retrying(patience, asyncio.get_running_loop().time() - began)
            answer: _Answer = await retrying(_attempts(client, post, met))
            return answer
    except Refused as error:
        failed = _given_up(error, _tries(retrying))
    except (httpx.TransportError, TimeoutError) as error:
        failed = _unreachable(error, post, _tries(retrying))
    if isinstance(failed, BackendUnavailable):
        failed.reached = not met or not all(map(_costs_nothing, met))
    # Raised outside the handler, since httpx's errors contain the request, and so the key.
    raise failed


def _retrying(patience: Patience, spent_s: float) -> tenacity.AsyncRetrying:
    """Make the retry policy after a first attempt that took `spent_s` seconds."""
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_can_pass),
        wait=_Pause(patience.backoff_s),
        stop=tenacity.stop_after_attempt(patience.attempts) | tenacity.stop_before_delay(patience.patience_s - spent_s),
        reraise=True,
    )


def _attempts(client: httpx.AsyncClient, post: Post, met: list[BaseException]) -> Callable[[], Awaitable[_Answer]]:
    """Make the function for further attempts. The first is made before, since tenacity is costly for short answers.

    Args:
        client: the HTTP client.
        post: the request.
        met: each attempt's error, the first attempt's first; interrupted attempts included.
    """
    made = list(met)

    async def attempt() -> _Answer:
        if made:
            raise made.pop()
        try:
            return await _begin(client, post)
        except BaseException as error:
            met.append(error)
            raise

    return attempt


def _costs_nothing(error: BaseException) -> bool:
    """Whether the server certainly began no work for an attempt."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or (
        isinstance(error, Refused) and error.at_the_door
    )


def _can_pass(error: BaseException) -> bool:
    if isinstance(error, Refused):
        return error.passing
    return isinstance(error, httpx.TransportError) and _distrust(error) is None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes; of a group, the first one."""
    while error is not None:
        yield error
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


def _distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Find a certificate error among an error's causes."""
    return next((each for each in _causes(error) if isinstance(each, ssl.SSLCertVerificationError)), None)


def _no_more_files(error: BaseException) -> OSError | None:
    """Find an error about too many open files among an error's causes."""
    crowded = (errno.EMFILE, errno.ENFILE)
    return next((each for each in _causes(error) if isinstance(each, OSError) and each.errno in crowded), None)


def _unreachable(error: Exception, post: Post, tries: str) -> BackendUnavailable:
    origin, distrust = post.origin, _distrust(error)
    if distrust is not None:
        return BackendUnavailable(
            f"the certificate of {origin.name} is not trusted ({distrust.verify_message}). If it is your own server's, "
            "name the file of its certificate, or of who signed it, in the option 'ca_file' or in the environment "
            "variable SSL_CERT_FILE."
        )
    if (crowded := _no_more_files(error)) is not None:
        return BackendUnavailable(
            f"{origin.name} could not be reached in {tries}: {crowded.strerror}. This process cannot open more "
            "connections: raise `ulimit -n`, or lower `concurrency` or -j."
        )
    cure = "Check the address, and that the server is running."
    if (proxy := proxy_of(str(post.url))) is not None:
        shown = urlsplit(proxy).netloc.rpartition("@")[2]
        cure = (
            f"The request went through the proxy {shown}: check HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name the "
            "host in NO_PROXY."
        )
    if isinstance(error, httpx.ReadTimeout):
        cure = "A model that is slow to answer needs a longer time."
    reason = _reason(error, origin).rstrip(".")
    return BackendUnavailable(f"{origin.name} could not be reached in {tries}: {reason}. {cure}")


class _Pause(tenacity.wait.wait_base):
    """Waits as long as the server asks for, plus an exponential backoff with jitter."""

    def __init__(self, backoff_s: float) -> None:
        self._backoff = tenacity.wait_random_exponential(multiplier=backoff_s, max=60)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, Refused) else None
        # Never less than asked; the jitter, which spreads the retries of many clients, comes on top.
        return self._backoff(retry_state) + (asked or 0.0)


def _given_up(error: Refused, tries: str) -> BackendError:
    if not error.passing:
        return error.error
    asked = f", and asks to wait {error.retry_after:.0f} s" if error.retry_after else ""
    return BackendUnavailable(f"{error} (after {tries}{asked})")


def _tries(retrying: tenacity.AsyncRetrying | None) -> str:
    count = 1 if retrying is None else retrying.statistics.get("attempt_number", 1)
    return "1 attempt" if count == 1 else f"{count} attempts"


def _reason(error: BaseException, origin: Origin) -> str:
    return _SILENCES.get(type(error)) or origin.hide(str(error)) or type(error).__name__


async def _begin(client: httpx.AsyncClient, post: Post) -> _Answer:
    """Send once, and wait for the first event that counts."""
    request = client.build_request("POST", post.url, headers=post.headers, content=post.body)
    response = await client.send(request, stream=True)
    try:
        await _check_status(response, post.origin)
        pieces = response.aiter_raw()
        begun = await _check_kind(response, pieces, post)
        answer = _Answer(response, pieces, begun, post)
        await answer.begin()
    except BaseException:
        await response.aclose()
        raise
    return answer


async def _head(pieces: AsyncIterator[bytes], packing: str, body: bytes = b"") -> bytes:
    """Return the beginning of a body, decompressed if possible; the rest may be large and is not read."""
    async for piece in pieces:
        body += piece
        if len(body) > _LONGEST_REFUSAL:
            break
    if packing in _ZIPPED:
        with contextlib.suppress(zlib.error):
            body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _LONGEST_REFUSAL)
    return body


def _packing(response: httpx.Response) -> str:
    """Return a body's compression; empty if there is none (some servers send `none` to keep proxies from it)."""
    packing = response.headers.get("content-encoding", "").strip().lower()
    return "" if packing in {"identity", "none"} else packing


async def _check_status(response: httpx.Response, origin: Origin) -> None:
    if response.is_success:
        return
    body = await _head(response.aiter_raw(), _packing(response))
    if response.has_redirect_location:
        body = f"it redirects to {response.headers['location']}: use that URL".encode()
    wait = asked_to_wait(response.headers, body, dt.datetime.now(dt.UTC))
    raise refusal(response.status_code, body, origin, wait=wait)


async def _check_kind(response: httpx.Response, pieces: AsyncIterator[bytes], post: Post) -> bytes:
    """Check that the answer is a stream of events, by its content type, or by its beginning if that is another.

    Returns:
        What was read of it for the check.

    Raises:
        Refused: it is an error despite its status.
        BadResponse: it is not such a stream, or it is compressed.
    """
    kind, packing, begun = response.headers.get("content-type", "").partition(";")[0].strip(), _packing(response), b""
    if kind.lower() != "text/event-stream":
        while len(begun) < _LONGEST_FIELD and (piece := await anext(pieces, None)) is not None:
            begun += piece
        if not _EVENTS.match(begun):
            body = await _head(pieces, packing, begun)
            if (error := _error_of(body)) is not None:
                raise stream_refusal(error, post.origin)
            hint = recognised(body, post.dialect.name) if "json" in kind.lower() else ""
            kind = post.origin.hide(kind) or "no content type"
            raise BadResponse(
                f"{post.origin.name} answered with {kind!r}, not with a stream of events"
                f"{hint or ': is it the URL of such an API? They usually end in /v1'}."
            )
    # We asked for no compression. Decompressing it nevertheless could take any amount of memory.
    if packing:
        packing = post.origin.hide(packing)
        raise BadResponse(f"{post.origin.name} compressed its stream ({packing!r}), although it was asked not to")
    return begun


def _error_of(body: bytes) -> Any:
    """Return the error in a whole body; None if there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value.get("error") or None if isinstance(value, dict) else None


class _Answer:
    """An open answer whose first events have been read."""

    def __init__(self, response: httpx.Response, pieces: AsyncIterator[bytes], begun: bytes, post: Post) -> None:
        """`begun` is what was read of its pieces before."""
        self._response = response
        self._post = post
        self._pieces = pieces
        self._decoder = EventDecoder()
        self._ready: deque[bytes] = deque(data for data in self._decoder.feed(begun) if data)
        self._begun: list[Any] = []
        self._read = len(begun)
        self._is_over = False

    async def begin(self) -> None:
        """Read up to the first event that counts.

        Raises:
            Refused: it is an error.
            BadResponse: it comes from another API.
            httpx.TransportError: there is no answer.
        """
        is_first = True
        while await self._fill():
            data = self._ready.popleft()
            if data.startswith(_DONE):
                self._ready.appendleft(data)
                break
            if is_first:
                self._check_dialect(data)
                is_first = False
            event = self._decoded(data)
            self._begun.append(event)
            if not self._post.dialect.is_preamble(event):
                return
        if is_first:
            raise httpx.RemoteProtocolError("the connection was closed before an answer came")

    def _check_dialect(self, data: bytes) -> None:
        if self._post.dialect.mark not in data:
            hint = recognised(data, self._post.dialect.name)
            if "speaks" in hint:
                raise BadResponse(f"{self._post.origin.name} does not understand the requests{hint}.")

    async def events(self, deadline: float) -> AsyncGenerator[Any]:
        """Yield all events, the first ones included, until the server says that it is done."""
        dialect = self._post.dialect
        for event in self._begun:
            yield event
            if dialect.is_last(event):
                await self._drain()
                return
        while self._ready or await self._fill_before(deadline):
            data = self._ready.popleft()
            if data.startswith(_DONE):
                break
            failed: BackendError | None = None
            try:
                event = self._decoded(data)
            except Refused as error:
                # The answer had begun, so this request has failed, even if a retry might succeed.
                failed = BrokenOff(str(error)) if error.passing else error.error
            if failed is not None:
                raise failed
            yield event
            if dialect.is_last(event):
                break
        await self._drain()

    def _decoded(self, data: bytes) -> Any:
        event, wrong = None, ""
        try:
            event = self._post.dialect.decode(data)
        except BadResponse as refused:
            wrong = self._post.origin.hide(str(refused))
        if wrong:  # raised outside the handler, since the error above may contain an echoed key
            raise BadResponse(f"{self._post.origin.name} sent {wrong}")
        error = self._post.dialect.error_in(event)
        if error is not None:
            raise stream_refusal(error, self._post.origin)
        return event

    async def _fill_before(self, deadline: float) -> bool:
        failed: BrokenOff
        try:
            async with asyncio.timeout_at(deadline):
                return await self._fill()
        except (httpx.TransportError, TimeoutError) as error:
            failed = BrokenOff(f"the answer of {self._post.origin.name} was cut: {_reason(error, self._post.origin)}")
        raise failed

    async def _fill(self) -> bool:
        """Read on until there is an event; False at the end."""
        while not self._ready:
            if self._is_over:
                return False
            piece = await anext(self._pieces, None)
            if piece is None:
                self._is_over = True
                self._ready.extend(data for data in self._decoder.end() if data)
                continue
            self._read += len(piece)
            if self._read > self._post.limit:
                message = f"{self._post.origin.name} sent more than {self._post.limit} bytes for one request"
                raise BadResponse(message)
            self._ready.extend(data for data in self._decoder.feed(piece) if data)
        return True

    async def _drain(self) -> None:
        """Read up to the end of the stream, so that the connection can be reused."""
        if self._is_over:
            return
        with contextlib.suppress(httpx.TransportError, TimeoutError, BadResponse):
            async with asyncio.timeout(_DRAIN_S):
                while await anext(self._pieces, None) is not None:
                    pass

    async def close(self) -> None:
        """Return the connection to the pool, or close it if the answer has not ended."""
        await self._response.aclose()
