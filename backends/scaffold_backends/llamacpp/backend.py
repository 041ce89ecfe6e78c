"""llama.cpp in this process, through xllamacpp (https://github.com/xorbitsai/xllamacpp)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import threading
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field, PositiveInt

from scaffold.errors import MissingExtra, TaskError
from scaffold.vocabulary.models import FREE, NO_USAGE, Profile, ReasoningVisibility
from scaffold_backends.chunks import ChunkReader, clean
from scaffold_backends.constraints import LONGEST_PER_TOKEN, bounded, choice_grammar
from scaffold_backends.gguf import check_gguf
from scaffold_backends.http.refusals import Origin, stream_refusal
from scaffold_backends.llamacpp.engine import Engine
from scaffold_backends.llamacpp.slots import Slots
from scaffold_backends.options import Options, read_options
from scaffold_backends.store import SMOLLM2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Ability, Delta, Request
    from scaffold_backends.store import LocalModel


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
        message = f"smollm2 is one model and takes no name, such as {model!r}; for a file, write 'llamacpp:PATH'"
        raise TaskError(message)
    # It was not trained to reason before it answers.
    known = read.model_copy(update={"reasoning": read.reasoning or "absent"})
    return LlamaCpp("SmolLM2-135M-Instruct", SMOLLM2.path, known, source=SMOLLM2)


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
        self._engine: Engine | None = None
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

    def _load(self, say: Callable[[str, float], None]) -> Engine:
        options = self._options
        with self._loading:
            if self._engine is None:
                if self._source is not None:
                    self._source.pull(say)
                path = self._file()
                check_gguf(path)
                say(f"loading {self.profile.model}", 1.0)
                self._engine = Engine(path, n_ctx=options.n_ctx, n_parallel=options.n_parallel, threads=options.threads)
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

    async def _round(self, engine: Engine, request: Request, first: int) -> AsyncGenerator[Delta]:
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
            schema = bounded(request.json_schema, LONGEST_PER_TOKEN * request.max_tokens)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        elif request.choices:
            body["grammar"] = choice_grammar(request.choices)
        return body

    async def close(self) -> None:
        """Stop what runs and free the model; a later use loads it again."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._loading:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
