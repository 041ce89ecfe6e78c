"""llama.cpp in this process, through xllamacpp (https://github.com/xorbitsai/xllamacpp)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field, PositiveInt

from scaffold.errors import BackendUnavailable, BadResponse, MissingExtra, ModelFileError, TaskError
from scaffold.vocabulary.models import FREE, NO_USAGE, Profile, ReasoningVisibility
from scaffold_backends.chunks import ChunkReader, clean
from scaffold_backends.constraints import bounded, choice_grammar
from scaffold_backends.options import Options, read_options
from scaffold_backends.refusals import Origin, stream_refusal
from scaffold_backends.slots import Slots
from scaffold_backends.store import SMOLLM2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Ability, Delta, Request
    from scaffold_backends.store import LocalModel

_CHARACTERS_PER_TOKEN = 3  # for the bound on strings: what max_tokens could hold at best, in English JSON
_MAGIC = b"GGUF"


class LlamaCppOptions(Options):
    """What a task may set.

    Attributes:
        n_ctx: most tokens of prompt and answer together, of one sample.
        n_parallel: how many samples are generated at once; each takes memory for `n_ctx` tokens.
        threads: of the processor; llama.cpp chooses when not set.
        logprobs: give log-probabilities.
        reasoning: `full` for a model that reasons in `<think>` tags, which llama.cpp takes apart.
        trust: whether its answers may steer irreversible actions unseen.
    """

    n_ctx: PositiveInt = 2048
    n_parallel: PositiveInt = Field(default=4, le=64)
    threads: PositiveInt | None = None
    logprobs: bool = False
    reasoning: ReasoningVisibility | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"


def load(path: str, **options: Any) -> LlamaCpp:
    """Use a model file of one's own: `llamacpp:path/to/model.gguf`. It is read on first use.

    Raises:
        TaskError: an option is wrong.
        MissingExtra: xllamacpp is not installed.
        ModelFileError: there is no such file, or it is no GGUF.
    """
    read = read_options(LlamaCppOptions, options, "llamacpp")
    file = Path(path).expanduser()
    check_gguf(file)
    return LlamaCpp(file.stem, lambda: file, read)


def load_smollm2(model: str = "", **options: Any) -> LlamaCpp:
    """Use SmolLM2-135M-Instruct: `smollm2`. It is downloaded on first use.

    Raises:
        TaskError: an option is wrong, or a model is named: there is only this one.
        MissingExtra: xllamacpp is not installed.
    """
    read = read_options(LlamaCppOptions, options, "smollm2")
    if model:
        message = (
            f"smollm2 is one model and takes no name, such as {model!r}; for a file, write 'llamacpp:PATH'"
        )
        raise TaskError(message)
    # It was not trained to reason before it answers.
    known = read.model_copy(update={"reasoning": read.reasoning or "absent"})
    return LlamaCpp("SmolLM2-135M-Instruct", SMOLLM2.path, known, source=SMOLLM2)


def check_gguf(path: Path) -> None:
    """Look at a file's first bytes; llama.cpp would only say that it failed.

    Raises:
        ModelFileError: there is no such file, or it is no GGUF.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        message = f"cannot read the model {str(path)!r}: {error.strerror}"
        raise ModelFileError(message) from error
    if start.startswith(b"version https://git-lfs"):
        message = f"{str(path)!r} only points to a model: fetch it with 'git lfs pull'"
        raise ModelFileError(message)
    if not start.startswith(_MAGIC):
        what = "is empty" if not start else f"begins with {start[:8]!r}, not with {_MAGIC!r}"
        message = f"{str(path)!r} is no model in GGUF format: it {what}; download it again, or convert it"
        raise ModelFileError(message)


