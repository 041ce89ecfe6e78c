"""Real parts that the tests of backends share: a model, in process and behind llama.cpp's own HTTP server."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.vocabulary.models import Delta, Message, Request, Usage
from scaffold_backends.llamacpp.backend import LlamaCpp, load, load_smollm2
from scaffold_backends.store import SMOLLM2

from . import tiny_gguf

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
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a model for llama.cpp that takes next to no time: for whatever hangs on no words."""
    return tiny_gguf.save(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny(tiny_llama: str) -> Iterator[LlamaCpp]:
    """The tiny model in this process; two samples at once."""
    backend = load(tiny_llama, n_ctx=512, n_parallel=2, threads=1, logprobs=True)
    asyncio.run(backend.prepare(lambda _message, _fraction: None))
    yield backend
    asyncio.run(backend.close())


def _served(path: str) -> Iterator[tuple[str, str]]:
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 1024, 2, 0, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # two would wait for one another on busy cores
    params.api_keys = ["sk-of-the-tests"]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1", "sk-of-the-tests"
    del server


@pytest.fixture(scope="session")
def llama_server() -> Iterator[tuple[str, str]]:
    """SmolLM2 behind llama.cpp's HTTP server: its URL and its key."""
    yield from _served(str(SMOLLM2.pull()))


@pytest.fixture(scope="session")
def tiny_server(tiny_llama: str) -> Iterator[tuple[str, str]]:
    """The tiny model behind llama.cpp's HTTP server: its URL and its key."""
    yield from _served(tiny_llama)
