"""Transports: to a program over its pipes, or to a URL over HTTP; the size of what is received is bounded in both.

The SDK's own client for programs reads lines of any length, so the pipes are read here.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import IO, TYPE_CHECKING, Any

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from mcp.client import Transport

_GRACE_S = 2.0  # time for a program to end by itself, and again after SIGTERM
_POLL_S = 0.01
_MOMENT_S = 0.2  # time between the end of a program's output and its exit
_KEPT = 8192  # last bytes of a program's standard error that are kept
_SHOWN = 120  # letters of an invalid line that are shown


@dataclass
class Ending:
    """Why a connection ended, as far as the transport knows.

    Attributes:
        reason: the reason; empty while the connection is open.
        last_words: the end of the program's standard error.
        answered: what an address last answered, if that was an error's status.
        is_told: whether the transport notices every end, as a program's pipes do.
        is_ours: whether we have begun to end it, so that what happens then is not the reason.
    """

    reason: str = ""
    last_words: bytes = b""
    answered: str = ""
    is_told: bool = False
    is_ours: bool = False
    told: Callable[[], None] = field(default=lambda: None, repr=False)

    def set(self, reason: str) -> None:
        """Record the first reason, and have the connection closed."""
        self.reason = self.reason or reason
        self.told()


def find_program(name: str, base: Path) -> str:
    """Find a program: beside this Python, on the PATH, or relative to the task's folder.

    Raises:
        BadInput: there is no such program.
    """
    if os.sep in name:
        found = which(str((base / name).resolve()) if not Path(name).is_absolute() else name)
    else:  # finds programs in our environment even if that is not activated
        found = which(name, path=str(Path(sys.executable).parent)) or which(name)
    if found is None:
        raise BadInput(f"the program {name!r} cannot be found: name an installed program, or its path")
    return found


# --- programs

# Waits for the end of its input, since a program in the middle of a call would not notice our sudden death.
_LEASH = 'read -r said || { sleep "$1"; kill -s KILL -- "-$0"; }'


@asynccontextmanager
async def program(
    command: tuple[str, ...],
    *,
    env: Mapping[str, str],
    base: Path,
    most: int,
    log: Path | None,
    ending: Ending,
) -> AsyncGenerator[Any]:
    """Start a program and yield its message streams; at the end it is stopped, with everything that it started.

    Args:
        command: the program and its arguments.
        env: its environment variables, besides the few that every program gets.
        base: its working folder.
        most: bytes of the longest line that is accepted.
        log: file for its standard error.
        ending: records why it ended.

    Raises:
        BadInput: it cannot be started.
    """
    import anyio
    from mcp.client.stdio import get_default_environment
    from mcp.shared.message import SessionMessage

    kept = _open_log(log)
    try:
        process = await asyncio.create_subprocess_exec(
            find_program(command[0], base),
            *command[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**get_default_environment(), **env},
            cwd=base,
            limit=most,
            start_new_session=True,  # so that Ctrl-C at our terminal does not reach it, and its children can be ended
        )
    except (OSError, ValueError) as error:
        _close(kept)
        raise BadInput(f"{command[0]!r} cannot be started: {error}") from None
    incoming_in, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, outgoing_out = anyio.create_memory_object_stream[SessionMessage](0)
    workers = [
        asyncio.create_task(_read(process, incoming_in, most, ending)),
        asyncio.create_task(_write(process, outgoing_out, ending)),
        asyncio.create_task(_listen(process, kept, ending)),
    ]
    leash = None
    try:
        leash = _leash(process.pid)
        yield incoming, outgoing
    finally:
        ending.is_ours = True
        try:
            await _end(process, workers, misbehaved=bool(ending.reason))
        finally:
            _signal(process.pid, signal.SIGKILL)  # also if there was no time to end it gently
            if leash is not None:
                _let_go(leash)
            for stream in (incoming_in, incoming, outgoing, outgoing_out):
                stream.close()
            _close(kept)


def _leash(group: int) -> subprocess.Popen[bytes]:
    """Start a process that ends a program and its children a moment after our own end, however that came."""
    return subprocess.Popen(  # noqa: S603 - our own words, and two numbers
        ["/bin/sh", "-c", _LEASH, str(group), str(math.ceil(_GRACE_S))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _let_go(leash: subprocess.Popen[bytes]) -> None:
    leash.kill()
    leash.wait()
    if leash.stdin is not None:
        leash.stdin.close()


async def _read(process: asyncio.subprocess.Process, into: Any, most: int, ending: Ending) -> None:
    """Convert lines to messages until the end, or an invalid line."""
    from anyio import BrokenResourceError, ClosedResourceError
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    reason = "it closed its output"
    line = b""
    try:
        while line := await process.stdout.readline():  # type: ignore[union-attr]  # it is a pipe
            if line.isspace():  # ignored, but with a wait, since there may be very many
                await asyncio.sleep(0)
                continue
            try:
                message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
            except ValueError:
                shown = line[:_SHOWN].decode(errors="replace").strip()
                reason = f"it wrote something that is not a JSON-RPC message: {shown!r}"
                break
            await into.send(message)
    except ValueError:  # asyncio's error for a line over its limit
        reason = f"it sent a message of more than {most:,} bytes (`max_bytes`)"
    except (BrokenResourceError, ClosedResourceError):
        return
    if not line and await _has_ended(process, _MOMENT_S):
        status = process.returncode or 0  # says more than a closed pipe
        reason = "it was killed" if status < 0 else f"it ended with status {status}"
    if not ending.is_ours:
        ending.set(reason)  # before callers that wait for an answer learn that there will be none
    into.close()


async def _write(process: asyncio.subprocess.Process, messages: AsyncIterator[Any], ending: Ending) -> None:
    stdin = process.stdin
    try:
        async for each in messages:
            text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            stdin.write(text.encode() + b"\n")  # type: ignore[union-attr]  # it is a pipe
            await stdin.drain()  # type: ignore[union-attr]  # as above
    except OSError:
        await asyncio.sleep(2 * _MOMENT_S)  # if it has exited, its output says more
        if not ending.is_ours:
            ending.set("it no longer reads its input")


async def _listen(process: asyncio.subprocess.Process, log: IO[bytes] | None, ending: Ending) -> None:
    """Read the program's standard error, so that it never fills, and never reaches the terminal."""
    while chunk := await process.stderr.read(_KEPT):  # type: ignore[union-attr]  # it is a pipe
        ending.last_words = (ending.last_words + chunk)[-_KEPT:]
        if log is not None:
            with suppress(OSError):  # a full disk must not stop the server
                log.write(chunk)


