"""Answering one request: the prompt is read once, its state forks where samples part. Runs in a thread.

Samples that have said the same so far have the same state, so they are one sequence of the batch until one says
something else: n votes that agree cost little more than one.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scaffold.vocabulary.models import Delta, Usage
from scaffold_backends.stops import StopFinder
from scaffold_backends.xlstm.choosing import Weighed, stream_of, trie_of, uniform
from scaffold_backends.xlstm.signals import entropy_and_margin
from scaffold_backends.xlstm.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Finish, Request
    from scaffold_backends.xlstm.choosing import Trie
    from scaffold_backends.xlstm.functions import Array
    from scaffold_backends.xlstm.model import XLSTM, State
    from scaffold_backends.xlstm.specs import Config
    from scaffold_backends.xlstm.states import States
    from scaffold_backends.xlstm.tokens import Vocabulary

_BURST_S = 0.01  # what was generated is handed over this often; a short answer is one piece
_PIECE = 256  # tokens of a prompt read before somebody may stop us


class _Sample:
    """One sample while it is generated."""

    __slots__ = ("count", "entropy", "finish", "index", "logprob", "margin", "pending", "place", "stops", "stream")

    def __init__(self, index: int, seed: int, stops: tuple[str, ...], place: Trie | None) -> None:
        self.index = index
        self.stream = stream_of(seed)  # of chance
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
        seed = request.seed or 0
        self._samples = [_Sample(index, seed + index, request.stop, trie) for index in range(request.n)]
        self._signals = signals
        self._written = 0

    def run(self) -> Iterator[list[Delta]]:
        """Generate, in bursts; the last Delta has the usage.

        Raises:
            Stopped: somebody has set `stop`.
        """
        state, cached = self._read()
        rows = [self._samples]  # of the state, each with the samples that have said what it has read
        until = time.monotonic() + _BURST_S
        for place in itertools.count():
            rows, following, ended = self._choose(state, rows, place)
            pieces = self._last(ended, state)
            if not following:
                usage = Usage(input=len(self._prompt), output=self._written, cached=cached)
                yield [*pieces[:-1], msgspec.structs.replace(pieces[-1], usage=usage)]
                return
            if pieces or time.monotonic() > until:
                yield pieces + [sample.delta(None) for row in rows for sample in row]
                until = time.monotonic() + _BURST_S
            if self.stop.is_set():
                raise Stopped
            before = [row for row, _ in following]
            if before != list(range(state.batch)):
                state = state.take(before)
            state = self._model.step(state, np.array([token for _, token in following]))

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

    def _choose(
        self, state: State, rows: list[list[_Sample]], place: int
    ) -> tuple[list[list[_Sample]], list[tuple[int, int]], list[tuple[int, _Sample]]]:
        """Choose a word for each sample, and have it take it.

        Returns:
            The samples that go on, by what they have said; of each such row the one before and the word that it
            reads; and the samples that have ended, each with the row that it was in.
        """
        limits = None if rows[0][0].place is None else [row[0].place or {} for row in rows]
        weighed = Weighed(state.logits, self._request.temperature, limits)
        following: dict[tuple[int, int], list[_Sample]] = {}
        ended = []
        for row, samples in enumerate(rows):
            for sample in samples:
                token = weighed.choose(row, uniform(sample.stream, place))
                sample.logprob += weighed.logprob(row, token)
                sample.take(*self._word(sample, token))
                if sample.finish is None:
                    following.setdefault((row, token), []).append(sample)
                else:
                    ended.append((row, sample))
            self._written += len(samples)
        if self._signals:
            self._note(state.logits, rows)
        return list(following.values()), list(following), ended

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
    def _note(logits: Array, rows: list[list[_Sample]]) -> None:
        entropy, margin = entropy_and_margin(logits)
        for row, high, low in zip(rows, entropy.tolist(), margin.tolist(), strict=True):
            for sample in row:
                sample.entropy, sample.margin = max(sample.entropy, high), min(sample.margin, low)

    def _last(self, ended: list[tuple[int, _Sample]], state: State) -> list[Delta]:
        """Give the last pieces of the samples that have ended, each with the row of the state that it was in."""
        if not self._signals or not ended:
            return [sample.delta(None) for _, sample in ended]
        # The answer is as sure as its least sure word; the memory is the one from which the last word was chosen.
        figures = self._model.signals(state)
        return [
            sample.delta(figures[row] | {"entropy": sample.entropy, "margin": sample.margin}) for row, sample in ended
        ]
