"""The plug-in `llamacpp`: llama.cpp in this process, through xllamacpp (https://github.com/xorbitsai/xllamacpp)."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import warnings
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field, PositiveInt

from scaffold.errors import MissingExtra, ModelFileError, TaskError
from scaffold.vocabulary.characters import clean
from scaffold.vocabulary.models import FREE, NO_USAGE, Profile, ReasoningVisibility, Usage
from scaffold_backends.chunks import ChunkReader
from scaffold_backends.constraints import LONGEST_PER_TOKEN, bounded, choice_grammar
from scaffold_backends.crossing import in_a_thread
from scaffold_backends.gguf import check_gguf
from scaffold_backends.http.refusals import stream_refusal
from scaffold_backends.llamacpp.engine import ORIGIN, Engine, Result
from scaffold_backends.llamacpp.grammars import Grammars, Held
from scaffold_backends.llamacpp.keeping import Kept
from scaffold_backends.llamacpp.scoring import Scores, scores_of
from scaffold_backends.llamacpp.slots import Slots
from scaffold_backends.options import Options, read_options, threads_of
from scaffold_backends.store import SMOLLM2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Ability, Delta, Request
    from scaffold_backends.store import LocalModel


_MOST_CONTEXT = 2**24  # tokens; 64 times that still is a number of llama.cpp's


class LlamaCppOptions(Options):
    """What a task may set.

    Attributes:
        n_ctx: most tokens of prompt and answer together, of one sample; never more than the model was trained for.
        n_parallel: how many samples are generated at once; each takes memory for `n_ctx` tokens.
        threads: number of threads, at most that of processors; by default llama.cpp chooses.
        logprobs: give log-probabilities; with choices, of each among the choices.
        keep: a folder in which the state after long system turns is kept, so that the next process need not compute
            it. Who can write there can make this process read what it likes.
        reasoning: `full` for a model that reasons in `<think>` tags, which llama.cpp takes apart.
        trust: whether its answers may steer irreversible actions unseen.
    """

    n_ctx: int = Field(default=2048, ge=1, le=_MOST_CONTEXT)
    n_parallel: PositiveInt = Field(default=4, le=64)
    threads: PositiveInt | None = None
    logprobs: bool = False
    keep: Path | None = None
    reasoning: ReasoningVisibility | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"


def load(path: str = "", **options: Any) -> LlamaCpp:
    """Use your own model file: `llamacpp:path/to/model.gguf`. It is read on first use.

    Raises:
        TaskError: an option is wrong.
        MissingExtra: xllamacpp is not installed.
        ModelFileError: there is no such file, or it is no GGUF.
    """
    read = read_options(LlamaCppOptions, options, "llamacpp")
    if not path:
        raise ModelFileError("llamacpp needs a model: llamacpp:PATH, a file in GGUF format")
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
        message = f"smollm2 is a single model and takes no name such as {model!r}; for a file, write 'llamacpp:PATH'"
        raise TaskError(message)
    # It was not trained to reason before it answers.
    known = read.model_copy(update={"reasoning": read.reasoning or "absent"})
    return LlamaCpp("SmolLM2-135M-Instruct", SMOLLM2.path, known, source=SMOLLM2)


class LlamaCpp:
    """A model in this process; samples of one request share the work on its prompt.

    Raises:
        MissingExtra: xllamacpp is not installed.
    """

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
        self._kept: Kept | None = None
        self._grammars: Grammars | None = None
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
        await in_a_thread(self._load, say)

    def _load(self, say: Callable[[str, float], None]) -> Engine:
        options = self._options
        with self._loading:
            if self._engine is None:
                if self._source is not None:
                    self._source.pull(say)
                path = self._file()
                check_gguf(path)
                say(f"loading {self.profile.model}", 1.0)
                keep = None if options.keep is None else options.keep.expanduser().resolve()
                if keep is not None:
                    _make(keep)
                self._engine = Engine(
                    path,
                    n_ctx=options.n_ctx,
                    n_parallel=options.n_parallel,
                    threads=threads_of(options.threads, self.profile.model),
                    keep=keep,
                )
                self._kept = Kept(keep, path, self._engine, options.n_parallel) if keep is not None else None
                self._grammars = Grammars(self._engine)
                self._know_context(self._engine.context)
            return self._engine

    def _know_context(self, context: int) -> None:
        if context < self._options.n_ctx and "n_ctx" in self._options.model_fields_set:
            warnings.warn(
                f"n_ctx is {self._options.n_ctx}, and {self.profile.model} was trained on texts of {context} tokens: "
                f"using {context}",
                stacklevel=2,
            )
        self.profile = msgspec.structs.replace(self.profile, context=context)

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
        await self._keep(engine, request)
        body = await asyncio.to_thread(self._body, engine, request)
        scores = await self._scores(engine, body["messages"], request.choices)
        usage = NO_USAGE
        width = self._options.n_parallel
        for first in range(0, request.n, width):
            last = first + width >= request.n
            part = msgspec.structs.replace(request, n=min(width, request.n - first))
            async with aclosing(self._round(engine, body, part, first)) as deltas:
                async for delta in deltas:
                    told = delta if scores is None else scores.tell(delta)
                    if delta.usage is not None:
                        usage = _together(usage, delta.usage, scores)
                        told = msgspec.structs.replace(told, usage=usage if last else None)
                    yield told

    async def _keep(self, engine: Engine, request: Request) -> None:
        """Restore or save the state after a request's system turn, if states are kept."""
        kept, first = self._kept, next(iter(request.messages), None)
        if kept is None or first is None or first.role != "system" or kept.knows(clean(first.content)):
            return
        await self._aside(engine, self._options.n_parallel, lambda: kept.see_to(clean(first.content)))

    async def _scores(self, engine: Engine, messages: list[dict[str, str]], choices: tuple[str, ...]) -> Scores | None:
        """Return the choices' probabilities, if they are to be reported."""
        if not choices or not self._options.logprobs:
            return None
        stopped = threading.Event()

        def work() -> Scores:
            return scores_of(engine, messages, choices, lambda: stopped.is_set() or engine.closed.is_set())

        try:
            return await self._aside(engine, 1, work)
        finally:
            stopped.set()

    async def _aside(self, engine: Engine, slots: int, work: Callable[[], Result]) -> Result:
        """Do blocking work in a thread while holding this many slots."""
        await self._slots.take(slots)
        try:
            running = engine.aside(work, done=lambda: self._slots.give(slots))
        except BaseException:
            self._slots.give(slots)
            raise
        return await asyncio.wrap_future(running)

    async def _round(self, engine: Engine, body: dict[str, Any], request: Request, first: int) -> AsyncGenerator[Delta]:
        reader = ChunkReader(request, FREE, first=first)
        body = {**body, "n": request.n}
        if request.seed is not None:
            body["seed"] = (request.seed + first) % 2**32  # llama.cpp's seeds have 32 bits
        held = Held(request) if "grammar" in body and request.json_schema is not None else None
        await self._slots.take(request.n)
        try:
            call = engine.start(body, done=lambda: self._slots.give(request.n))
        except BaseException:
            self._slots.give(request.n)
            raise
        try:
            while (chunk := await call.next()) is not None:
                if "error" in chunk:
                    raise stream_refusal(chunk["error"], ORIGIN).error
                for delta in reader.read(chunk):
                    if held is not None:
                        held.check(delta)
                    yield delta
        finally:
            call.stop()
        yield reader.end()

    def _body(self, engine: Engine, request: Request) -> dict[str, Any]:
        """Return llama.cpp's request without the number of samples and seed; blocks while a grammar is made."""
        body: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": clean(turn.content)} for turn in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stop": [stop for stop in request.stop if stop],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._options.logprobs and not request.choices:
            body |= {"logprobs": True, "top_logprobs": 1}  # with 0, even the token's own is not reported
        if request.json_schema is not None:
            schema = bounded(request.json_schema, LONGEST_PER_TOKEN * request.max_tokens, every=True)
            if self._options.reasoning == "full":  # it lets the model reason first; a grammar would not
                body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            elif self._grammars is not None:
                body["grammar"] = self._grammars.of(schema)
        elif request.choices:
            body["grammar"] = choice_grammar(request.choices)
        return body

    async def close(self) -> None:
        """Stop running requests and free the model; a later use loads it again."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._loading:
            engine, self._engine = self._engine, None
            self._kept = self._grammars = None
        if engine is not None:
            engine.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"cannot make the folder {str(folder)!r}: {error.strerror}", path=("keep",)) from error


def _together(before: Usage, usage: Usage, scores: Scores | None) -> Usage:
    """Add up rounds of one prompt, which counts only once, even if llama.cpp had to compute it again."""
    cached = usage.cached if before == NO_USAGE else before.cached
    if scores is not None and before == NO_USAGE:
        cached = scores.cached  # scoring had read the prompt before the samples
    return Usage(
        input=max(before.input, usage.input),
        output=before.output + usage.output,
        reasoning=before.reasoning + usage.reasoning,
        cached=cached,
    )
