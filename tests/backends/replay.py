"""A real HTTP server on loopback that answers with the bytes it is told to, whatever they are."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

# One step of an answer: bytes to write, or seconds to wait.
Step = bytes | float


def answer(status: str, body: bytes, kind: str = "application/json", **headers: str) -> list[Step]:
    """Write a whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode() + body]


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
_TURNS = 10  # of the loop: more than a connection that is accepted takes until it is served


def part(data: bytes) -> bytes:
    """Frame bytes as one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**chunk: Any) -> bytes:
    """Write one server-sent event."""
    return part(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def said(text: str, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    """Write one chunk of a chat completion."""
    delta = {"content": text, **more}
    return event(choices=[{"index": index, "delta": delta, "finish_reason": finish}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
DONE = part(b"data: [DONE]\n\n")


def good(text: str = "hello") -> list[Step]:
    """Write a whole, well-formed stream."""
    return [STREAM, said(text), said("", finish="stop"), USAGE, DONE, END]


async def close(server: asyncio.Server) -> None:
    """Close a server, once each connection that it has accepted has the task that serves it, and will close it.

    Before Python 3.12 asyncio leaves open what was accepted, and not begun to serve, when a server is closed.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()


@dataclass
class Replay:
    """Answers the i-th request with the i-th answer, and any more with the last.

    Attributes:
        answers: each a list of steps; the connection is closed after them unless the answer had a length or
            an end.
        requests: what was asked: headers and decoded body.
        paths: what was asked for, queries included.
        connections: how many were opened.
        gone: set once a client has closed its connection.
        port: to listen on; 0 takes a free one.
        tls: to speak HTTPS with.
    """

    answers: list[list[Step]]
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    tls: ssl.SSLContext | None = None
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await close(self._server)
        for task in list(self._serving):
            task.cancel()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            begun: bytes | None = b""
            while begun is not None:
                begun = await self._one(reader, writer, begun)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.gone.set()
        finally:
            self._serving.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes) -> bytes | None:
        """Answer one request, of which so much was read; gives what was read of the next, None when there is none."""
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        script = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append((headers, body))
        self.paths.append(head[0].split(" ")[1])
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            for step in script:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await asyncio.wait([leaving], timeout=step)
                if leaving.done() and not leaving.result():
                    self.gone.set()
                    return None
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])
        written = b"".join(step for step in script if isinstance(step, bytes))
        if not (written.endswith(END) or b"Content-Length" in written):
            return None
        return b"" if leaving.cancelled() else leaving.result()
