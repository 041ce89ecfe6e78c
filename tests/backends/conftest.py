"""Real parts that the tests of backends share: a model, in process and behind llama.cpp's own HTTP server."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.vocabulary.models import Delta, Message, Request, Usage
from scaffold_backends.llamacpp.backend import LlamaCpp, load_smollm2
from scaffold_backends.store import SMOLLM2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.interfaces import Backend


def ask(text: str, prefill: str = "", **more: Any) -> Request:
    """Make a request of one user's turn."""
    turns = [Message("user", text)] + ([Message("assistant", prefill)] if prefill else [])
    return Request(messages=tuple(turns), **more)


async def gather(backend: Backend, request: Request) -> list[Delta]:
    """Read a whole stream, and check what holds for every one."""
    deltas = [delta async for delta in backend.generate(request)]
    finished = [delta.index for delta in deltas if delta.finish]
    assert sorted(finished) == list(range(request.n))
    assert [delta.usage is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    return deltas


async def gather_at_once(backend: Backend, requests: list[Request]) -> list[list[Delta]]:
    """The whole answers to requests that are all under way at the same time, in their order."""
    return await asyncio.gather(*(gather(backend, request) for request in requests))


def texts(deltas: list[Delta]) -> list[str]:
    """Join the pieces of each sample."""
    count = 1 + max(delta.index for delta in deltas)
    return ["".join(delta.text for delta in deltas if delta.index == index) for index in range(count)]


def usage(deltas: list[Delta]) -> Usage:
    """Give the stream's usage."""
    last = deltas[-1].usage
    assert last is not None
    return last


@pytest.fixture(scope="session")
def smollm2() -> Iterator[LlamaCpp]:
    """SmolLM2 in this process; two samples at once."""
    backend = load_smollm2(n_ctx=512, n_parallel=2, logprobs=True)
    asyncio.run(backend.prepare(lambda _message, _fraction: None))
    yield backend
    asyncio.run(backend.close())


@pytest.fixture(scope="session")
def llama_server() -> Iterator[tuple[str, str]]:
    """SmolLM2 behind llama.cpp's HTTP server: its URL and its key."""
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(SMOLLM2.pull())
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 1024, 2, 0, -1
    params.api_keys = ["sk-of-the-tests"]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1", "sk-of-the-tests"
    del server