async def _end(process: asyncio.subprocess.Process, workers: list[asyncio.Task[None]], *, misbehaved: bool) -> None:
    """Close the program's input, as the protocol requires, then end what is left of it and of its children."""
    with suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
    if not await _has_ended(process, 0 if misbehaved else _GRACE_S):
        _signal(process.pid, signal.SIGTERM)
        await _has_ended(process, _GRACE_S)
    _signal(process.pid, signal.SIGKILL)  # children it left behind; itself, if it would not end
    await _has_ended(process, _GRACE_S)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public closes a pipe nobody reads


async def _has_ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for its exit; `wait` would also wait until its output is read."""
    deadline = time.monotonic() + seconds
    while process.returncode is None and time.monotonic() < deadline:  # noqa: ASYNC110 - there is no event, see below
        await asyncio.sleep(_POLL_S)  # asyncio reports an exit only together with the end of the pipes
    return process.returncode is not None


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _open_log(path: Path | None) -> IO[bytes] | None:
    if path is None:
        return None
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise BadInput(f"the log {path} cannot be written: {error.strerror}") from None


def _close(file: IO[bytes] | None) -> None:
    if file is not None:
        file.close()


# --- addresses


@asynccontextmanager
async def address(
    url: str, *, headers: Mapping[str, str], most: int, timeout_s: float, ending: Ending
) -> AsyncGenerator[Any]:
    """Connect to an address over streamable HTTP, and yield its message streams.

    Args:
        url: the address.
        headers: sent with each request.
        most: bytes of the longest message that is accepted.
        timeout_s: most seconds between two bytes of an answer.
        ending: records what it answers.
    """
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async def bound(response: httpx2.Response) -> None:
        kind = response.headers.get("content-type", "")
        ending.answered = f"it answers {response.status_code} {response.reason_phrase}" if response.is_error else ""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError(
                "it compressed its answer, although this was not asked for", request=response.request
            )
        if not kind.startswith("text/event-stream"):  # in these the SDK bounds each event
            response.stream = _bounded(response.stream, most)

    client = httpx2.AsyncClient(
        headers={**headers, "accept-encoding": "identity"},  # so that few bytes are not many
        timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
        event_hooks={"response": [bound]},
    )
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=most) as streams:
        yield streams


def _bounded(stream: Any, most: int) -> Any:
    """Limit a stream to this many bytes."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            seen = 0
            async for chunk in stream:
                seen += len(chunk)
                if seen > most:
                    raise httpx2.StreamError(f"it is longer than {most:,} bytes (`max_bytes`)")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()


def as_transport(streams: Any) -> Transport:
    """Cast a context manager of streams to the SDK's type."""
    transport: Transport = streams
    return transport