class LlamaCpp:
    """A model in this process. Samples of one request share the work on its prompt."""

    def __init__(
        self,
        name: str,
        file: Callable[[], Path],
        options: LlamaCppOptions,
        *,
        source: LocalModel | None = None,
    ) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            what = "llama.cpp in process"
            raise MissingExtra(what, "local")
        self._file = file
        self._source = source
        self._options = options
        self._slots = Slots(options.n_parallel)
        self._loading = threading.Lock()
        self._engine: _Engine | None = None
        can: set[Ability] = {"schema", "choices", "seed", "n"}
        self.profile = Profile(
            backend="llamacpp",
            model=name,
            context=options.n_ctx,
            prices=FREE,
            trust=options.trust,
            reasoning=options.reasoning or "absent",
            can=frozenset(can | {"logprobs"} if options.logprobs else can),
            guessed=() if options.reasoning else ("reasoning",),
        )

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Download the model if it is one that we know where to get, check it and load it.

        Args:
            say: told what goes on, and how much of it is done, from 0 to 1; called on this event loop.

        Raises:
            ModelFileError: the file cannot be had, or is not a model that llama.cpp can load.
        """
        loop = asyncio.get_running_loop()

        def say_there(message: str, fraction: float) -> None:
            with contextlib.suppress(RuntimeError):  # nobody listens any more: the loop is closed
                loop.call_soon_threadsafe(say, message, fraction)

        await asyncio.to_thread(self._load, say_there)

    def _load(self, say: Callable[[str, float], None]) -> _Engine:
        with self._loading:
            if self._engine is None:
                if self._source is not None:
                    self._source.pull(say)
                path = self._file()
                check_gguf(path)
                say(f"loading {self.profile.model}", 1.0)
                self._engine = _Engine(path, self._options)
            return self._engine

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream; closing it stops llama.cpp at its next token.

        More samples than `n_parallel` are generated in rounds.

        Raises:
            ModelFileError: the model could not be loaded.
            ContextOverflow: the prompt is too long; says how long, and how long it may be.
            BadRequest: llama.cpp calls the request wrong.
            BackendUnavailable: it was closed meanwhile.
        """
        engine = self._engine
        if engine is None:
            engine = await asyncio.to_thread(self._load, lambda _message, _fraction: None)
        usage = NO_USAGE
        width = self._options.n_parallel
        for first in range(0, request.n, width):
            last = first + width >= request.n
            seed = None if request.seed is None else request.seed + first
            part = msgspec.structs.replace(request, n=min(width, request.n - first), seed=seed)
            async with aclosing(self._round(engine, part, first)) as deltas:
                async for delta in deltas:
                    if delta.usage is None:
                        yield delta
                        continue
                    usage += delta.usage
                    yield msgspec.structs.replace(delta, usage=usage if last else None)

    async def _round(self, engine: _Engine, request: Request, first: int) -> AsyncGenerator[Delta]:
        reader = ChunkReader(request, FREE, first=first)
        await self._slots.take(request.n)
        try:
            call = engine.start(self._body(request), done=lambda: self._slots.give(request.n))
        except BaseException:
            self._slots.give(request.n)
            raise
        try:
            while (chunk := await call.next()) is not None:
                if "error" in chunk:
                    refused = stream_refusal(chunk["error"], Origin("llama.cpp"))
                    raise refused.error
                for delta in reader.read(chunk):
                    yield delta
        finally:
            call.stop()
        yield reader.end()

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": clean(turn.content)} for turn in request.messages],
            "n": request.n,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stop": list(request.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.seed is not None:
            body["seed"] = request.seed % 2**32  # llama.cpp's seeds have 32 bits
        if self._options.logprobs:
            body["logprobs"] = True
        if request.json_schema is not None:
            schema = bounded(request.json_schema, _CHARACTERS_PER_TOKEN * request.max_tokens)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        elif request.choices:
            body["grammar"] = choice_grammar(request.choices)
        return body

    async def close(self) -> None:
        """Stop what runs and free the model; a later use loads it again."""
        with self._loading:
            engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.close)


class _Engine:
    """A loaded model and the threads that wait for it."""

    def __init__(self, path: Path, options: LlamaCppOptions) -> None:
        # Before the import, which reads it: GNU OpenMP's threads would spin while they wait for each other,
        # which on a busy machine makes everything some thirty times slower.
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = options.n_ctx * options.n_parallel  # it is divided among the slots
        params.n_parallel = options.n_parallel
        if options.threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
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
                f"llama.cpp could not load {str(path)!r} ({path.stat().st_size} bytes): it is cut short, of a kind "
                "that llama.cpp does not know, or needs more memory than there is; download it again, or lower "
                f"n_ctx or n_parallel ({params.n_ctx} tokens of context in all)"
            )
            raise ModelFileError(message) from error
        self._threads = ThreadPoolExecutor(options.n_parallel, thread_name_prefix="llamacpp")
        self._calls: set[_Call] = set()

    def start(self, body: dict[str, Any], *, done: Callable[[], None]) -> _Call:
        """Begin with a request; `done` is called, from some thread, once llama.cpp has let go of it."""
        call = _Call(self._server, body)

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
        for call in list(self._calls):
            call.stop()
        self._threads.shutdown(wait=True)
        self._server = None  # its last reference: the port is closed, the memory freed


class _Call:
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
