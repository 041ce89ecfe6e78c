"""One request under way, with its samples so far."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from scaffold.vocabulary.models import Delta
from scaffold_backends.stops import StopFinder
from scaffold_backends.xlstm.choosing import stream_of, trie_of

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Finish, Request
    from scaffold_backends.xlstm.choosing import Trie
    from scaffold_backends.xlstm.specs import Config
    from scaffold_backends.xlstm.tokens import Vocabulary


class Asked:
    """One request.

    Attributes:
        request: it has a seed.
        prompt: the tokens that are read, with those of the answer that are there already.
        begun: whether there are any of those.
        answer: how many tokens make a whole answer; None leaves that to the model's last word.
        first: all samples, which have said nothing yet.
        stopped: set by whoever no longer wants it; from any thread.
        alive: how many branches are not ended.
        written: tokens that samples have said.
        cached: tokens that were found read.
    """

    __slots__ = ("alive", "answer", "begun", "cached", "first", "prompt", "request", "stopped", "written")

    def __init__(
        self, request: Request, prompt: list[int], begun: list[int], *, vocabulary: Vocabulary, config: Config
    ) -> None:
        """Take a request.

        Args:
            request: what was asked; it has a seed.
            prompt: tokens to read: at least one.
            begun: tokens of the answer that are there already.
            vocabulary: the model's.
            config: the model's.
        """
        self.request, self.prompt, self.begun = request, [*prompt, *begun], bool(begun)
        self.answer = None if config.answer is None else max(config.answer - len(begun), 1)
        end = None if config.end is None else vocabulary.words.index(config.end)
        trie = trie_of(request.choices, vocabulary, end=end) if request.choices else None
        seed = request.seed or 0
        samples = [(index, stream_of(seed + index)) for index in range(request.n)]
        self.first = Branch(self, samples, StopFinder(request.stop) if request.stop else None, trie)
        self.stopped = False
        self.alive = 1
        self.written = self.cached = 0


class Branch:
    """Samples that have said the same so far: one row of the state.

    Attributes:
        asked: the request that they answer.
        samples: the index of each, and its stream of chance.
        place: in the trie of choices, where there are choices.
        count: tokens said.
        pending: text that was not handed over yet, and its logarithm of probability.
        entropy, margin: the highest and the lowest so far.
    """

    __slots__ = ("asked", "count", "entropy", "finish", "logprob", "margin", "pending", "place", "samples", "stops")

    def __init__(
        self, asked: Asked, samples: list[tuple[int, int]], stops: StopFinder | None, place: Trie | None
    ) -> None:
        self.asked, self.samples, self.stops, self.place = asked, samples, stops, place
        self.count = 0
        self.pending, self.logprob = "", 0.0
        self.finish: Finish | None = None
        self.entropy, self.margin = 0.0, 1.0

    def parts(self, chosen: list[int]) -> list[tuple[int, Branch]]:
        """Give the words that samples have chosen, each word once, with those that have."""
        if chosen.count(chosen[0]) == len(chosen):
            return [(chosen[0], self)]
        samples: dict[int, list[tuple[int, int]]] = {}
        for token, sample in zip(chosen, self.samples, strict=True):
            samples.setdefault(token, []).append(sample)
        self.asked.alive += len(samples) - 1
        return [(token, self._with(those)) for token, those in samples.items()]

    def _with(self, samples: list[tuple[int, int]]) -> Branch:
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
