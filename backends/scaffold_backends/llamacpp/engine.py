"""A model loaded by llama.cpp; its requests run in threads and are read on event loops."""

from __future__ import annotations

import importlib
import os
import secrets
import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from scaffold.errors import BackendUnavailable, BadRequest, BadResponse, ModelFileError
from scaffold_backends.crossing import Crossing
from scaffold_backends.http.refusals import Origin, stream_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Result = TypeVar("Result")

ORIGIN = Origin("llama.cpp")

_ANSWERS_WITHIN_S = 60.0  # requests over HTTP compute nothing, but may wait for a busy slot


class Engine:
    """A loaded model and the threads that wait for it.

    Attributes:
        version: version of xllamacpp; saved states can only be read by the same version.
        context: most tokens of one sample; llama.cpp lowers what was asked for to what the model was trained for.
        closed: whether it is closed, so that nothing new begins; work in its threads checks it.
    """

    def __init__(
        self, path: Path, *, n_ctx: int, n_parallel: int, threads: int | None, keep: Path | None = None
    ) -> None:
        """Load a model; blocks.

        Args:
            path: of a GGUF file.
            n_ctx: most tokens of one sample, its prompt included.
            n_parallel: how many samples are generated at once.
            threads: of the processor; llama.cpp chooses when None.
            keep: the folder into which state may be saved; none may when None.

        Raises:
            ModelFileError: llama.cpp cannot load it.
        """
        # Before the import, which reads it: GNU OpenMP's threads would spin while they wait for each other,
        # which on a busy machine makes everything some thirty times slower.
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        self._library: Any = importlib.import_module("xllamacpp")
        self.version: str = self._library.__version__
        params = self._library.CommonParams()
        params.model.path = str(path)
        params.n_ctx = n_ctx * n_parallel  # it is divided among the slots
        params.n_parallel = n_parallel
        if threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        # llama.cpp always opens a port, so its key is kept secret.
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        self._key = secrets.token_urlsafe(32)
        params.api_keys = [self._key]
        params.endpoint_slots = params.ui = False
        params.verbosity = -1
        if keep is not None:
            params.slot_save_path = f"{keep}/"  # it is put before the file's name as it is
        try:
            self._server: Any = self._library.Server(params)
        except RuntimeError as error:
            message = (
                f"llama.cpp could not load {str(path)!r} ({path.stat().st_size} bytes): it is cut short, "
                "of a kind that llama.cpp does not know, or needs more memory than there is; download it "
                f"again, or lower n_ctx or n_parallel ({params.n_ctx} tokens of context in all)"
            )
            raise ModelFileError(message) from error
        self._threads = ThreadPoolExecutor(n_parallel, thread_name_prefix="llamacpp")
        self._calls: set[Call] = set()
        self._closing = threading.Lock()
        self.closed = threading.Event()
        self.context = int(self.ask("/props").get("default_generation_settings", {}).get("n_ctx") or n_ctx)

    def start(self, body: dict[str, Any], *, done: Callable[[], None]) -> Call:
        """Begin a request; `done` is called, from some thread, when llama.cpp has finished with it."""
        call = Call(self._server, body)

        def finished() -> None:
            self._calls.discard(call)
            done()

        self._calls.add(call)
        try:
            self.aside(call.run, done=finished)
        except BackendUnavailable:
            self._calls.discard(call)
            raise
        return call

    def aside(self, work: Callable[[], Result], *, done: Callable[[], None]) -> Future[Result]:
        """Do blocking work in one of the model's threads; `done` is called when it is over or was cancelled.

        Raises:
            BackendUnavailable: the model was closed.
        """
        try:
            running = self._threads.submit(work)
        except RuntimeError as error:
            raise BackendUnavailable("the model was closed") from error
        running.add_done_callback(lambda _future: done())
        return running

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Complete tokens, without a template; blocks, so it is for a few tokens at most.

        Raises:
            ContextOverflow: they are too many.
            BadRequest: llama.cpp refuses it as invalid.
            BackendUnavailable: the model was closed.
        """
        with self._closing:
            server = self._server
        if server is None:
            raise BackendUnavailable("the model was closed")
        try:
            answer: dict[str, Any] = server.handle_completions(body)
        except ValueError as error:
            raise BadRequest(f"llama.cpp: {error}") from error
        if "error" in answer:
            raise stream_refusal(answer["error"], ORIGIN).error
        return answer

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask llama.cpp something that only its HTTP server tells; blocks. Without a body, it is a GET.

        Raises:
            BadRequest: it refuses the request as invalid.
            BackendUnavailable: it does not answer, or the model was closed.
        """
        import httpx

        with self._closing:
            address = self._server and self._server.listening_address
        if not address:
            raise BackendUnavailable("the model was closed")
        client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=_ANSWERS_WITHIN_S,
            trust_env=False,  # no proxy may see traffic within this machine
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # not needed; the usual one takes a twentieth of a second
        )
        try:
            with client:
                response = client.get(path) if body is None else client.post(path, json=body)
        except httpx.HTTPError as error:
            raise BackendUnavailable(f"llama.cpp failed to answer: {error}") from error
        answer: dict[str, Any] = response.json()
        if response.is_error:
            raise BadRequest(f"llama.cpp: {answer.get('error', answer)}")
        return answer

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text, by the model's own tokenizer; `special` for a whole prompt that names special tokens."""
        asked = {"content": text, "add_special": special, "parse_special": special}
        return list(self.ask("/tokenize", asked)["tokens"])

    def prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Tokens of turns, written by the model's own chat template."""
        return self.tokens(self.ask("/apply-template", {"messages": messages})["prompt"], special=True)

    def end_of_turn(self) -> list[int]:
        """The token that ends an answer; none where the model has none."""
        return self.tokens(str(self.ask("/props").get("eos_token") or ""), special=True)[-1:]

    def grammar(self, schema: dict[str, Any], options: dict[str, Any]) -> str:
        """Write a JSON Schema as a grammar in the language that this build of llama.cpp reads.

        Raises:
            BadRequest: it is not a valid schema; llama.cpp would ignore it silently.
        """
        asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        self.ask("/apply-template", {"messages": [{"role": "user", "content": ""}], "response_format": asked})
        grammar: str = self._library.json_schema_to_grammar({**schema, "x-guidance": options})
        return grammar

    def close(self) -> None:
        """Stop all calls and free the model. Blocks until they have stopped."""
        self.closed.set()
        self._threads.shutdown(wait=False)  # from here on, no call begins
        for call in list(self._calls):
            call.stop()
        self._threads.shutdown(wait=True)
        with self._closing:
            self._server = None  # its last reference: the port is closed, the memory freed


