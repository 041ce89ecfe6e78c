"""The plug-in `hf`: models in Hugging Face's format, run in this process by transformers."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field, PositiveInt

from scaffold.errors import BackendError, BackendUnavailable, BadInput, BadResponse, ContextOverflow
from scaffold.vocabulary.models import FREE, Profile, ReasoningVisibility
from scaffold_backends.crossing import Crossing, in_a_thread
from scaffold_backends.hf import loading
from scaffold_backends.hf.decoding import Decoding, Sample, Wanted
from scaffold_backends.hf.prompts import Prompt, render
from scaffold_backends.hf.text import SampleText
from scaffold_backends.options import Options, read_options, threads_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Ability, Delta, Request
    from scaffold_backends.hf.constraints import Grammars
    from scaffold_backends.hf.loading import Model
    from scaffold_backends.thinking import ThinkTags


class HfOptions(Options):
    """What a task may set.

    Attributes:
        gguf_file: the GGUF file to load, in the folder that is named.
        dtype: of the weights; `auto` is that of the files.
        device: where to compute: `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: number of threads, at most that of processors; by default torch chooses.
        n_ctx: most tokens of prompt and answer together; by default what the model was trained for, or no limit if all
            of its state has a fixed size. A higher value than the training's gives a warning.
        n_parallel: how many samples are generated in parallel; each takes memory for the whole text.
        logprobs: give log-probabilities.
        signals: report with each sample how sure the model was (`entropy`, `margin`) and, for a recurrent one, the size
            of its memory (`memory_norm`).
        reasoning: `full` for a model that reasons in `<think>` tags before it answers, which are taken apart;
            `absent` leaves them in the answer.
        trust: whether its answers may steer irreversible actions unseen.
    """

    gguf_file: str = ""
    dtype: loading.Dtype = "float32"
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda|mps|xpu)(:[0-9]{1,3})?$")
    threads: PositiveInt | None = None
    n_ctx: PositiveInt | None = None
    n_parallel: PositiveInt = 8
    logprobs: bool = False
    signals: bool = False
    reasoning: ReasoningVisibility | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"


def load(path: str = "", **options: Any) -> HuggingFace:
    """Use a model on this machine: `hf:FOLDER`, `hf:FILE.gguf`, or `hf:owner/name` if it was downloaded before.

    It is loaded on first use. `hf:smollm2` is SmolLM2-135M-Instruct, which is downloaded on first use; reading its GGUF
    file takes a minute and more each time, unless it is converted once (`scaffold_backends.hf.convert`).

    Raises:
        TaskError: an option is wrong.
        MissingExtra: torch, transformers, gguf or accelerate is not installed.
        ModelFileError: there is no such model.
    """
    read = read_options(HfOptions, options, "hf")
    loading.installed()
    return HuggingFace(loading.place_of(path, read.gguf_file), read)


class HuggingFace:
    """A transformer or a recurrent model in this process; one request at a time, its samples in parallel."""

    def __init__(self, place: loading.Place, options: HfOptions) -> None:
        self._place = place
        self._options = options
        self._loading = threading.Lock()
        self._model: Model | None = None
        self._grammars: Grammars | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._running: set[Crossing[Delta]] = set()
        can: set[Ability] = {"choices", "seed", "n", "fork"}
        if importlib.util.find_spec("llguidance") is not None:
            can.add("schema")
        if options.logprobs:
            can.add("logprobs")
        self.profile = Profile(
            backend="hf",
            model=place.name,
            context=options.n_ctx,
            prices=FREE,
            trust=options.trust,
            reasoning=options.reasoning or "absent",
            can=frozenset(can),
            guessed=() if options.reasoning else ("reasoning",),
        )

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Load the model.

        Args:
            say: told what goes on, and how much of it is done, from 0 to 1; called on this event loop.

        Raises:
            ModelFileError: it cannot be loaded, or is of a kind that cannot be used.
        """
        await in_a_thread(self._load, say)

    def _load(self, say: Callable[[str, float], None]) -> tuple[Model, ThreadPoolExecutor]:
        options = self._options
        with self._loading:
            if self._model is None or self._thread is None:
                self._model = loading.load(self._place, dtype=options.dtype, device=options.device, say=say)
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="hf", initializer=self._set_threads)
                self.profile = msgspec.structs.replace(self.profile, context=self._context(self._model))
            return self._model, self._thread

    def _set_threads(self) -> None:
        import torch

        threads = threads_of(self._options.threads, self.profile.model)
        if threads is not None:
            torch.set_num_threads(threads)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream; closing it stops the model at its next token. Requests wait for one another.

        Raises:
            ModelFileError: the model could not be loaded.
            ContextOverflow: the prompt is too long; says how long, and how long it may be.
            BadRequest: the chat template refuses the turns, or the schema cannot be enforced.
            BadResponse: the model's scores are not numbers, or it failed.
            BackendUnavailable: it was closed meanwhile.
        """
        if self._model is None or self._thread is None:
            model, thread = await asyncio.to_thread(self._load, lambda _message, _fraction: None)
        else:
            model, thread = self._model, self._thread
        crossing: Crossing[Delta] = Crossing()
        self._running.add(crossing)
        try:
            try:
                thread.submit(self._run, model, request, crossing)
            except RuntimeError as error:
                raise BackendUnavailable("the model was closed") from error
            finished = False
            while (delta := await crossing.next()) is not None:
                finished = delta.usage is not None
                yield delta
            if not finished:
                raise BackendUnavailable("the model was closed while it answered")
        finally:
            crossing.stopped.set()
            self._running.discard(crossing)

    def _run(self, model: Model, request: Request, crossing: Crossing[Delta]) -> None:
        """Run one request to its end, in the model's thread."""
        end: Exception | None = None
        try:
            if not crossing.stopped.is_set():
                self._decode(model, request, crossing)
        except (BackendError, BadInput) as error:
            end = error
        except Exception as error:  # noqa: BLE001 - raised in the reader
            end = BadResponse(f"{model.name} failed: {type(error).__name__}: {error}")
        crossing.put(end)

    def _decode(self, model: Model, request: Request, crossing: Crossing[Delta]) -> None:
        options = self._options
        prompt = render(model.tokenizer, request.messages)
        limit = min(request.max_tokens, self._room(model, len(prompt.tokens)))
        wanted = Wanted(logprobs=options.logprobs, signals=options.signals, together=options.n_parallel)
        decoding = Decoding(model, request, wanted, crossing.put, crossing.stopped.is_set)
        decoding.run(prompt, self._samples(model, request, prompt, limit))

    def _context(self, model: Model) -> int | None:
        """Return the most tokens of prompt and answer together; None if unknown or unlimited."""
        most, trained = self._options.n_ctx, model.trained
        if trained is not None and model.family.positions == "learned":
            return min(most or trained, trained)  # beyond it there are no positions to compute with
        return most or (None if model.family.endless else trained)

    def _room(self, model: Model, length: int) -> int:
        """Return the most tokens of an answer after a prompt of this length."""
        most = self._context(model)
        if most is not None and length >= most:
            cure = "raise the option n_ctx"
            if most != self._options.n_ctx:
                learned = model.family.positions == "learned"
                cure = (
                    "use a model with more context"
                    if learned
                    else "set the option n_ctx, if worse answers are acceptable"
                )
            raise ContextOverflow(
                f"the prompt has {length} tokens, but {model.name} has room for {most}, with the answer: shorten the "
                f"prompt, or {cure}"
            )
        if model.trained is not None and length > model.trained:
            message = (
                f"the prompt has {length} tokens; {model.name} was trained on texts of {model.trained} tokens, and "
                "its answers get worse beyond that"
            )
            warnings.warn(message, stacklevel=2)
        return most - length if most is not None else length + 10**9

    def _samples(self, model: Model, request: Request, prompt: Prompt, limit: int) -> list[Sample]:
        constraint = None
        if request.json_schema is not None and "schema" in self.profile.can:
            constraint = self._grammar(model).schema(request.json_schema, request.max_tokens)
        tags: ThinkTags = "open" if prompt.thinking else "tags"
        if self._options.reasoning == "absent":
            tags = "none"
        return [
            Sample(
                index=index,
                source=random.Random(None if request.seed is None else request.seed + index),  # noqa: S311 - not secret
                text=SampleText(model.decode, request.stop, tags),
                limit=limit,
                constraint=constraint and constraint.copy(),
            )
            for index in range(request.n)
        ]

    def _grammar(self, model: Model) -> Grammars:
        if self._grammars is None:
            from scaffold_backends.hf.constraints import Grammars

            width = model.network.get_output_embeddings().weight.shape[0]
            self._grammars = Grammars(model.tokenizer, width, model.ends)
        return self._grammars

    async def close(self) -> None:
        """Stop running requests and free the model; a later use loads it again."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._loading:
            thread, self._thread = self._thread, None
            self._model = self._grammars = None
        if thread is None:
            return
        thread.shutdown(wait=False)  # from here on, no request begins
        for crossing in list(self._running):
            crossing.stopped.set()
        thread.shutdown(wait=True)
        gc.collect()  # networks have reference cycles
