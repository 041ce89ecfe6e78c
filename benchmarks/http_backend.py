"""What the HTTP backend adds to a bare loop over httpx, against one server on loopback in a process of its own.

The server sends the same chat completion to everyone, in one write: what is left to measure is the clients' own work.
The floor is the least that gives the same text: one POST, the lines of its answer, each decoded as JSON. It has as many
clients as the backend gives itself, since with one it falls to a tenth at 512 streams (the row `one_client` shows it).
Rounds of backend and floor take turns; the ratio is that of their medians, by the clock and, where other work holds the
machine, more truly by CPU. Prints one JSON line a row.
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
from dataclasses import dataclass

import httpx

from scaffold.registry import make_backend
from scaffold.vocabulary.models import Message, Request

PIECES = 32
EACH = 4  # streams a client of the floor carries
SEVERAL = 3  # requests a stream: a round of one each would be all beginning and end


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


@dataclass(frozen=True)
class Round:
    """What one round took.

    Attributes:
        wall_s: seconds a request, by the clock.
        cpu_s: seconds a request, of this process.
        first_s: seconds to the first piece of each request, in order of length.
    """

    wall_s: float
    cpu_s: float
    first_s: list[float]


async def keep_busy(ask: Callable[[], Awaitable[float]], streams: int, requests: int) -> Round:
    """Keep so many streams busy until all requests are answered."""
    left = iter(range(requests))

    async def one() -> list[float]:
        return [await ask() for _ in left]

    wall, cpu = time.perf_counter(), time.process_time()
    firsts = await asyncio.gather(*(one() for _ in range(streams)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Round(wall / requests, cpu / requests, sorted(first for each in firsts for first in each))


async def measure(url: str, streams: int, requests: int, rounds: int) -> tuple[list[Round], list[Round]]:
    """Let backend and floor take turns."""
    ours, bare = Ours(url), Bare(url, -(-streams // EACH))
    for each in (ours, bare):  # connections are opened before anything is timed
        await keep_busy(each.ask, streams, max(streams, 32))
    taken: tuple[list[Round], list[Round]] = ([], [])
    for turn in range(rounds):
        for place in (0, 1) if turn % 2 else (1, 0):
            taken[place].append(await keep_busy((ours, bare)[place].ask, streams, requests))
    await ours.close()
    await bare.close()
    return taken


def row(streams: int, ours: list[Round], bare: list[Round]) -> dict[str, object]:
    """Compare the medians; of the first piece the quickest tenth, which waited for nothing else on the machine."""
    wall = [statistics.median(each.wall_s for each in rounds) for rounds in (ours, bare)]
    cpu = [statistics.median(each.cpu_s for each in rounds) for rounds in (ours, bare)]
    told: dict[str, object] = {
        "name": "http",
        "streams": streams,
        "ours_per_s": round(1 / wall[0], 1),
        "bare_per_s": round(1 / wall[1], 1),
        "ratio": round(wall[1] / wall[0], 3),
        "cpu_ms": round(1000 * cpu[0], 3),
        "cpu_ratio": round(cpu[1] / cpu[0], 3),
    }
    if streams == 1:
        quick = [statistics.median(each.first_s[len(each.first_s) // 10] for each in rounds) for rounds in (ours, bare)]
        told["first_ms_added"] = round(1000 * (quick[0] - quick[1]), 3)
    return told


async def fall(url: str, rounds: int) -> dict[str, object]:
    """Compare the backend's throughput at many streams with that at few, in turns: both are its own."""
    few, many = 64, 512
    ours = {streams: Ours(url) for streams in (few, many)}
    taken: dict[int, list[Round]] = {few: [], many: []}
    for streams, each in ours.items():
        await keep_busy(each.ask, streams, streams)
    for _ in range(rounds):
        for streams, each in ours.items():
            taken[streams].append(await keep_busy(each.ask, streams, SEVERAL * streams))
    for each in ours.values():
        await each.close()
    wall = {streams: statistics.median(each.wall_s for each in taken[streams]) for streams in taken}
    cpu = {streams: statistics.median(each.cpu_s for each in taken[streams]) for streams in taken}
    ratios = {"ratio": round(wall[few] / wall[many], 3), "cpu_ratio": round(cpu[few] / cpu[many], 3)}
    return {"name": "http.512_over_64", **ratios}


async def main(url: str, rounds: int, requests: int) -> None:
    """Print the rows."""
    for streams in (1, 64, 512):
        ours, bare = await measure(url, streams, max(requests, SEVERAL * streams), rounds)
        print(json.dumps(row(streams, ours, bare)), flush=True)
    print(json.dumps(await fall(url, rounds)), flush=True)
    for streams in (64, 512):
        one = Bare(url, 1)
        await keep_busy(one.ask, streams, streams)
        taken = await keep_busy(one.ask, streams, max(requests, streams))
        await one.close()
        told = {"bare_per_s": round(1 / taken.wall_s, 1), "cpu_ms": round(1000 * taken.cpu_s, 3)}
        print(json.dumps({"name": "http.one_client", "streams": streams, **told}), flush=True)


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="a round")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    else:
        with_server(arguments.rounds, arguments.requests)