class Call:
    """One request: runs in a thread, and is read on the event loop that began it."""

    def __init__(self, server: Any, body: dict[str, Any]) -> None:
        self._server = server
        self._body = body
        self._crossing: Crossing[dict[str, Any]] = Crossing()

    async def next(self) -> dict[str, Any] | None:
        """Return the next chunk; None after the last."""
        arrived = await self._crossing.next()
        if arrived is None and self._crossing.stopped.is_set():
            message = "the model was closed while it answered"
            raise BackendUnavailable(message)
        return arrived

    def stop(self) -> None:
        """Ask llama.cpp to stop at the next token; from any thread."""
        self._crossing.stopped.set()

    def run(self) -> None:
        """Run the request to its end; in a thread."""
        end: Exception | None = None
        try:
            if not self._crossing.stopped.is_set():
                self._server.handle_chat_completions(self._body, self._take)
        except ValueError as error:  # llama.cpp refuses the request before it begins
            end = BadRequest(f"llama.cpp: {error}")
        except Exception as error:  # noqa: BLE001 - raised in the reader
            end = BadResponse(f"llama.cpp failed: {error}")
        finally:
            del self._server  # so that a reference to this call does not keep a closed model in memory
        self._crossing.put(end)

    def _take(self, chunk: dict[str, Any]) -> bool:
        """Take a chunk from llama.cpp; return True to stop it. Errors raised here would be lost."""
        return self._crossing.stopped.is_set() or not self._crossing.put(chunk)
