"""Answering one request: the prompt is read once, forked n ways, and stepped as one batch. Runs in a thread."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scaffold.vocabulary.models import Delta, Usage
from scaffold_backends.stops import StopFinder
from scaffold_backends.xlstm.choosing import allow_only, choose, log_probabilities, stream_seeds, trie_of, uniforms
from scaffold_backends.xlstm.signals import entropy_and_margin
from scaffold_backends.xlstm.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Finish, Request
    from scaffold_backends.xlstm.choosing import Tokens, Trie
    from scaffold_backends.xlstm.functions import Array
    from scaffold_backends.xlstm.model import XLSTM, State
    from scaffold_backends.xlstm.specs import Config
    from scaffold_backends.xlstm.states import States
    from scaffold_backends.xlstm.tokens import Vocabulary

_BURST_S = 0.01  # what was generated is handed over this often; a short answer is one piece
_PIECE = 256  # tokens of a prompt read before somebody may stop us


class _Sample:
    """One sample while it is generated."""

    __slots__ = ("count", "entropy", "finish", "index", "logprob", "margin", "pending", "place", "stops")

    def __init__(self, index: int, stops: tuple[str, ...], place: Trie | None) -> None:
        self.index = index
        self.place = place  # in the trie of choices
        self.stops = StopFinder(stops) if stops else None
        self.count = 0  # tokens
        self.pending = ""  # text that was not handed over yet
        self.logprob = 0.0  # likewise
        self.finish: Finish | None = None
        self.entropy, self.margin = 0.0, 1.0  # the highest and the lowest so far

    def take(self, text: str, finish: Finish | None) -> None:
        """Take one more word, and how the sample ends with it."""
        if self.stops is not None:
            text, finish = self.stops.feed(text, finish)
            if self.stops.found:
                finish = "stop"
        self.pending += text
        self.finish = finish

    def delta(self, signals: dict[str, float] | None) -> Delta:
        """Hand over what it has said since the last time."""
        piece = Delta(self.index, self.pending, finish=self.finish, logprob=self.logprob, signals=signals)
        self.pending, self.logprob = "", 0.0
        return piece


class Generation:
    """One request under way.

    Attributes:
        stop: set by whoever no longer wants it; from any thread.
    """

    def __init__(
        self,
        request: Request,
        prompt: list[int],
        *,
        begun: list[int],
        model: XLSTM,
        vocabulary: Vocabulary,
        config: Config,
        states: States,
        signals: bool,
    ) -> None:
        """Begin; the request has a seed.

        Args:
            prompt: tokens to read: at least one.
            begun: tokens of the answer that are there already.
            states: prompts that were read before.
            signals: give figures about the inner state.
        """
        self.stop = threading.Event()
        self._request, self._prompt, self._begun = request, [*prompt, *begun], bool(begun)
        self._model, self._vocabulary, self._states = model, vocabulary, states
        self._answer = None if config.answer is None else max(config.answer - len(begun), 1)
        self._end = None if config.end is None else vocabulary.words.index(config.end)
        trie = trie_of(request.choices, vocabulary, end=self._end) if request.choices else None
        self._samples = [_Sample(index, request.stop, trie) for index in range(request.n)]
        self._seeds = stream_seeds(request.seed or 0, request.n)
        self._signals = signals
        self._written = 0

    def run(self) -> Iterator[list[Delta]]:
        """Generate, in bursts; the last Delta has the usage.

        Raises:
            Stopped: somebody has set `stop`.
        """
        read, cached = self._read()
        state = read.fork(len(self._samples))
        running = self._samples
        until = time.monotonic() + _BURST_S
        for place in itertools.count():
            chosen = self._choose(state, running, place)
            going = [row for row, sample in enumerate(running) if sample.finish is None]
            pieces = self._ended(running, state) if len(going) < len(running) else []
            if not going:
                usage = Usage(input=len(self._prompt), output=self._written, cached=cached)
                yield [*pieces[:-1], msgspec.structs.replace(pieces[-1], usage=usage)]
                return
            if pieces:
                running = [running[row] for row in going]
                state, chosen, self._seeds = state.take(going), chosen[going], self._seeds[going]
            if pieces or time.monotonic() > until:
                yield pieces + [sample.delta(None) for sample in running]
                until = time.monotonic() + _BURST_S
            if self.stop.is_set():
                raise Stopped
            state = self._model.step(state, chosen)

    def _read(self) -> tuple[State, int]:
        """Read the prompt, or find it read; give its state, and how many tokens were not read anew."""
        state = self._states.get(self._prompt)
        if state is not None:
            return state, len(self._prompt)
        tokens = np.array([self._prompt])
        state = self._model.empty()
        for first in range(0, len(self._prompt), _PIECE):
            if self.stop.is_set():
                raise Stopped
            state = self._model.encode(tokens[:, first : first + _PIECE], state)
        self._states.put(self._prompt, state)
        return state, 0

    def _choose(self, state: State, running: list[_Sample], place: int) -> Tokens:
        """Choose a token for each running sample, and have each take it."""
        logits = allowed = state.logits
        if running[0].place is not None:
            allowed = allow_only(logits, [sample.place or {} for sample in running])
        chosen = choose(allowed, self._request.temperature, uniforms(self._seeds, place))
        if self._signals:
            self._note(logits, running)
        logprobs = log_probabilities(logits, chosen).tolist()
        for sample, token, logprob in zip(running, chosen.tolist(), logprobs, strict=True):
            sample.logprob += logprob
            sample.take(*self._word(sample, token))
        self._written += len(running)
        return chosen

    def _word(self, sample: _Sample, token: int) -> tuple[str, Finish | None]:
        """Give a token's text, and how the sample ends with it."""
        if token == self._end:
            return "", "stop"
        text = self._vocabulary.text([token], first=not (sample.count or self._begun))
        sample.count += 1
        if sample.place is not None:
            sample.place = sample.place[token]
            whole = not sample.place
        else:
            whole = self._answer is not None and sample.count >= self._answer
        if whole:
            return text, "stop"
        return text, "length" if sample.count >= self._request.max_tokens else None

    @staticmethod
    def _note(logits: Array, running: list[_Sample]) -> None:
        entropy, margin = entropy_and_margin(logits)
        for sample, high, low in zip(running, entropy.tolist(), margin.tolist(), strict=True):
            sample.entropy, sample.margin = max(sample.entropy, high), min(sample.margin, low)

    def _ended(self, running: list[_Sample], state: State) -> list[Delta]:
        """Give the last pieces of the samples that have ended."""
        if not self._signals:
            return [sample.delta(None) for sample in running if sample.finish]
        # The answer is as sure as its least sure word; the memory is the one from which the last word was chosen.
        figures = self._model.signals(state)
        return [
            sample.delta(figures[row] | {"entropy": sample.entropy, "margin": sample.margin})
            for row, sample in enumerate(running)
            if sample.finish
        ]
