"""The plug-in `xlstm`: a small recurrent model in this process, in numpy."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from scaffold.errors import BackendUnavailable, BadRequest, MissingExtra, TaskError
from scaffold.vocabulary.models import FREE, Profile
from scaffold_backends.options import Options, read_options
from scaffold_backends.xlstm.checkpoint import find, shipped
from scaffold_backends.xlstm.gathering import Gathering
from scaffold_backends.xlstm.specs import SLSTMSpec
from scaffold_backends.xlstm.stopping import Stopped
from scaffold_backends.xlstm.tokens import Vocabulary, bare_prompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Delta, Request
    from scaffold_backends.xlstm.asked import Asked
    from scaffold_backends.xlstm.checkpoint import Checkpoint
    from scaffold_backends.xlstm.generation import Piece
    from scaffold_backends.xlstm.model import XLSTM
    from scaffold_backends.xlstm.specs import Config
    from scaffold_backends.xlstm.states import States

_FEW, _SHORT = 1_000_000, 384  # weights of a small model, tokens that it reads in a few milliseconds
_LONG = 256  # tokens of a prompt that others need not wait for


class BeyondTraining(UserWarning):
    """A prompt is longer than any that the model was trained on."""


class XLSTMOptions(Options):
    """What a task may set.

    Attributes:
        signals: report the inner state with each sample: entropy, margin, memory norms, gate saturation.
        cache: number of prompts whose states are kept, so that votes drawn later do not read the prompt again.
        trust: whether its answers may steer irreversible actions unseen.
    """

    signals: bool = False
    cache: int = Field(default=16, ge=0, le=65_536)
    trust: Literal["trusted", "untrusted"] = "untrusted"


def load(model: str, **options: Any) -> XLSTMBackend:
    """Use a shipped checkpoint (`xlstm:hanoi`), or one's own (`xlstm:path/to/model.safetensors`).

    Raises:
        TaskError: an option is wrong, or there is no such checkpoint.
        MissingExtra: numpy or safetensors is not installed.
        ModelFileError: the checkpoint's config cannot be used.
    """
    read = read_options(XLSTMOptions, options, "xlstm")
    if not model:
        raise TaskError(f"xlstm needs the name of a checkpoint ({', '.join(shipped())}) or a path, as in 'xlstm:hanoi'")
    if any(importlib.util.find_spec(name) is None for name in ("numpy", "safetensors")):
        raise MissingExtra("xlstm", "local")
    return XLSTMBackend(find(model), read)


class XLSTMBackend:
    """A model in this process: a prompt is read once and forked for its samples, which are stepped as one batch.

    Requests made at the same time are answered as one batch. It computes in one thread of its own, so the event loop
    goes on meanwhile; batches take turns, a burst each. Only what a small model reads in a few milliseconds is read at
    once, where it was asked.
    """

    def __init__(self, checkpoint: Checkpoint, options: XLSTMOptions) -> None:
        config = checkpoint.config
        self._checkpoint, self._options = checkpoint, options
        self._vocabulary = Vocabulary(config.vocabulary, config.tokens)
        self._at_once = _at_once(config)
        self._lock = threading.Lock()  # of its thread: it is used by tasks of any event loop
        self._loaded: tuple[XLSTM, States] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._running: set[Asked] = set()
        self._gathering = Gathering(self._answer)
        self.profile = Profile(
            backend="xlstm",
            model=checkpoint.name,
            context=None,  # a recurrent model reads on without end; how well is what the warning is about
            prices=FREE,
            trust=options.trust,
            reasoning="absent",
            can=frozenset({"n", "fork", "seed", "logprobs", "choices"}),
        )

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Read the weights and check them.

        Raises:
            ModelFileError: they are not what the config says.
        """
        await self._in_thread(self._load)
        say(f"{self._checkpoint.name} is ready", 1.0)

    def _load(self) -> tuple[XLSTM, States]:
        """Load the weights unless they are loaded; in the model's one thread, so never twice at a time."""
        if self._loaded is None:
            from scaffold_backends.xlstm.states import States

            self._loaded = self._checkpoint.load(), States(self._options.cache)
        return self._loaded

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream; closing it stops the work at the next token.

        Raises:
            ModelFileError: the weights could not be read.
            BadRequest: the prompt or a choice has words outside of the vocabulary, or the prompt has several turns.
            BackendUnavailable: it was closed meanwhile.
        """
        asked = self._asked(request)
        self._running.add(asked)
        try:
            async with aclosing(self._bursts(asked)) as bursts:
                async for burst in bursts:
                    for delta in burst:
                        yield delta
        except Stopped as stopped:
            raise BackendUnavailable(f"the model {self._checkpoint.name} was closed while it answered") from stopped
        finally:
            asked.stopped = True
            self._running.discard(asked)

    def _asked(self, request: Request) -> Asked:
        from scaffold_backends.xlstm.asked import Asked

        prompt, beginning = bare_prompt(request.messages)
        tokens = self._vocabulary.tokens(prompt)
        config = self._checkpoint.config
        if not tokens:
            raise BadRequest("the prompt is empty: there is nothing to read")
        if len(tokens) > config.longest:
            warnings.warn(
                f"the prompt has {len(tokens)} tokens, and {self._checkpoint.name} was trained on prompts of at most "
                f"{config.longest}: its answers may be worse",
                BeyondTraining,
                stacklevel=3,
            )
        begun = self._vocabulary.tokens(beginning, "the beginning of the answer")
        seed = secrets.randbits(32) if request.seed is None else request.seed
        request = msgspec.structs.replace(request, seed=seed)
        return Asked(request, tokens, begun, vocabulary=self._vocabulary, config=config)

    def _bursts(self, asked: Asked) -> AsyncGenerator[list[Delta]]:
        """Batch a short prompt with others that are asked at the same time; run a long one alone."""
        if len(asked.prompt) > _LONG:
            return self._gathering.alone(asked)
        return self._gathering.deltas(asked)

    async def _answer(self, asked: list[Asked]) -> AsyncGenerator[list[Piece]]:
        """Answer requests together, in bursts."""
        model, states = self._loaded or await self._in_thread(self._load)
        from scaffold_backends.xlstm.generation import Generation

        bursts = Generation(
            asked,
            model=model,
            vocabulary=self._vocabulary,
            config=self._checkpoint.config,
            states=states,
            signals=self._options.signals,
        ).run()
        # Handing a few milliseconds of work to a thread, and waiting for its answer, costs a good part of them.
        quick = sum(len(each.prompt) for each in asked) <= self._at_once
        burst = next(bursts) if quick else await self._in_thread(next, bursts)
        while burst is not None:
            yield burst
            if not any(each.alive for each in asked):
                return
            burst = await self._in_thread(next, bursts, None)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="xlstm")
            running = self._thread.submit(function, *arguments)
        return await asyncio.wrap_future(running)

    async def close(self) -> None:
        """Stop running requests and free the model; a later use loads it again."""
        with self._lock:
            thread, self._thread = self._thread, None
            for asked in list(self._running):
                asked.stopped = True
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)
        self._loaded = None


def _at_once(config: Config) -> int:
    """Return how many tokens can be read at once quickly; 0 for models that are large or read one by one."""
    one_by_one = any(isinstance(block, SLSTMSpec) for block in config.blocks)
    weights = sum(prod(shape) for shape in config.shapes().values())
    return 0 if one_by_one or weights > _FEW else _SHORT
