"""llama.cpp itself: a loaded model, and requests that run in threads and are read on event loops."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from scaffold.errors import BackendUnavailable, BadResponse, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Engine:
    """A loaded model and the threads that wait for it."""

    def __init__(self, path: Path, *, n_ctx: int, n_parallel: int, threads: int | None) -> None:
        """Load a model; blocks.

        Args:
            path: of a GGUF file.
            n_ctx: most tokens of one sample, its prompt included.
            n_parallel: how many samples are generated at once.
            threads: of the processor; llama.cpp chooses when None.

        Raises:
            ModelFileError: llama.cpp cannot load it.
        """
        # Before the import, which reads it: GNU OpenMP's threads would spin while they wait for each other,
        # which on a busy machine makes everything some thirty times slower.
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = n_ctx * n_parallel  # it is divided among the slots
        params.n_parallel = n_parallel
        if threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        # It always opens a port. Nobody is told the key.
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [secrets.token_urlsafe(32)]
        params.endpoint_slots = params.ui = False
        params.verbosity = -1
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            message = (
                f"llama.cpp could not load {str(path)!r} ({path.stat().st_size} bytes): it is cut short, "
                "of a kind that llama.cpp does not know, or needs more memory than there is; download it "
                f"again, or lower n_ctx or n_parallel ({params.n_ctx} tokens of context in all)"
            )
            raise ModelFileError(message) from error
        self._threads = ThreadPoolExecutor(n_parallel, thread_name_prefix="llamacpp")
        self._calls: set[Call] = set()

    def start(self, body: dict[str, Any], *, done: Callable[[], None]) -> Call:
        """Begin with a request; `done` is called, from some thread, once llama.cpp has let go of it."""
        call = Call(self._server, body)

        def finished(_future: object) -> None:
            self._calls.discard(call)
            done()

        self._calls.add(call)
        try:
            running = self._threads.submit(call.run)
        except RuntimeError as error:
            self._calls.discard(call)
            message = "the model was closed"
            raise BackendUnavailable(message) from error
        running.add_done_callback(finished)
        return call

    def close(self) -> None:
        """Stop all calls and free the model. Blocks until they have stopped."""
        self._threads.shutdown(wait=False)  # from here on, no call begins
        for call in list(self._calls):
            call.stop()
        self._threads.shutdown(wait=True)
        self._server = None  # its last reference: the port is closed, the memory freed


class Call:
    """One request: runs in a thread, and is read on the event loop that began it."""

    def __init__(self, server: Any, body: dict[str, Any]) -> None:
        self._server = server
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._arriving: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue()
        self._stopped = threading.Event()

    async def next(self) -> dict[str, Any] | None:
        """Give the next chunk; None after the last."""
        arrived = await self._arriving.get()
        if isinstance(arrived, Exception):
            raise arrived
        if arrived is None and self._stopped.is_set():
            message = "the model was closed while it answered"
            raise BackendUnavailable(message)
        return arrived

    def stop(self) -> None:
        """Ask llama.cpp to stop at the next token; from any thread."""
        self._stopped.set()

    def run(self) -> None:
        """Run the request to its end; in a thread."""
        end: Exception | None = None
        try:
            if not self._stopped.is_set():
                self._server.handle_chat_completions(self._body, self._take)
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            end = BadResponse(f"llama.cpp failed: {error}")
        self._hand_over(end)

    def _take(self, chunk: dict[str, Any]) -> bool:
        """Take a chunk from llama.cpp; True makes it stop. What is raised in here would be lost."""
        return self._stopped.is_set() or not self._hand_over(chunk)

    def _hand_over(self, arrived: dict[str, Any] | Exception | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._arriving.put_nowait, arrived)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return False
        return True
