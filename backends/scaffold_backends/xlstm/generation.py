"""Answering one request: the prompt is read once, its state forks where samples part. Runs in a thread.

Samples that have said the same so far have the same state, so they are one sequence of the batch until one says
something else: n votes that agree cost little more than one.
"""

from __future__ import annotations

import copy
import itertools
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


class _Branch:
    """Samples that have said the same so far: one row of the state.

    Attributes:
        samples: the index of each, and its stream of chance.
        place: in the trie of choices, where there are choices.
        count: tokens said.
        pending: text that was not handed over yet, and its logarithm of probability.
        entropy, margin: the highest and the lowest so far.
    """

    __slots__ = ("count", "entropy", "finish", "logprob", "margin", "pending", "place", "samples", "stops")

    def __init__(self, samples: list[tuple[int, int]], stops: StopFinder | None, place: Trie | None) -> None:
        self.samples, self.stops, self.place = samples, stops, place
        self.count = 0
        self.pending, self.logprob = "", 0.0
        self.finish: Finish | None = None
        self.entropy, self.margin = 0.0, 1.0

    def parts(self, chosen: list[int]) -> list[tuple[int, _Branch]]:
        """Give the words that samples have chosen, each word once, with those that have."""
        if chosen.count(chosen[0]) == len(chosen):
            return [(chosen[0], self)]
        samples: dict[int, list[tuple[int, int]]] = {}
        for token, sample in zip(chosen, self.samples, strict=True):
            samples.setdefault(token, []).append(sample)
        return [(token, self._with(those)) for token, those in samples.items()]

    def _with(self, samples: list[tuple[int, int]]) -> _Branch:
        apart = copy.copy(self)
        apart.samples, apart.stops = samples, copy.copy(self.stops)
        return apart

    def take(self, text: str, finish: Finish | None) -> None:
        """Take one more word, and how the samples end with it."""
        if self.stops is not None:
            text, finish = self.stops.feed(text, finish)
            if self.stops.found:
                finish = "stop"
        self.pending += text
        self.finish = finish

    def deltas(self, signals: dict[str, float] | None = None) -> list[Delta]:
        """Hand over what was said since the last time."""
        text, logprob = self.pending, self.logprob
        self.pending, self.logprob = "", 0.0
        return [Delta(index, text, finish=self.finish, logprob=logprob, signals=signals) for index, _ in self.samples]


class Generation:
    """One request under way.

    Attributes:
        stopped: set by whoever no longer wants it; from any thread.
        prompt: the tokens that are read.
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
        self.stopped = False
        self._request, self.prompt, self._begun = request, [*prompt, *begun], bool(begun)
        self._model, self._vocabulary, self._states = model, vocabulary, states
        self._answer = None if config.answer is None else max(config.answer - len(begun), 1)
        self._end = None if config.end is None else vocabulary.words.index(config.end)
        trie = trie_of(request.choices, vocabulary, end=self._end) if request.choices else None
        seed = request.seed or 0
        samples = [(index, stream_of(seed + index)) for index in range(request.n)]
        self._all = _Branch(samples, StopFinder(request.stop) if request.stop else None, trie)
        self._signals = signals
        self._written = 0

    def run(self) -> Iterator[list[Delta]]:
        """Generate, in bursts; the last Delta has the usage.

        Raises:
            Stopped: somebody has set `stopped`.
        """
        state, cached = self._read()
        branches = [self._all]  # one for each row of the state
        until = time.monotonic() + _BURST_S
        for place in itertools.count():
            said = self._choose(state, branches, place)
            pieces = self._last(state, [(row, branch) for row, _, branch in said if branch.finish])
            said = [each for each in said if not each[2].finish]
            branches = [branch for _, _, branch in said]
            if not said:
                usage = Usage(input=len(self.prompt), output=self._written, cached=cached)
                yield [*pieces[:-1], msgspec.structs.replace(pieces[-1], usage=usage)]
                return
            if pieces or time.monotonic() > until:
                yield pieces + [delta for branch in branches for delta in branch.deltas()]
                until = time.monotonic() + _BURST_S
            if self.stopped:
                raise Stopped
            before = [row for row, _, _ in said]
            if before != list(range(state.batch)):
                state = state.take(before)
            state = self._model.step(state, np.array([token for _, token, _ in said]))

    def _read(self) -> tuple[State, int]:
        """Read the prompt, or find it read; give its state, and how many tokens were not read anew."""
        state = self._states.get(self.prompt)
        if state is not None:
            return state, len(self.prompt)
        tokens = np.array([self.prompt])
        state = None
        for first in range(0, len(self.prompt), _PIECE):
            if self.stopped:
                raise Stopped
            state = self._model.encode(tokens[:, first : first + _PIECE], state)
        assert state is not None  # noqa: S101 - a prompt has at least one token
        self._states.put(self.prompt, state)
        return state, 0

    def _choose(self, state: State, branches: list[_Branch], place: int) -> list[tuple[int, int, _Branch]]:
        """Choose a word for each sample.

        Returns:
            The branches after that, each with the row that it comes from and the word that it has said.
        """
        limits = None if branches[0].place is None else [branch.place or {} for branch in branches]
        weighed = Weighed(state.logits, self._request.temperature, limits)
        if self._signals:
            self._note(state.logits, branches)
        said = []
        for row, branch in enumerate(branches):
            chosen = [weighed.choose(row, uniform(stream, place)) for _, stream in branch.samples]
            self._written += len(chosen)
            for token, part in branch.parts(chosen):
                part.logprob += weighed.logprob(row, token)
                part.take(*self._word(part, token))
                said.append((row, token, part))
        return said

    def _word(self, branch: _Branch, token: int) -> tuple[str, Finish | None]:
        """Give a token's text, and how the samples end with it."""
        if token == self._end:
            return "", "stop"
        text = self._vocabulary.text([token], first=not (branch.count or self._begun))
        branch.count += 1
        if branch.place is not None:
            branch.place = branch.place[token]
            whole = not branch.place
        else:
            whole = self._answer is not None and branch.count >= self._answer
        if whole:
            return text, "stop"
        return text, "length" if branch.count >= self._request.max_tokens else None

    @staticmethod
    def _note(logits: Array, branches: list[_Branch]) -> None:
        entropy, margin = entropy_and_margin(logits)
        for branch, high, low in zip(branches, entropy.tolist(), margin.tolist(), strict=True):
            branch.entropy, branch.margin = max(branch.entropy, high), min(branch.margin, low)

    def _last(self, state: State, ended: list[tuple[int, _Branch]]) -> list[Delta]:
        """Give the last pieces of the samples that have ended, each with the row of the state that it was in."""
        if not self._signals or not ended:
            return [delta for _, branch in ended for delta in branch.deltas()]
        # The answer is as sure as its least sure word; the memory is the one from which the last word was chosen.
        figures = self._model.signals(state)
        return [
            delta
            for row, branch in ended
            for delta in branch.deltas(figures[row] | {"entropy": branch.entropy, "margin": branch.margin})
        ]
