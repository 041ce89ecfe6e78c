"""What the HTTP backend adds to a bare loop over httpx, against one server on loopback in a process of its own.

The server sends the same chat completion to everyone, in one write: what is left to measure is the clients' own work.
The floor is the least that gives the same text: one POST, the lines of its answer, each decoded as JSON. It has as many
clients as the backend gives itself, since with one it falls to a tenth at 512 streams (the row `one_client` shows it).
Rounds of backend and floor take turns; the ratio is that of their medians. Prints one JSON line a row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from scaffold.registry import make_backend
from scaffold.vocabulary.models import Message, Request

PIECES = 32
EACH = 4  # streams a client of the floor carries


def answer() -> bytes:
    """One whole answer, headers and all: an event for each piece, as OpenAI writes them."""
    frame = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    chunks = [{**frame, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}] * PIECES
    chunks.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**frame, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": PIECES}})
    body = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class Server(asyncio.Protocol):
    """Answers each POST that has come whole."""

    answer = answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self.seen = b""
            self.transport.write(self.answer)


async def serve() -> None:
    """Listen, say where, and go on until killed."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Bare:
    """The floor: a loop over httpx."""

    def __init__(self, url: str, clients: int) -> None:
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self.clients = [httpx.AsyncClient(limits=unlimited, timeout=60) for _ in range(clients)]
        self.url = f"{url}/chat/completions"
        self.turn = 0

    async def ask(self) -> float:
        """Read one answer; gives seconds to the first piece of text."""
        self.turn += 1
        client = self.clients[self.turn % len(self.clients)]
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        begin, first, text = time.perf_counter(), 0.0, ""
        async with client.stream("POST", self.url, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        text += choice["delta"].get("content", "")
                        first = first or time.perf_counter() - begin
        assert text == "word " * PIECES
        return first

    async def close(self) -> None:
        """Close all clients."""
        for client in self.clients:
            await client.aclose()


class Ours:
    """The backend, as the engine uses it."""

    def __init__(self, url: str) -> None:
        self.backend = make_backend(f"{url}#m", {})
        self.request = Request(messages=(Message("user", "hi"),), max_tokens=PIECES)

    async def ask(self) -> float:
        """Read one answer; gives seconds to the first piece of text."""
        begin, first, text = time.perf_counter(), 0.0, ""
        async for delta in self.backend.generate(self.request):
            text += delta.text
            first = first or time.perf_counter() - begin
        assert text == "word " * PIECES
        return first

    async def close(self) -> None:
        """Close its connections."""
        await self.backend.close()


async def throughput(ask: Callable[[], Awaitable[float]], streams: int, requests: int) -> tuple[float, float]:
    """Keep so many streams busy; gives requests a second, and the median seconds to a first piece."""
    left = iter(range(requests))

    async def one() -> list[float]:
        return [await ask() for _ in left]

    begin = time.perf_counter()
    firsts = await asyncio.gather(*(one() for _ in range(streams)))
    return requests / (time.perf_counter() - begin), statistics.median(first for each in firsts for first in each)


async def measure(url: str, streams: int, requests: int, rounds: int) -> dict[str, float]:
    """Let backend and floor take turns."""
    ours, bare = Ours(url), Bare(url, -(-streams // EACH))
    rates: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for name, each in (("ours", ours), ("bare", bare)):  # connections are opened before anything is timed
        await throughput(each.ask, streams, max(streams, 32))
        assert name in rates
    for turn in range(rounds):
        order = [("ours", ours.ask), ("bare", bare.ask)]
        for name, ask in order if turn % 2 else reversed(order):
            rates[name].append(await throughput(ask, streams, requests))
    await ours.close()
    await bare.close()
    rate = {name: statistics.median(each[0] for each in figures) for name, figures in rates.items()}
    first = {name: statistics.median(each[1] for each in figures) for name, figures in rates.items()}
    return {
        "streams": streams,
        "ours_per_s": round(rate["ours"], 1),
        "bare_per_s": round(rate["bare"], 1),
        "ratio": round(rate["ours"] / rate["bare"], 3),
        "first_ms_added": round(1000 * (first["ours"] - first["bare"]), 3),
    }


async def main(url: str, rounds: int, requests: int) -> None:
    """Print the rows."""
    at: dict[int, float] = {}
    for streams in (1, 64, 512):
        row = await measure(url, streams, max(requests, 2 * streams), rounds)
        at[streams] = row["ours_per_s"]
        print(json.dumps({"name": "http", **row}), flush=True)
    print(json.dumps({"name": "http.512_over_64", "ratio": round(at[512] / at[64], 3)}), flush=True)
    for streams in (64, 512):
        one = Bare(url, 1)
        await throughput(one.ask, streams, streams)
        rate, _ = await throughput(one.ask, streams, max(requests, streams))
        await one.close()
        print(json.dumps({"name": "http.one_client", "streams": streams, "bare_per_s": round(rate, 1)}), flush=True)


def with_server(rounds: int, requests: int) -> None:
    """Start a server, and measure against it."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - this very script
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            asyncio.run(main(url, rounds, requests))
        finally:
            server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300, help="a round")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    else:
        with_server(arguments.rounds, arguments.requests)
