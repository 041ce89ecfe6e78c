"""A real HTTP server on loopback that answers in any of the four dialects as a model would, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .replay import DONE, END, STREAM, answer, close, part
from .wire import (
    CREATED,
    IN_PROGRESS,
    MESSAGE_STOP,
    TEXT_START,
    WIRES,
    Wire,
    block_stop,
    candidate,
    completed,
    gemini,
    message_delta,
    named,
    output_text,
    text_delta,
)

if TYPE_CHECKING:
    from types import TracebackType

KEY = "sk-right"
CONTEXT = 300  # words
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_PATHS = {"/chat/completions": 0, "/responses": 1, "/messages": 2, ":streamGenerateContent": 3}


@dataclass(frozen=True)
class Asked:
    """A request, whatever its dialect."""

    prompt: str
    n: int
    seed: int | None
    stops: tuple[str, ...]
    schema: bool
    choices: tuple[str, ...]

    def text(self, index: int) -> str:
        """What sample `index` says: by its seed if it has one."""
        source = random.Random(None if self.seed is None else f"{self.prompt}:{self.seed + index}")
        if self.schema:
            return '{"sure": true, "size": "small"}'
        if self.choices:
            return source.choice(self.choices)
        text = " ".join(source.choices(WORDS, k=5))
        for stop in self.stops:
            text = text.partition(stop)[0]
        return text


def understood(body: dict[str, Any]) -> Asked:
    """Read what is asked out of a body."""
    config = body.get("generationConfig", body)
    turns = body.get("messages") or body.get("input") or body.get("contents")
    seed = config.get("seed")
    return Asked(
        prompt=" ".join(_texts(turns)),
        n=config.get("n") or config.get("candidateCount") or 1,
        seed=0 if config.get("temperature") == 0 else seed,
        stops=tuple(config.get("stop") or config.get("stop_sequences") or config.get("stopSequences") or ()),
        schema='"sure"' in json.dumps(body),
        choices=tuple(config.get("responseSchema", {}).get("enum", ())),
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key in ("content", "text", "parts") for text in _texts(value.get(key))]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []


def _chat(asked: Asked, tokens: tuple[int, int]) -> list[bytes]:
    def event(**data: Any) -> bytes:
        return part(f"data: {json.dumps({'object': 'chat.completion.chunk', **data})}\n\n".encode())

    def piece(index: int, text: str, finish: str | None = None) -> bytes:
        return event(choices=[{"index": index, "delta": {"content": text}, "finish_reason": finish}])

    said = [piece(index, word) for index in range(asked.n) for word in _pieces(asked, index)]
    ends = [piece(index, "", "stop") for index in range(asked.n)]
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return [*said, *ends, event(choices=[], usage=usage), DONE, END]


def _responses(asked: Asked, tokens: tuple[int, int]) -> list[bytes]:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    said = [output_text(word) for word in _pieces(asked, 0)]
    return [CREATED, IN_PROGRESS, *said, completed(usage=usage), END]


def _messages(asked: Asked, tokens: tuple[int, int]) -> list[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    start = named(type="message_start", message={**message, "usage": {"input_tokens": tokens[0], "output_tokens": 1}})
    said = [text_delta(word) for word in _pieces(asked, 0)]
    return [start, TEXT_START, *said, block_stop(), message_delta(output_tokens=tokens[1]), MESSAGE_STOP, END]


def _gemini(asked: Asked, tokens: tuple[int, int]) -> list[bytes]:
    usage = {"promptTokenCount": tokens[0], "candidatesTokenCount": tokens[1], "totalTokenCount": sum(tokens)}
    said = [gemini(candidate(w, index=i), **usage) for i in range(asked.n) for w in _pieces(asked, i)]
    return [*said, *(gemini(candidate("", "STOP", index), **usage) for index in range(asked.n)), END]


def _pieces(asked: Asked, index: int) -> list[str]:
    """A sample in pieces: its words, with the space before each."""
    return re.findall(r" *[^ ]+ *$| *[^ ]+", asked.text(index))


_SPOKEN = (_chat, _responses, _messages, _gemini)


class Speaker:
    """The server.

    Attributes:
        url: where it is.
        under_way: how many answers it is writing.
    """

    def __init__(self, *, pause_s: float = 0.002) -> None:
        self.under_way = 0
        self._pause_s = pause_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = starting.result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        await close(self._server)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                await self._answer(head[0], headers, body, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()  # `close` would wait for whoever does not read on

    async def _answer(
        self, line: str, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        self.under_way += 1
        try:
            for piece in self._steps(line, headers, body):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self._pause_s)
        finally:
            self.under_way -= 1

    @staticmethod
    def _steps(line: str, headers: dict[str, str], body: dict[str, Any]) -> list[bytes]:
        place = next(number for path, number in _PATHS.items() if path in line)
        wire: Wire = WIRES[place]
        if headers.get(wire.auth[0], "") != wire.auth[1] + KEY:
            return _refused(wire, "401 Unauthorized", "the key is wrong")
        asked = understood(body)
        words = len(asked.prompt.split())
        if words > CONTEXT:
            return _refused(wire, "400 Bad Request", wire.overflow)
        output = sum(len(_pieces(asked, index)) for index in range(asked.n))
        return [STREAM, *_SPOKEN[place](asked, (words, output))]


def _refused(wire: Wire, status: str, message: str) -> list[bytes]:
    steps = answer(status, json.dumps(wire.error(int(status[:3]), message)).encode())
    return [step for step in steps if isinstance(step, bytes)]
